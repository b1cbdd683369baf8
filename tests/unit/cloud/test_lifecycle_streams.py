"""Streams are kept short in little memory, whatever the stores answer; a defect is never swallowed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.errors import EntryError, StreamError
from cloud.lifecycle import stream_trimming as lifecycle_streams
from cloud.lifecycle.shedding import even_batches
from cloud.lifecycle.stream_trimming import SHED_MIN_ENTRIES, keep_streams_short, shed_results
from cloud.streams.entries import decode_event
from cloud.streams.ports import Append, Delivery, EntryKind
from tests.fakes.streams import MemoryCropStream, MemoryResultStream
from tests.unit.cloud.score_records import event_entry, score, scores_entry

KEEP = 10
BATCH = 50
TURN = 200


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle_streams, "SHED_BATCH_ENTRIES", BATCH)
    monkeypatch.setattr(lifecycle_streams, "SHED_MAX_ENTRIES", TURN)


def clock() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


class Watched(MemoryResultStream):
    """A result stream that notes how much of it was held at a time, and on how many shards."""

    def __init__(self) -> None:
        super().__init__(utc_ms=lambda: 1)
        self.held: list[int] = []
        self.shards_held: list[int] = []

    async def overflow(self, shards: Sequence[int], *, keep_entries: int, max_entries: int) -> list[Delivery]:
        found = await super().overflow(shards, keep_entries=keep_entries, max_entries=max_entries)
        self.held.append(len(found))
        self.shards_held.append(len({delivery.shard for delivery in found}))
        return found


async def filled(results: MemoryResultStream, shard: int, deliveries: Sequence[Delivery]) -> None:
    await results.append([Append(shard=shard, kind=d.kind, payload=d.payload) for d in deliveries])


async def left(results: MemoryResultStream, shard: int) -> list[Delivery]:
    return await results.overflow([shard], keep_entries=0, max_entries=10_000)


async def test_no_more_than_a_batch_of_one_shard_is_held_however_much_waits() -> None:
    results = Watched()
    for shard in range(3):
        await filled(results, shard, [scores_entry([score(n)]) for n in range(KEEP + 121)])
    await shed_results(results, range(3), clock=clock, keep_entries=KEEP)
    assert max(results.held) <= BATCH
    assert max(results.shards_held[1:]) == 1, "after the first look, which takes one entry of each"
    for shard in range(3):
        kept = [d for d in await left(results, shard) if d.kind is EntryKind.SCORES]
        assert [d.payload for d in kept] == [scores_entry([score(121 + n)]).payload for n in range(KEEP)]


async def test_a_turn_sheds_at_most_its_share_of_a_shard() -> None:
    results = Watched()
    await filled(results, 0, [event_entry("closed")] * (TURN + 100))
    await shed_results(results, range(1), clock=clock, keep_entries=0)
    assert sum(results.held[1:]) == TURN


async def test_the_last_batch_of_a_turn_is_large_enough_to_keep_a_withdrawal() -> None:
    results = Watched()
    scores = [scores_entry([score(n)]) for n in range(BATCH)]
    await filled(results, 0, [*scores, event_entry("withdrawn"), *scores[:KEEP]])
    await shed_results(results, range(1), clock=clock, keep_entries=KEEP)
    events = [d for d in await left(results, 0) if d.kind is EntryKind.EVENT]
    assert "withdrawn" in {decode_event(d.payload).kind for d in events}


async def test_a_handful_waits_rather_than_go_without_a_word() -> None:
    results = Watched()
    await filled(results, 0, [event_entry("withdrawn")] + [scores_entry([score(n)]) for n in range(KEEP)])
    await shed_results(results, range(1), clock=clock, keep_entries=KEEP)
    assert len(await left(results, 0)) == KEEP + 1
    await filled(results, 0, [scores_entry([score(KEEP + n)]) for n in range(SHED_MIN_ENTRIES)])
    await shed_results(results, range(1), clock=clock, keep_entries=KEEP)
    assert len(await left(results, 0)) == KEEP + 2, "the withdrawal and a gap are at the end"


async def test_entries_of_no_known_kind_are_shed_too() -> None:
    results = Watched()
    unknown = Append(shard=0, kind=EntryKind.UNKNOWN, payload=event_entry("closed").payload)
    await results.append([unknown] * 40)
    await shed_results(results, range(1), clock=clock, keep_entries=0)
    assert await left(results, 0) == []


@given(st.integers(-5, 5_000), st.integers(1, 600))
def test_batches_are_even_and_add_up(total: int, at_most: int) -> None:
    batches = even_batches(total, at_most=at_most)
    assert sum(batches) == max(0, total)
    assert all(0 < batch <= at_most for batch in batches)
    assert not batches or max(batches) - min(batches) <= 1


class Failing(MemoryCropStream):
    """Crops whose trimming raises what it is given, turn by turn; None for nothing."""

    def __init__(self, answers: list[Exception | None]) -> None:
        super().__init__(MemoryResultStream(utc_ms=lambda: 1), utc_ms=lambda: 1, max_age_ms=2_000)
        self.answers = answers
        self.trims = 0

    async def trim(self, shards: Sequence[int], *, max_age_ms: int) -> int:
        answer = self.answers[self.trims]
        self.trims += 1
        if answer is not None:
            raise answer
        return await super().trim(shards, max_age_ms=max_age_ms)


class Counting(MemoryResultStream):
    """Results whose looks are counted and refused."""

    def __init__(self, refusal: Exception) -> None:
        super().__init__(utc_ms=lambda: 1)
        self.refusal = refusal
        self.looks = 0

    async def overflow(self, shards: Sequence[int], *, keep_entries: int, max_entries: int) -> Any:
        self.looks += 1
        raise self.refusal


def turns(count: int) -> Callable[[float], Awaitable[None]]:
    """Sleep not at all, and cancel the caller after some turns."""
    slept = 0

    async def sleep(_seconds: float) -> None:
        nonlocal slept
        slept += 1
        if slept == count:
            raise asyncio.CancelledError

    return sleep


async def test_errors_that_the_ports_document_stop_neither_the_loop_nor_the_other_step() -> None:
    crops = Failing([StreamError("away"), EntryError("odd"), None])
    results = Counting(StreamError("away"))
    with pytest.raises(asyncio.CancelledError):
        await keep_streams_short(crops, results, shards=2, max_age_ms=5, clock=clock, sleep=turns(3))
    assert (crops.trims, results.looks) == (3, 3)


async def test_a_defect_ends_the_loop_and_is_not_counted_as_a_store_that_is_away() -> None:
    results = Counting(LookupError("a defect"))
    with pytest.raises(LookupError):
        await keep_streams_short(
            Failing([None, None]), results, shards=2, max_age_ms=5, clock=clock, sleep=turns(2)
        )
