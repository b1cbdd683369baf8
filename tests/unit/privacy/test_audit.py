"""An audit log that was changed, cut inside, reordered or mixed does not verify."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.audit import (
    GENESIS_HASH,
    AuditEntry,
    chain_hash,
    encode_entry,
    leaf_hash,
    verify_chain,
)
from privacy.errors import AuditError
from privacy.ids import TenantId
from tests.unit.privacy.worlds import TENANT

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


def chain(log: list[AuditEntry]) -> list[tuple[AuditEntry, bytes]]:
    head, chained = GENESIS_HASH, []
    for seq, entry in enumerate(log):
        head = chain_hash(head, leaf_hash(encode_entry(entry, seq=seq)))
        chained.append((entry, head))
    return chained


@given(st.lists(entries, max_size=6))
def test_an_untouched_log_verifies_to_its_head(log: list[AuditEntry]) -> None:
    chained = chain(log)
    assert verify_chain(chained, tenant=TENANT) == (chained[-1][1] if chained else GENESIS_HASH)


@given(st.lists(entries, min_size=3, max_size=6, unique_by=lambda e: e.at_utc_us), st.data())
def test_a_touched_log_does_not_verify(log: list[AuditEntry], data: st.DataObject) -> None:
    chained = chain(log)
    place = data.draw(st.integers(0, len(log) - 2))
    kind = data.draw(st.sampled_from(["change", "drop", "swap", "tenant"]))
    entry, stored = chained[place]
    if kind == "change":
        chained[place] = (dataclasses.replace(entry, actor=entry.actor + "!"), stored)
    elif kind == "drop":
        del chained[place]
    elif kind == "swap":
        chained[place], chained[place + 1] = chained[place + 1], chained[place]
    else:
        chained[place] = (dataclasses.replace(entry, tenant=TenantId(UUID(int=3))), stored)
    with pytest.raises(AuditError):
        verify_chain(chained, tenant=TENANT)


def test_a_cut_end_shows_in_the_head() -> None:
    log = [
        AuditEntry(
            tenant=TENANT,
            at_utc_us=n,
            actor="worker:lifecycle",
            action="session.erased",
            subject=f"session:{n}",
        )
        for n in range(3)
    ]
    assert verify_chain(chain(log), tenant=TENANT) != verify_chain(chain(log[:2]), tenant=TENANT)


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
    with pytest.raises(AuditError):
        chain_hash(b"", GENESIS_HASH)
