"""An audit log that was changed, cut, reordered, forked or mixed does not verify; a purged one does."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import AuditError
from privacy.governance.audit.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from privacy.governance.audit.entries import AuditEntry, encode_entry
from privacy.governance.audit.log import verify_log
from privacy.governance.audit.tree import leaf_hash, tree_root
from privacy.protocol.ids import TenantId
from tests.unit.privacy.worlds import TENANT

KEY = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\1")
OTHER = TenantId(UUID(int=7))

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
entries = st.builds(
    AuditEntry,
    tenant=st.just(TENANT),
    at_utc_us=st.integers(0, 2**53 - 1),
    actor=texts,
    action=texts,
    subject=texts,
    detail=st.dictionaries(texts, st.none() | st.booleans() | texts | st.integers(-100, 100), max_size=3),
)
logs = st.lists(entries, min_size=3, max_size=7, unique_by=lambda entry: entry.at_utc_us)


def leaves_of(log: list[AuditEntry]) -> list[bytes]:
    return [leaf_hash(encode_entry(entry, seq=seq)) for seq, entry in enumerate(log)]


def head(leaves: list[bytes], *, tenant: TenantId = TENANT, key: Ed25519PrivateKey = KEY) -> str:
    made = Checkpoint(tenant=tenant, size=len(leaves), root=tree_root(leaves), at_utc_us=5)
    return sign_checkpoint(made, key)


def verify(
    leaves: list[bytes], kept: list[tuple[int, AuditEntry]], checkpoints: list[str] | None = None
) -> bytes:
    return verify_log(
        tenant=TENANT, leaves=leaves, entries=kept, checkpoints=checkpoints or [], public_key=KEY.public_key()
    )


@given(st.lists(entries, max_size=6), st.data())
def test_an_untouched_log_verifies_to_its_root_however_much_of_it_was_purged(
    log: list[AuditEntry], data: st.DataObject
) -> None:
    leaves = leaves_of(log)
    purged = data.draw(st.integers(0, len(log)))
    heads = [head(leaves[:size]) for size in range(len(leaves) + 1)]
    assert verify(leaves, list(enumerate(log))[purged:], heads) == tree_root(leaves)


@given(logs, st.data())
def test_a_touched_log_does_not_verify(log: list[AuditEntry], data: st.DataObject) -> None:
    leaves, kept = leaves_of(log), list(enumerate(log))
    place = data.draw(st.integers(0, len(log) - 2))
    kind = data.draw(st.sampled_from(["change", "drop", "drop last", "swap", "tenant", "cut"]))
    heads = [head(leaves)]
    seq, entry = kept[place]
    if kind == "change":
        kept[place] = (seq, dataclasses.replace(entry, actor=entry.actor + "!"))
    elif kind == "drop":
        del kept[place + 1 if place == 0 else place]
    elif kind == "drop last":
        del kept[-1]
    elif kind == "swap":
        kept[place], kept[place + 1] = (place, log[place + 1]), (place + 1, entry)
    elif kind == "tenant":
        kept[place] = (seq, dataclasses.replace(entry, tenant=OTHER))
    else:
        kept, leaves = kept[: place + 1], leaves[: place + 1]
    with pytest.raises(AuditError):
        verify(leaves, kept, heads)


@given(logs, st.data())
def test_a_log_rewritten_together_with_its_leaves_fails_against_a_checkpoint_kept_elsewhere(
    log: list[AuditEntry], data: st.DataObject
) -> None:
    kept_elsewhere = head(leaves_of(log))
    place = data.draw(st.integers(0, len(log) - 1))
    log[place] = dataclasses.replace(log[place], actor=log[place].actor + "!")
    rewritten = leaves_of(log)
    assert verify(rewritten, list(enumerate(log)), [head(rewritten)])
    with pytest.raises(AuditError, match="changed"):
        verify(rewritten, list(enumerate(log)), [kept_elsewhere])


def test_checkpoints_of_another_tenant_or_another_key_are_refused() -> None:
    with pytest.raises(AuditError, match="another tenant"):
        verify([], [], [head([], tenant=OTHER)])
    with pytest.raises(AuditError, match="forged"):
        verify([], [], [head([], key=Ed25519PrivateKey.generate())])


@given(st.text(max_size=60))
def test_whatever_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(AuditError):
        verify_checkpoint(text, KEY.public_key())


def test_a_checkpoint_reads_back_as_it_was_signed() -> None:
    made = Checkpoint(tenant=TENANT, size=3, root=bytes(range(32)), at_utc_us=1_790_000_000_000_000)
    assert verify_checkpoint(sign_checkpoint(made, KEY), KEY.public_key()) == made


def test_the_encoding_is_canonical_and_the_leaf_is_that_of_rfc_6962() -> None:
    entry = AuditEntry(
        tenant=TENANT,
        at_utc_us=5,
        actor="api_key:1",
        action="timeline.read",
        subject="session:2",
        detail={"b": 1, "a": True},
    )
    encoded = encode_entry(entry, seq=7)
    assert encoded == json.dumps(json.loads(encoded), sort_keys=True, separators=(",", ":")).encode()
    assert json.loads(encoded)["seq"] == 7
    assert leaf_hash(encoded) == hashlib.sha256(b"\x00" + encoded).digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"actor": ""},
        {"action": "x" * 201},
        {"at_utc_us": -1},
        {"detail": {"nested": {}}},
        {"detail": {"share": 0.5}},
        {"detail": {"big": 2**60}},
        {"detail": {"long": "x" * 9_000}},
        {"subject": "\ud800"},
    ],
)
def test_an_entry_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    entry = AuditEntry(tenant=TENANT, at_utc_us=1, actor="a", action="b", subject="c")
    with pytest.raises(AuditError):
        encode_entry(dataclasses.replace(entry, **changes), seq=0)  # type: ignore[arg-type]
    with pytest.raises(AuditError):
        encode_entry(entry, seq=-1)
