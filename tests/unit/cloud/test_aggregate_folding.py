"""From stream entries to tenants' batches, acks, histograms and shares of the shards."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from math import inf
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.aggregate.changes import read_change
from cloud.aggregate.folding import durable_acks, fold_deliveries
from cloud.aggregate.sharing import next_step
from cloud.errors import EntryError
from cloud.results import latency
from cloud.results.changes import Connected, Counted, Ended, EndKind, FramesSkipped, SegmentBegan
from cloud.results.storage import Lease, Pack
from cloud.streams.entries import SessionEvent, decode_event
from cloud.streams.ports import Delivery, EntryKind
from privacy.protocol.ids import SessionId, TenantId
from tests.unit.cloud.score_records import SESSION, START_UTC_US, TENANT, event_entry, score, scores_entry

OTHER = TenantId(UUID("33333333-3333-4333-8333-333333333333"))


def change_of(kind: str, body: bytes = b"{}", epoch: int = 1):
    return read_change(decode_event(event_entry(kind, body=body, epoch=epoch).payload)).change


def test_entries_are_grouped_by_tenant_and_events_come_with_their_frames() -> None:
    folded = fold_deliveries(
        [
            scores_entry([score(1), score(2, tenant=OTHER)]),
            event_entry("connected"),
            scores_entry([score(2)]),
        ]
    )

    assert {batch.tenant for batch in folded.batches} == {TENANT, OTHER}
    mine = next(batch for batch in folded.batches if batch.tenant == TENANT)
    assert [pack.mask for pack in mine.packs] == [0b110]
    assert [change.change for change in mine.changes] == [Connected(epoch=1, at_utc_us=START_UTC_US)]
    assert folded.malformed == 0


def test_a_malformed_entry_spoils_nothing_but_itself() -> None:
    folded = fold_deliveries(
        [
            Delivery(shard=0, entry_id="1-1", kind=EntryKind.SCORES, payload=b"\x00\x05rest"),
            Delivery(shard=0, entry_id="1-2", kind=EntryKind.EVENT, payload=b"{"),
            Delivery(shard=0, entry_id="1-3", kind=EntryKind.CROPS, payload=b""),
            event_entry("invented"),
            scores_entry([score(7)]),
        ]
    )

    assert folded.malformed == 4
    assert [pack.mask for pack in folded.batches[0].packs] == [1 << 7]


def test_acks_join_the_faces_and_segments_of_a_bucket() -> None:
    packs = fold_deliveries([scores_entry([score(1), score(2, face=1), score(3, segment=1), score(30)])])
    acks = durable_acks(packs.batches[0].packs, committed_at=datetime(2026, 1, 1, tzinfo=UTC))

    assert sorted((ack.session, ack.bucket, ack.mask) for ack in acks) == [
        (str(SESSION), 0, 0b1110),
        (str(SESSION), 1, 1),
    ]
    assert acks[0].committed_utc_us == 1_767_225_600_000_000


def test_each_kind_of_event_is_read() -> None:
    assert change_of("closed", b'{"type":"bye","last_frame":9}') == Ended(
        epoch=1, at_utc_us=START_UTC_US, kind=EndKind.CLOSED
    )
    assert change_of("lost").kind is EndKind.LOST
    assert change_of("withdrawn").kind is EndKind.WITHDRAWN
    assert change_of(
        "segment",
        b'{"type":"segment","segment":2,"media_time_us":1500000,"monotonic_us":7,"rate_permille":1000}',
    ) == SegmentBegan(segment=2, media_time_ms=1500, monotonic_us=7, rate_permille=1000)
    assert change_of(
        "gap",
        b'{"type":"gap","first_frame":3,"last_frame":5,"segment":0,"media_time_us":99999,"reason":"no_face"}',
    ) == FramesSkipped(first_frame=3, last_frame=5, segment=0, media_time_ms=99, reason="no_face")
    assert change_of(
        "counters", b'{"type":"counters","captured":10,"with_face":9,"sent":8,"skipped":{"dark":2}}'
    ) == Counted(captured=10, with_face=9, sent=8, skipped={"dark": 2})


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("gap", b'{"type":"gap","first_frame":5,"last_frame":3,"segment":0,"media_time_us":0,"reason":"x"}'),
        ("gap", b'{"type":"gap","first_frame":1,"last_frame":3,"segment":0,"media_time_us":0,"reason":""}'),
        ("gap", b'{"type":"segment","segment":0,"media_time_us":0,"monotonic_us":0,"rate_permille":1}'),
        ("counters", b'{"type":"counters","captured":-1,"with_face":0,"sent":0,"skipped":{}}'),
        (
            "counters",
            b'{"type":"counters","captured":99999999999999999999,"with_face":0,"sent":0,"skipped":{}}',
        ),
        ("segment", b"[]"),
    ],
)
def test_a_malformed_or_impossible_event_is_refused(kind: str, body: bytes) -> None:
    with pytest.raises(EntryError):
        change_of(kind, body)


def test_an_event_without_a_valid_tenant_is_refused() -> None:
    event = SessionEvent(tenant="nobody", session=str(SESSION), kind="lost", epoch=1, at_utc_us=0)
    with pytest.raises(EntryError, match="names no tenant"):
        read_change(event)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-(10**6), 10**9), max_size=50))
def test_a_histogram_counts_every_sample_in_its_millisecond(samples: list[int]) -> None:
    histogram = latency.fold_latencies(np.array(samples, dtype=np.int64))

    assert histogram.shape == (latency.BINS,)
    assert histogram.sum() == len(samples)
    for sample in samples:
        assert histogram[min(max(sample // 1000, 0), latency.LAST_BIN_MS)] > 0


@given(st.lists(st.integers(-(10**6), 10**9), max_size=50))
def test_counts_by_bin_say_the_same_as_a_histogram(samples: list[int]) -> None:
    counts = Counter(latency.latency_bin(sample) for sample in samples)
    assert (
        latency.dense_histogram(counts) == latency.fold_latencies(np.array(samples, dtype=np.int64)).tolist()
    )


def a_pack(*frames: int) -> Pack:
    return fold_deliveries([scores_entry([score(frame) for frame in frames])]).batches[0].packs[0]


def test_commit_latencies_count_only_frames_that_were_added() -> None:
    pack = a_pack(0, 1)
    waiting = latency.CommitLatencies()

    waiting.add(TENANT, pack, 0b10, committed_utc_us=START_UTC_US + 33_333 + 45_999, now_s=0.0)
    waiting.add(TENANT, pack, 0, committed_utc_us=START_UTC_US, now_s=0.0)

    assert waiting.take(TENANT, now_s=inf) == {SESSION: {45: 1}}
    assert waiting.take(TENANT, now_s=inf) == {}


def test_latencies_wait_until_they_are_due_or_the_session_has_ended() -> None:
    waiting = latency.CommitLatencies()
    waiting.add(TENANT, a_pack(0), 1, committed_utc_us=START_UTC_US + 5_000, now_s=100.0)

    assert waiting.tenants(now_s=100.0 + latency.PERIOD_S - 0.1) == []
    assert waiting.take(TENANT, now_s=100.0 + latency.PERIOD_S - 0.1) == {}
    assert waiting.tenants(now_s=100.0 + latency.PERIOD_S) == [TENANT]
    waiting.hurry(TENANT, SESSION)
    assert waiting.take(TENANT, now_s=100.0) == {SESSION: {5: 1}}
    assert waiting.tenants(now_s=inf) == []


def test_not_more_sessions_latencies_are_written_at_once_than_one_transaction_bears() -> None:
    waiting = latency.CommitLatencies()
    for number in range(latency.SESSIONS_AT_ONCE + 1):
        records = [score(0, session=SessionId(UUID(int=number + 1)))]
        pack = fold_deliveries([scores_entry(records)]).batches[0].packs[0]
        waiting.add(TENANT, pack, 1, committed_utc_us=START_UTC_US, now_s=0.0)

    assert len(waiting.take(TENANT, now_s=inf)) == latency.SESSIONS_AT_ONCE
    assert len(waiting.take(TENANT, now_s=inf)) == 1


def test_latencies_that_could_not_be_written_are_kept() -> None:
    pack = a_pack(0)
    waiting = latency.CommitLatencies()
    waiting.add(TENANT, pack, 1, committed_utc_us=START_UTC_US + 5_000, now_s=0.0)
    taken = waiting.take(TENANT, now_s=inf)
    waiting.add(TENANT, pack, 1, committed_utc_us=START_UTC_US + 5_000, now_s=0.0)
    waiting.put_back(TENANT, taken, now_s=0.0)

    assert waiting.take(TENANT, now_s=inf) == {SESSION: {5: 2}}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 64), st.integers(1, 9))
def test_any_number_of_workers_settles_on_all_shards_held_once(shards: int, workers: int) -> None:
    held: list[set[int]] = [set(range(shards)), *(set() for _ in range(workers - 1))]
    free: set[int] = set()
    for _ in range(3 * workers):
        for mine in held:
            step = next_step([Lease(shard=s, epoch=1) for s in mine], shards=shards, workers=workers)
            gone = {lease.shard for lease in step.release}
            mine -= gone
            free |= gone
            taken = set(sorted(free)[: step.take])
            free -= taken
            mine |= taken

    assert sorted(shard for mine in held for shard in mine) == list(range(shards))
    assert max(len(mine) for mine in held) <= -(-shards // workers)
