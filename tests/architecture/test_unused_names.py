"""Every public function, class, method and property has a caller outside the tests: tested code that nothing runs proves nothing."""

from __future__ import annotations

from vulture import Vulture

from tests.architecture.source_tree import PACKAGES, ROOT

KINDS = {"function", "class", "method", "property"}

CALLED_FROM_OUTSIDE = {
    # FastAPI, uvicorn, Keras and the standard library call these by name
    "openapi", "send_400_response", "capture_signals", "on_epoch_end", "on_train_batch_begin", "on_train_batch_end",
    # commands, looked up by name when they are called
    "add_bench_commands", "add_demo_command", "add_rehearse_command", "add_models_commands", "average", "broaden",
    "calibrate", "compare", "develop", "distil", "export", "prune",
    # for whoever audits a platform, and for clients of other makers
    "verify_log", "inclusion_proof", "consistency_proof", "is_included", "is_consistent", "encode_scores_content",
    # what operators and tests of whole platforms take hold of
    "stop_server", "start_server", "withdraw_consent", "is_current", "drop_expired",
    # what the database does to packs, as the fake and the tests of the database know it
    "merge_packs",
}  # fmt: skip

WAITING_FOR_A_CALLER = {
    # the consent state machine, second-level timelines and segments: to become what decides and what is read
    "advance_consent", "read_seconds", "read_segments",
    # to be deleted with their tests
    "prepare_crop", "to_input", "read_duplicates", "segments", "sealed_frames", "unacked",
}  # fmt: skip


def test_every_public_name_has_a_caller_outside_the_tests() -> None:
    scan = Vulture(ignore_decorators=["@router.*", "@app.*"])
    scan.scavenge([str(ROOT / package) for package in PACKAGES])
    found = {
        item.name
        for item in scan.get_unused_code(min_confidence=60)
        if item.typ in KINDS and not item.name.startswith("_")
    }
    assert found - CALLED_FROM_OUTSIDE - WAITING_FOR_A_CALLER == set()
    assert WAITING_FOR_A_CALLER - found == set(), (
        "these have a caller now, or are gone: take them off the list"
    )
