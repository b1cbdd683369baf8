"""What only a real Redis shows: expiry, restarts, and what is left of a trimmed entry."""

import asyncio
import contextlib
import time
from pathlib import Path
from uuid import UUID

import pytest
from redis.asyncio import Redis

from cloud.embedded import redis as embedded
from cloud.embedded.ports import free_port
from cloud.errors import StreamError
from cloud.streams import redis_streams
from cloud.streams.ports import Append, Delivery, EntryKind, Finished
from cloud.streams.redis_connection import connect, find_fault
from cloud.streams.redis_sessions import RedisRevocations, RedisSetupStore
from cloud.streams.redis_streams import RedisCropStream, RedisResultStream
from privacy.protocol.ids import SessionId
from tests.fixtures_street import Platform, Viewer, eventually

SHARDS = (0, 1)


def utc_ms() -> int:
    return time.time_ns() // 1_000_000


def crops(shard: int, payload: bytes = b"x") -> Append:
    return Append(shard=shard, kind=EntryKind.CROPS, payload=payload)


async def read(stream: RedisCropStream, *, block_ms: int = 0) -> list[Delivery]:
    return await stream.read(SHARDS, consumer="c", max_entries=10, block_ms=block_ms)


async def test_sealed_crops_age_out_although_nobody_reads_them(redis_client: Redis, monkeypatch) -> None:
    monkeypatch.setattr(redis_streams, "CROP_KEY_GRACE_MS", 20)
    stream = RedisCropStream(redis_client, utc_ms=utc_ms, max_age_ms=40)
    await stream.append([crops(0)])
    assert await redis_client.exists("crops:{0}")
    await eventually(lambda: gone(redis_client, "crops:{0}"))


async def gone(redis: Redis, key: str) -> bool:
    return not await redis.exists(key)


@pytest.mark.parametrize("max_age_ms", [500, 2_000, 15_000])
async def test_crop_keys_expire_a_second_after_the_youngest_crop(
    redis_client: Redis, max_age_ms: int
) -> None:
    await RedisCropStream(redis_client, utc_ms=utc_ms, max_age_ms=max_age_ms).append([crops(0)])
    assert max_age_ms < await redis_client.pttl("crops:{0}") <= max_age_ms + 1_000


async def test_a_reader_goes_on_after_its_group_went_with_the_key(redis_client: Redis) -> None:
    stream = RedisCropStream(redis_client, utc_ms=utc_ms, max_age_ms=2_000)
    await stream.append([crops(0, b"1"), crops(1, b"2")])
    assert len(await read(stream)) == 2
    await redis_client.delete("crops:{0}")
    await stream.append([crops(0, b"3")])
    assert [d.payload for d in await read(stream)] == [b"3"]


async def test_a_reader_that_waits_wakes_although_the_key_was_made_anew(redis_client: Redis) -> None:
    stream = RedisCropStream(redis_client, utc_ms=utc_ms, max_age_ms=2_000)
    await read(stream)
    await redis_client.delete("crops:{0}", "crops:{1}")
    waiting = asyncio.create_task(read(stream, block_ms=1_500))
    await asyncio.sleep(0.05)
    await stream.append([crops(1, b"new")])
    assert [d.payload for d in await waiting] == [b"new"]


async def test_claiming_on_streams_without_a_group_finds_nothing(redis_client: Redis) -> None:
    stream = RedisCropStream(redis_client, utc_ms=utc_ms, max_age_ms=2_000)
    assert await stream.claim_stale(SHARDS, consumer="c", min_idle_ms=0, max_entries=5) == []


async def test_entries_trimmed_while_pending_leave_the_group(redis_client: Redis) -> None:
    stream = RedisCropStream(redis_client, utc_ms=utc_ms, max_age_ms=2_000)
    await stream.append([crops(0, b"1"), crops(0, b"2")])
    first, _ = await read(stream)
    await redis_client.xdel("crops:{0}", first.entry_id)
    claimed = await stream.claim_stale(SHARDS, consumer="d", min_idle_ms=0, max_entries=5)
    assert [d.payload for d in claimed] == [b"2"]
    assert (await redis_client.xpending("crops:{0}", "classify"))["pending"] == 1


