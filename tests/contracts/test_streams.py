"""One suite for the streams in memory and on Redis."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from cloud.streams.ports import (
    Append,
    CropStream,
    DeadLetter,
    EntryKind,
    Finished,
    ResultStream,
    SearchableCrops,
    SearchableResults,
)
from cloud.streams.redis_streams import RedisCropStream, RedisResultStream
from tests.fakes.streams import MemoryAckFeed, MemoryCropStream, MemoryResultStream

SHARDS = (0, 1, 5)


@dataclass
class Streams:
    crops: SearchableCrops
    results: SearchableResults
    ahead_ms: int = 0

    def utc_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms


@pytest.fixture(params=["memory", "redis"])
def streams(request: pytest.FixtureRequest) -> Iterator[Streams]:
    made = Streams(crops=None, results=None)  # type: ignore[arg-type]
    if request.param == "memory":
        made.results = MemoryResultStream(utc_ms=made.utc_ms, feed=MemoryAckFeed())
        made.crops = MemoryCropStream(made.results, utc_ms=made.utc_ms, max_age_ms=2_000)
    else:
        client = request.getfixturevalue("redis_client")
        made.results = RedisResultStream(client)
        made.crops = RedisCropStream(client, utc_ms=made.utc_ms, max_age_ms=2_000)
    yield made


def crops(shard: int, payload: bytes) -> Append:
    return Append(shard=shard, kind=EntryKind.CROPS, payload=payload)


async def read(stream: CropStream | ResultStream, consumer: str = "a", block_ms: int = 0):
    return await stream.read(SHARDS, consumer=consumer, max_entries=10, block_ms=block_ms)


async def claim(stream: CropStream | ResultStream, consumer: str = "b", min_idle_ms: int = 0):
    return await stream.claim_stale(SHARDS, consumer=consumer, min_idle_ms=min_idle_ms, max_entries=10)


async def test_an_entry_is_read_once_with_its_shard_kind_and_payload(streams: Streams) -> None:
    await streams.crops.append([crops(1, b"\x00\xff"), crops(5, b"five")])
    found = await read(streams.crops)
    assert sorted((d.shard, d.kind, d.payload, d.deliveries) for d in found) == [
        (1, EntryKind.CROPS, b"\x00\xff", 1),
        (5, EntryKind.CROPS, b"five", 1),
    ]
    assert await read(streams.crops, consumer="b") == []


async def test_entries_of_one_shard_keep_their_order(streams: Streams) -> None:
    await streams.crops.append([crops(0, bytes([i])) for i in range(20)])
    found = await read(streams.crops) + await read(streams.crops)
    assert [d.payload[0] for d in found] == list(range(20))


async def test_reading_nothing_waits_no_longer_than_asked(streams: Streams) -> None:
    started = time.monotonic()
    assert await read(streams.crops, block_ms=30) == []
    assert time.monotonic() - started < 1


async def test_an_unfinished_entry_is_claimed_by_another_reader_and_counts_its_deliveries(
    streams: Streams,
) -> None:
    await streams.crops.append([crops(1, b"x")])
    (first,) = await read(streams.crops)
    (second,) = await claim(streams.crops)
    (third,) = await claim(streams.crops, consumer="c")
    assert (first.payload, second.payload, third.payload) == (b"x",) * 3
    assert first.entry_id == second.entry_id == third.entry_id
    assert (first.deliveries, second.deliveries, third.deliveries) == (1, 2, 3)


async def test_an_entry_in_work_is_not_claimed_before_it_is_stale(streams: Streams) -> None:
    await streams.crops.append([crops(1, b"x")])
    await read(streams.crops)
    assert await claim(streams.crops, min_idle_ms=60_000) == []


async def test_finishing_publishes_scores_and_removes_the_crops(streams: Streams) -> None:
    await streams.crops.append([crops(1, b"x"), crops(5, b"stale")])
    found = sorted(await read(streams.crops), key=lambda d: d.shard)
    await streams.crops.finish(
        [Finished(delivery=found[0], scores=b"scores"), Finished(delivery=found[1], scores=None)]
    )
    assert await claim(streams.crops) == []
    assert await streams.crops.depth(SHARDS) == 0
    (result,) = await read(streams.results)
    assert (result.shard, result.kind, result.payload) == (1, EntryKind.SCORES, b"scores")


async def test_finishing_twice_delivers_the_scores_again_and_harms_nothing(streams: Streams) -> None:
    await streams.crops.append([crops(1, b"x")])
    (first,) = await read(streams.crops)
    (second,) = await claim(streams.crops)
    await streams.crops.finish([Finished(delivery=first, scores=b"s")])
    await streams.crops.finish([Finished(delivery=second, scores=b"s")])
    assert [d.payload for d in await read(streams.results)] == [b"s", b"s"]


async def test_a_buried_entry_is_never_delivered_again(streams: Streams) -> None:
    await streams.crops.append([crops(1, b"poison")])
    (entry,) = await read(streams.crops)
    await streams.crops.bury([DeadLetter(delivery=entry, reason="test")])
    assert await claim(streams.crops) == []
    assert await streams.crops.depth(SHARDS) == 0


async def test_an_append_drops_what_is_older_than_two_seconds_from_its_shard(streams: Streams) -> None:
    await streams.crops.append([crops(1, b"old")])
    streams.ahead_ms = 2_500
    await streams.crops.append([crops(1, b"new")])
    assert await streams.crops.depth(SHARDS) <= 1
    assert b"old" not in [d.payload for d in await read(streams.crops)]


async def test_trimming_takes_crops_that_are_pending_too(streams: Streams) -> None:
    await streams.crops.append([crops(1, b"old")])
    await read(streams.crops)
    streams.ahead_ms = 700
    assert await streams.crops.trim(SHARDS, max_age_ms=500) == 1
    assert await claim(streams.crops) == []
    assert await claim(streams.crops) == []


async def test_scores_and_events_share_the_result_stream(streams: Streams) -> None:
    await streams.results.append(
        [
            Append(shard=0, kind=EntryKind.EVENT, payload=b"{}"),
            Append(shard=0, kind=EntryKind.SCORES, payload=b"s"),
        ]
    )
    assert [d.kind for d in await read(streams.results)] == [EntryKind.EVENT, EntryKind.SCORES]


async def test_an_acked_result_is_gone_and_an_unacked_one_comes_back(streams: Streams) -> None:
    await streams.results.append([Append(shard=s, kind=EntryKind.SCORES, payload=b"s") for s in (0, 1)])
    found = await read(streams.results)
    await streams.results.ack([d for d in found if d.shard == 0])
    assert [d.shard for d in await claim(streams.results)] == [1]
    assert await streams.results.depth(SHARDS) == 1


async def test_the_oldest_results_beyond_a_bound_are_shown_and_go_only_when_acked(streams: Streams) -> None:
    scores = [Append(shard=s, kind=EntryKind.SCORES, payload=bytes([n])) for n in range(6) for s in (0, 1)]
    await streams.results.append([*scores, Append(shard=5, kind=EntryKind.EVENT, payload=b"{}")])
    await streams.results.read([0], consumer="a", max_entries=1, block_ms=0)
    for _ in range(2):
        over = await streams.results.overflow(SHARDS, keep_entries=3, max_entries=2)
        assert [(d.shard, d.payload[0]) for d in over] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    await streams.results.ack(over)
    assert await streams.results.depth(SHARDS) == 9
    left = await read(streams.results) + await claim(streams.results)
    assert {d.payload for d in left if d.shard != 5} == {bytes([n]) for n in range(2, 6)}
    assert await streams.results.overflow(SHARDS, keep_entries=10, max_entries=5) == []


async def test_a_peek_shows_what_was_read_and_what_was_not_and_takes_nothing(streams: Streams) -> None:
    await streams.results.append(
        [Append(shard=1, kind=EntryKind.SCORES, payload=bytes([i])) for i in range(5)]
    )
    await streams.results.read(SHARDS, consumer="a", max_entries=2, block_ms=0)
    first = await streams.results.peek(1, max_entries=3)
    rest = await streams.results.peek(1, after=first[-1].entry_id, max_entries=3)
    assert [d.payload for d in first + rest] == [bytes([i]) for i in range(5)]
    assert await streams.results.peek(5, max_entries=3) == []
    assert await streams.results.depth(SHARDS) == 5
    await streams.results.ack(first)
    assert await claim(streams.results) == [], "what was pending is gone from its reader too"
    await streams.crops.append([crops(1, b"x")])
    assert [d.payload for d in await streams.crops.peek(1, max_entries=3)] == [b"x"]
