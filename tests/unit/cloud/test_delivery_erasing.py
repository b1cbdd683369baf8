"""What entries hold of erased sessions, and what is left of them."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.lifecycle.stream_erasing import clear_results, count_crops
from cloud.streams.entries import SealedCrop, decode_scores, encode_crops
from cloud.streams.ports import Delivery, EntryKind
from privacy.protocol.ids import SessionId
from tests.unit.cloud.score_records import event_entry, score, scores_entry

ERASED = SessionId(UUID(int=7 << 64))
OTHER = SessionId(UUID(int=9 << 64))


@given(st.lists(st.sampled_from([ERASED, OTHER]), max_size=40))
def test_every_frame_of_an_erased_session_goes_and_every_other_stays(owners: list[SessionId]) -> None:
    entry = scores_entry([score(n, session=owner) for n, owner in enumerate(owners)])
    cleared = clear_results([entry], {ERASED})
    assert cleared.found.total() == owners.count(ERASED)
    assert list(cleared.going) == ([entry] if ERASED in owners else [])
    kept = [record for append in cleared.kept for record in decode_scores(append.payload)]
    if ERASED in owners:
        assert [(r.frame, r.session) for r in kept] == [(n, o) for n, o in enumerate(owners) if o == OTHER]
    assert (
        clear_results(
            [Delivery(shard=0, entry_id="3-0", kind=k.kind, payload=k.payload) for k in cleared.kept],
            {ERASED},
        ).found.total()
        == 0
    )


@pytest.mark.parametrize("kind", ["gap", "connected", "withdrawn", "counters"])
def test_reports_about_an_erased_session_go(kind: str) -> None:
    mine, other = event_entry(kind, session=ERASED), event_entry(kind, session=OTHER)
    cleared = clear_results([mine, other], {ERASED})
    assert (cleared.going, cleared.kept, cleared.found[ERASED]) == ((mine,), (), 1)


def test_an_entry_that_names_a_session_and_does_not_decode_goes_whole() -> None:
    broken = Delivery(
        shard=0,
        entry_id="1-0",
        kind=EntryKind.SCORES,
        payload=scores_entry([score(1, session=ERASED)]).payload[:-1],
    )
    assert clear_results([broken], {ERASED}).going == (broken,)
    assert clear_results([broken], {OTHER}).going == ()


def test_sealed_crops_are_counted_by_whom_they_are_of() -> None:
    def crop(owner: SessionId) -> SealedCrop:
        return SealedCrop(
            late=False, received_utc_us=1, clock_offset_us=0, envelope=bytes(4) + owner.bytes + bytes(200)
        )

    entry = Delivery(
        shard=0,
        entry_id="1-0",
        kind=EntryKind.CROPS,
        payload=encode_crops([crop(ERASED), crop(OTHER), crop(ERASED)]),
    )
    assert count_crops([entry], {ERASED})[ERASED] == 2
    cut = Delivery(shard=0, entry_id="1-0", kind=EntryKind.CROPS, payload=entry.payload[:-9])
    assert count_crops([cut], {ERASED})[ERASED] == 1