async def test_crops_stay_where_their_scores_find_no_room(redis_client: Redis) -> None:
    stream, results = (
        RedisCropStream(redis_client, utc_ms=utc_ms, max_age_ms=2_000),
        RedisResultStream(redis_client),
    )
    await stream.append([crops(0, b"1")])
    (delivery,) = await read(stream)
    before = (await redis_client.config_get("maxmemory"))["maxmemory"]
    await redis_client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StreamError):
            await stream.finish([Finished(delivery=delivery, scores=b"s")])
    finally:
        await redis_client.config_set("maxmemory", before)
    assert await results.depth(SHARDS) == 0
    again = await stream.claim_stale(SHARDS, consumer="d", min_idle_ms=0, max_entries=5)
    assert [d.entry_id for d in again] == [delivery.entry_id]


async def test_results_beyond_the_bound_are_trimmed_and_counted(redis_client: Redis, monkeypatch) -> None:
    monkeypatch.setattr(redis_streams, "RESULTS_MAX_ENTRIES", 100)
    trimmed: list[int] = []
    crop_stream = RedisCropStream(redis_client, utc_ms=utc_ms, max_age_ms=2_000, on_trimmed=trimmed.append)
    results = RedisResultStream(redis_client, on_trimmed=trimmed.append)
    events = [Append(shard=0, kind=EntryKind.EVENT, payload=b"{}") for _ in range(250)]
    await results.append(events)
    await crop_stream.append([crops(0)])
    (delivery,) = await read(crop_stream)
    await crop_stream.finish([Finished(delivery=delivery, scores=b"s")])
    assert sum(trimmed) == 251 - await results.depth(SHARDS)
    assert sum(trimmed) >= 100


async def test_an_entry_of_no_known_kind_is_delivered_as_such_and_stops_no_reader(
    redis_client: Redis,
) -> None:
    results = RedisResultStream(redis_client)
    for name in (b"later", b"\xff"):
        await redis_client.xadd("results:{0}", {name: b"payload"})
    for found in (
        await results.overflow(SHARDS, keep_entries=0, max_entries=5),
        await results.read(SHARDS, consumer="c", max_entries=5, block_ms=0),
        await results.claim_stale(SHARDS, consumer="d", min_idle_ms=0, max_entries=5),
    ):
        assert [(d.kind, d.payload) for d in found] == [(EntryKind.UNKNOWN, b"payload")] * 2
    await results.ack(found)
    assert await results.depth(SHARDS) == 0


async def test_nothing_that_redis_says_about_a_payload_reaches_an_error(redis_client: Redis) -> None:
    stream = RedisCropStream(redis_client, utc_ms=utc_ms, max_age_ms=2_000)
    await redis_client.set("crops:{0}", b"occupied")
    with pytest.raises(StreamError) as refused:
        await stream.append([crops(0, b"a secret face")])
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


async def test_an_ingest_setup_that_is_garbage_counts_as_unknown(redis_client: Redis) -> None:
    store = RedisSetupStore(redis_client)
    session = SessionId(UUID(int=5))
    await redis_client.set(f"setup:{{{session.hex}}}:1", b"\xff garbage")
    assert await store.setup(session, epoch=1) is None


async def test_a_server_that_is_gone_is_a_stream_error_and_its_return_is_noticed(tmp_path: Path) -> None:
    port = free_port()
    server = embedded.start(tmp_path / "r", port=port, password="p")
    client = connect(server.url)
    stream = RedisCropStream(client, utc_ms=utc_ms, max_age_ms=2_000)
    revocations = RedisRevocations(client)
    heard: list[SessionId | None] = []

    async def listen() -> None:
        async for session in revocations.revocations():
            heard.append(session)

    listening = asyncio.create_task(listen())
    viewer = Viewer(Platform())
    try:
        await eventually(lambda: heard == [None])
        await stream.append([crops(0)])
        await asyncio.to_thread(server.stop)
        assert await find_fault(client)
        with pytest.raises(StreamError):
            await stream.append([crops(0)])
        with pytest.raises(StreamError):
            await read(stream)
        server = await asyncio.to_thread(embedded.start, tmp_path / "r", port=port, password="p")
        await eventually(lambda: heard == [None, None])
        await revocations.revoke(viewer.session)
        await eventually(lambda: heard == [None, None, viewer.session])
        await stream.append([crops(0, b"after")])
        assert [d.payload for d in await read(stream)] == [b"after"]
        assert await find_fault(client) == ""
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening
        await client.aclose()
        server.stop()
