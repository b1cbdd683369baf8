"""What leaves a full result stream is flagged, kept or counted; nothing goes silently."""

from __future__ import annotations

from uuid import UUID

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.lifecycle.shedding import shed
from cloud.streams.entries import ScoreRecord, decode_event
from cloud.streams.ports import Delivery, EntryKind
from privacy.protocol.gaps import OPEN_MAX_FRAMES
from privacy.protocol.ids import SessionId
from privacy.protocol.messages import Counters, Gap
from tests.unit.cloud.score_records import START_UTC_US, event_entry, records, score, scores_entry

OTHER = SessionId(UUID(int=77))


def said(deliveries: list[Delivery]):
    return [decode_event(append.payload) for append in shed(deliveries, now_utc_us=START_UTC_US).kept]


def gaps(deliveries: list[Delivery]) -> list[Gap]:
    return [msgspec.json.decode(event.body, type=Gap) for event in said(deliveries) if event.kind == "gap"]


def counters(captured: int, *, session: SessionId = OTHER) -> Delivery:
    body = Counters(captured=captured, with_face=0, sent=0, skipped={})
    return event_entry("counters", body=msgspec.json.encode(body), session=session)


def test_scores_that_go_become_gaps_of_lost_frames() -> None:
    going = [scores_entry([score(n)]) for n in range(40)] + [scores_entry([score(400)])]
    found = gaps(going)
    assert [(g.first_frame, g.last_frame, g.reason) for g in found] == [(0, 39, "lost"), (400, 400, "lost")]
    assert found[1].media_time_us == 400 * 33_333
    assert shed(going, now_utc_us=0).frames == 41


def test_what_sessions_reported_is_kept_but_for_smaller_counters() -> None:
    padding = [scores_entry([score(n)]) for n in range(20)]
    going = [event_entry("connected", session=OTHER), counters(5), counters(9), counters(7), *padding]
    kept = said(going)
    assert [event.kind for event in kept] == ["gap", "connected", "counters"]
    assert msgspec.json.decode(kept[2].body, type=Counters).captured == 9
    assert shed(going, now_utc_us=0).dropped == 0


def test_a_stream_of_reports_alone_still_shrinks_and_what_had_no_room_is_counted() -> None:
    going = [event_entry("connected", epoch=n) for n in range(10)]
    found = shed(going, now_utc_us=0)
    assert (len(found.kept), found.dropped) == (5, 5)


def test_a_withdrawal_is_kept_however_many_gaps_want_its_room() -> None:
    scattered = [scores_entry([score(n * OPEN_MAX_FRAMES)]) for n in range(20)]
    withdrawals = [event_entry("withdrawn", session=OTHER, epoch=n) for n in (1, 2)]
    kept = said([*scattered, *withdrawals])
    assert [event.session for event in kept if event.kind == "withdrawn"] == [str(OTHER)]
    assert len(kept) == 11


def test_entries_that_do_not_decode_are_counted_and_spoil_nothing() -> None:
    junk = Delivery(shard=0, entry_id="1-1", kind=EntryKind.SCORES, payload=b"junk")
    found = shed([junk, scores_entry([score(3)]), scores_entry([score(4)])], now_utc_us=0)
    assert (found.frames, found.dropped, len(found.kept)) == (2, 1, 1)


@settings(max_examples=40, deadline=None)
@given(st.lists(records(), max_size=40))
def test_every_frame_that_goes_is_in_a_gap_of_its_session_or_counted(batch: list[ScoreRecord]) -> None:
    going = [scores_entry([record]) for record in batch] * 2 + [event_entry("closed")] * len(batch)
    found = shed(going, now_utc_us=START_UTC_US)
    assert len(found.kept) <= len(going) // 2
    assert found.frames == 2 * len(batch)
    covered = []
    for append in found.kept:
        event = decode_event(append.payload)
        if event.kind == "gap":
            gap = msgspec.json.decode(event.body, type=Gap)
            assert gap.last_frame - gap.first_frame < OPEN_MAX_FRAMES
            covered.append((event.tenant, event.session, gap))
    missed = [
        record
        for record in batch
        if not any(
            (tenant, session, gap.segment) == (str(record.tenant), str(record.session), record.segment)
            and gap.first_frame <= record.frame <= gap.last_frame
            for tenant, session, gap in covered
        )
    ]
    assert not missed
