"""What Redis loses, by being killed or by being full, is said again or flagged."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from redis.asyncio import Redis

from cloud.aggregate.leases import PostgresLeaseStore
from cloud.aggregate.loop import AggregateLoop
from cloud.config import Bind
from cloud.consents.registry import Registry
from cloud.database.connection import Pool
from cloud.embedded import redis as embedded
from cloud.embedded.ports import free_port
from cloud.errors import StreamError
from cloud.ingest.aiortc_peer import AiortcPeerEngine
from cloud.ingest.server import IngestParts, serve
from cloud.lifecycle.stream_trimming import shed_results
from cloud.results.changes import Counted, FramesSkipped
from cloud.results.repository import PostgresResultStore
from cloud.results.timelines import Timelines
from cloud.streams.entries import shard_of
from cloud.streams.ports import Append, EntryKind
from cloud.streams.redis_connection import connect
from cloud.streams.redis_sessions import RedisAckFeed, RedisRevocations, RedisSetupStore
from cloud.streams.redis_streams import RedisCropStream, RedisResultStream
from privacy.protocol.codec import encode_message
from privacy.protocol.messages import Answer, Counters, Gap, Segment
from tests.fixtures_keys import NO_KEYS
from tests.fixtures_peers import OfferingPeer
from tests.fixtures_postgres import Consented
from tests.fixtures_street import Platform, Viewer, eventually, utc_us
from tests.unit.cloud.score_records import event_entry, score, scores_entry

SHARDS = 4
REPORTED = 4
"""Events before the kill: connected, segment, gap, counters."""


@contextlib.asynccontextmanager
async def ingest(redis: Redis, platform_key: Ed25519PublicKey) -> AsyncIterator[int]:
    """Serve on a real Redis; yields the signalling port."""
    parts = IngestParts(
        engine=AiortcPeerEngine(),
        crops=RedisCropStream(redis, utc_ms=lambda: utc_us() // 1_000, max_age_ms=2_000),
        events=RedisResultStream(redis),
        setups=RedisSetupStore(redis),
        revocations=RedisRevocations(redis),
        acks=RedisAckFeed(redis),
        platform_key=platform_key,
    )
    stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
    bind = Bind(host="127.0.0.1", port=0)
    serving = asyncio.create_task(
        serve(parts, bind=bind, shards=SHARDS, max_sessions=3, stop=stop, on_listening=listening.set_result)
    )
    try:
        yield await listening
    finally:
        stop.set()
        await serving


@contextlib.asynccontextmanager
async def aggregating(redis: Redis, pool: Pool) -> AsyncIterator[None]:
    stop = asyncio.Event()
    loop = AggregateLoop(
        stream=RedisResultStream(redis),
        store=PostgresResultStore(pool),
        leases=PostgresLeaseStore(pool),
        holder="test",
        shards=SHARDS,
    )
    running = asyncio.create_task(loop.run(stop=stop))
    try:
        yield
    finally:
        stop.set()
        await running


async def has_events(redis: Redis, count: int) -> bool:
    with contextlib.suppress(StreamError):
        return await RedisResultStream(redis).depth(range(SHARDS)) >= count
    return False


@pytest.mark.parametrize("is_quiet", [True, False])
async def test_what_was_reported_before_redis_was_killed_reaches_the_session(
    pool: Pool, consented: Consented, tmp_path: Path, is_quiet: bool
) -> None:
    port, platform = free_port(), Platform()
    server = embedded.start(tmp_path / "redis", port=port, password="p")
    redis = connect(server.url)
    viewer = Viewer(platform, session=consented.session, tenant=consented.tenant)
    try:
        async with ingest(redis, platform.public_key) as signalling:
            peer = OfferingPeer(signalling)
            assert isinstance(await peer.offer(viewer.ticket(), viewer.sealer().setup), Answer)
            peer.control(Segment(segment=0, media_time_us=0, monotonic_us=5, rate_permille=1_000))
            peer.control(Gap(first_frame=3, last_frame=9, segment=0, media_time_us=100_000, reason="no_face"))
            peer.control(Counters(captured=10, with_face=3, sent=3, skipped={"no_face": 7}))
            await eventually(lambda: has_events(redis, REPORTED))
            os.kill(server.pid, signal.SIGKILL)
            if not is_quiet:  # a write that fails tells of the loss as well as the broken subscription does
                peer.control(Counters(captured=11, with_face=4, sent=4, skipped={"no_face": 7}))
                await asyncio.sleep(0.3)
            await asyncio.to_thread(server.stop)
            server = await asyncio.to_thread(embedded.start, tmp_path / "redis", port=port, password="p")
            await eventually(lambda: has_events(redis, REPORTED + (not is_quiet)), within_s=20)
            async with aggregating(redis, pool):
                await eventually(lambda: is_told(pool, consented, captured=10 + (not is_quiet)), within_s=20)
            await peer.close()
        assert (await Registry(pool).get_session(consented.tenant, consented.session)).state == "live"
    finally:
        await redis.aclose()
        server.stop()


async def is_told(pool: Pool, known: Consented, *, captured: int) -> bool:
    timelines = Timelines(pool, NO_KEYS)
    gaps = await timelines.read_gaps(known.tenant, known.session)
    counters = await timelines.read_counters(known.tenant, known.session)
    segments = await timelines.read_segments(known.tenant, known.session)
    wanted = FramesSkipped(first_frame=3, last_frame=9, segment=0, media_time_ms=100, reason="no_face")
    skipped = {"no_face": 7}
    sent = captured - 7
    return (
        gaps == [wanted]
        and counters == Counted(captured=captured, with_face=sent, sent=sent, skipped=skipped)
        and len(segments) == 1
    )


async def test_results_that_leave_a_full_stream_are_flagged_as_lost_and_reports_survive(
    pool: Pool, consented: Consented, redis_client: Redis
) -> None:
    results, shard = RedisResultStream(redis_client), shard_of(consented.session, shards=SHARDS)
    at = {"tenant": consented.tenant, "session": consented.session}
    counted = Counters(captured=60, with_face=60, sent=60, skipped={})
    reports = [event_entry("connected", **at), event_entry("counters", body=encode_message(counted), **at)]
    payloads = [(EntryKind.EVENT, report.payload) for report in reports]
    payloads += [(EntryKind.SCORES, scores_entry([score(n, **at)]).payload) for n in range(60)]
    await results.append([Append(shard=shard, kind=kind, payload=payload) for kind, payload in payloads])
    await shed_results(results, range(SHARDS), clock=lambda: datetime.now(UTC), keep_entries=20)
    assert await results.depth(range(SHARDS)) <= 20 + 3
    async with aggregating(redis_client, pool):
        await eventually(lambda: is_drained(redis_client))
    timelines = Timelines(pool, NO_KEYS)
    stored = (await timelines.read_frames(consented.tenant, consented.session))["frame"].tolist()
    (gap,) = await timelines.read_gaps(consented.tenant, consented.session)
    assert (stored, gap.first_frame, gap.last_frame, gap.reason) == (list(range(40, 60)), 0, 39, "lost")
    assert await timelines.read_counters(consented.tenant, consented.session) == Counted(
        captured=60, with_face=60, sent=60
    )
    assert (await Registry(pool).get_session(consented.tenant, consented.session)).state == "live"


async def is_drained(redis: Redis) -> bool:
    return await RedisResultStream(redis).depth(range(SHARDS)) == 0
