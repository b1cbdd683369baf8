"""An erasure is in order, complete, and written down truthfully."""

from __future__ import annotations

from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from privacy.crypto.jws import sign_document
from privacy.errors import ErasureError
from privacy.governance.erasure import (
    DELETION_TYP,
    ErasurePlan,
    ErasureReason,
    ErasureStep,
    StepOutcome,
    check_outcomes,
    plan_erasure,
    sign_deletion_receipt,
    verify_deletion_receipt,
)
from tests.unit.privacy.worlds import NOW_UTC_US, SESSION, TENANT, World


def done(plan: ErasurePlan, *, before: int = 3) -> tuple[StepOutcome, ...]:
    return tuple(StepOutcome(step=step, before=before, after=0) for step in plan.steps)


def sign(world: World, plan: ErasurePlan, outcomes: tuple[StepOutcome, ...], **changes: int) -> str:
    facts = {"requested_utc_us": NOW_UTC_US, "completed_utc_us": NOW_UTC_US + 1} | changes
    return sign_deletion_receipt(
        plan, outcomes, world.platform, receipt_id=UUID(int=1), pseudonym="viewer-7", **facts
    )


@pytest.mark.parametrize("reason", ErasureReason)
def test_nothing_new_can_arrive_before_anything_is_destroyed_or_deleted(reason: ErasureReason) -> None:
    steps = plan_erasure(TENANT, SESSION, reason=reason).steps
    assert set(steps) == set(ErasureStep) and len(set(steps)) == len(steps)
    assert steps[0] is ErasureStep.REVOKE_SESSION
    assert steps[-1] is ErasureStep.MARK_ERASED
    destroyed = steps.index(ErasureStep.DESTROY_KEY)
    for step in steps:
        if step.value.startswith(("revoke_", "purge_")):
            assert steps.index(step) < destroyed
        if step.value.startswith("delete_"):
            assert steps.index(step) > destroyed


def test_a_receipt_says_what_was_done(world: World) -> None:
    plan = plan_erasure(TENANT, SESSION, reason=ErasureReason.REQUEST)
    claims = verify_deletion_receipt(sign(world, plan, done(plan)), world.platform.public_key())
    assert (claims.tenant, claims.session, claims.pseudonym) == (TENANT, SESSION, "viewer-7")
    assert (claims.reason, claims.key_destroyed) == (ErasureReason.REQUEST, True)
    assert claims.counts == {step.value: (3, 0) for step in plan.steps}
    assert claims.completed_utc_us == NOW_UTC_US + 1


@given(st.data())
def test_an_incomplete_erasure_is_never_called_complete(data: st.DataObject) -> None:
    plan = plan_erasure(TENANT, SESSION, reason=ErasureReason.REQUEST)
    outcomes = list(done(plan))
    kind = data.draw(st.sampled_from(["missing", "left", "swapped", "negative"]))
    place = data.draw(st.integers(0, len(outcomes) - 2))
    if kind == "missing":
        del outcomes[place]
    elif kind == "left":
        outcomes[place] = StepOutcome(step=outcomes[place].step, before=3, after=1)
    elif kind == "negative":
        outcomes[place] = StepOutcome(step=outcomes[place].step, before=-1, after=0)
    else:
        outcomes[place], outcomes[place + 1] = outcomes[place + 1], outcomes[place]
    with pytest.raises(ErasureError):
        check_outcomes(plan, tuple(outcomes))


def test_times_out_of_order_are_refused(world: World) -> None:
    plan = plan_erasure(TENANT, SESSION, reason=ErasureReason.REQUEST)
    with pytest.raises(ErasureError, match="times"):
        sign(world, plan, done(plan), completed_utc_us=NOW_UTC_US - 1)


def test_a_forged_or_untrue_receipt_is_refused(world: World) -> None:
    plan = plan_erasure(TENANT, SESSION, reason=ErasureReason.REQUEST)
    good = sign(world, plan, done(plan))
    root = world.platform.public_key()
    untrue = {
        "receipt_id": str(UUID(int=1)),
        "tenant": str(TENANT),
        "session": str(SESSION),
        "pseudonym": "viewer-7",
        "reason": "request",
        "counts": {"delete_frames": [3, 1]},
        "key_destroyed": True,
        "requested_utc_us": 1,
        "completed_utc_us": 2,
    }
    with pytest.raises(ErasureError, match="left"):
        verify_deletion_receipt(sign_document(untrue, world.platform, typ=DELETION_TYP), root)
    with pytest.raises(ErasureError, match="forged"):
        verify_deletion_receipt(good, Ed25519PrivateKey.generate().public_key())
    for jws in ("", "a.b.c", world.receipt, good[:-2]):
        with pytest.raises(ErasureError):
            verify_deletion_receipt(jws, root)
