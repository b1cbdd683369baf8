"""The aggregate process between a real Redis and a real PostgreSQL: outages and kills lose nothing."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from redis.asyncio import Redis

from cloud.aggregate import worker as aggregate
from cloud.config import Role, load_settings
from cloud.consents.registry import Registry
from cloud.database.connection import Pool, open_pool
from cloud.database.migrate import migrate
from cloud.embedded import postgres
from cloud.embedded import redis as embedded_redis
from cloud.embedded.ports import free_port
from cloud.errors import StoreError
from cloud.keys.custody import FileKeyCustody, prepare_keys
from cloud.results.timelines import Timelines
from cloud.streams.entries import encode_scores, shard_of
from cloud.streams.ports import Append, EntryKind
from cloud.streams.redis_connection import connect
from cloud.streams.redis_streams import RedisResultStream
from tests.fixtures_postgres import NOW, Consented, Database, consented_session
from tests.unit.cloud.score_records import MODEL, event_entry, score

SHARDS = 4


@dataclass
class Feeder:
    """Puts scores of one session on the stream, and says what came of them."""

    redis: Redis
    timelines: Timelines
    known: Consented

    async def put(self, frames: range, *, per_entry: int = 5) -> None:
        stream = RedisResultStream(self.redis)
        shard = shard_of(self.known.session, shards=SHARDS)
        for begin in range(frames.start, frames.stop, per_entry):
            records = [
                score(n, tenant=self.known.tenant, session=self.known.session, happy=n % 256)
                for n in range(begin, min(begin + per_entry, frames.stop))
            ]
            await stream.append(
                [Append(shard=shard, kind=EntryKind.SCORES, payload=encode_scores(records, model=MODEL))]
            )

    async def frames(self) -> np.ndarray:
        return await self.timelines.read_frames(self.known.tenant, self.known.session)

    async def depth(self) -> int:
        return await RedisResultStream(self.redis).depth(range(SHARDS))


async def eventually(holds: Callable[[], Awaitable[bool]], *, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not await holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        await asyncio.sleep(0.05)


def environment(database_url: str, redis_url: str, port: int, keys: Path) -> dict[str, str]:
    return {
        "COUNTENANCE_KEYS_DIR": str(keys),
        "COUNTENANCE_DATABASE_URL": database_url,
        "COUNTENANCE_REDIS_URL": redis_url,
        "COUNTENANCE_METRICS_BIND": f"127.0.0.1:{port}",
        "COUNTENANCE_SHARDS": str(SHARDS),
    }


async def feeder(pool, redis: Redis, custody: FileKeyCustody) -> Feeder:
    registry = Registry(pool)
    known = await consented_session(registry, await registry.create_tenant(name="Studio", now=NOW))
    return Feeder(redis=redis, timelines=Timelines(pool, custody), known=known)


def assert_exact(frames: np.ndarray, count: int) -> None:
    assert frames["frame"].tolist() == list(range(count))
    assert frames["confidence"].tolist() == [n % 256 for n in range(count)]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    prepare_keys(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def own_postgres() -> Iterator[Callable[[], postgres.EmbeddedPostgres]]:
    """A server on a port of its own that may be stopped and started again."""
    base = Path(tempfile.mkdtemp(prefix="countenance-outage-"))
    base.chmod(0o755)
    port = free_port()
    running: list[postgres.EmbeddedPostgres] = []

    def start() -> postgres.EmbeddedPostgres:
        running.append(postgres.start(base / "state" / "postgres", port=port, is_durable=False))
        return running[-1]

    yield start
    for server in running:
        server.stop()
    shutil.rmtree(base, ignore_errors=True)


async def test_a_postgres_outage_delays_frames_and_loses_none(
    own_postgres: Callable[[], postgres.EmbeddedPostgres], redis_client: Redis, redis_url: str, keys: Path
) -> None:
    server = own_postgres()
    migrate(server.urls.owner_url)
    port = free_port()
    settings = load_settings(
        Role.AGGREGATE, environ=environment(server.urls.app_url, redis_url, port, keys), flags={}
    )
    stop = asyncio.Event()
    running = asyncio.create_task(aggregate.run(settings, stop=stop))
    pool = await open_pool(server.urls.app_url)
    try:
        feed = await feeder(pool, redis_client, FileKeyCustody(keys))
        await feed.put(range(100))
        await eventually(lambda: is_stored(feed, 100))
        server.stop()
        await feed.put(range(100, 200))
        await asyncio.sleep(1)
        assert await feed.depth() == 20
        async with httpx.AsyncClient() as client:
            ready = await client.get(f"http://127.0.0.1:{port}/readyz", timeout=10)
        assert ready.status_code == 503
        own_postgres()
        await eventually(lambda: is_stored(feed, 200))
        assert_exact(await feed.frames(), 200)
        assert await feed.timelines.read_duplicates(feed.known.tenant, feed.known.session) == 0
        stop.set()
        await running
        # written rarely, but at the latest when the worker stops
        assert sum(await feed.timelines.read_latency(feed.known.tenant, feed.known.session)) == 200
    finally:
        stop.set()
        await running
        await pool.close()
    assert await feed.depth() == 0


async def test_a_redis_outage_is_waited_out(
    pool: Pool, database: Database, tmp_path: Path, keys: Path
) -> None:
    port = free_port()
    server = embedded_redis.start(tmp_path / "redis", port=port, password="secret")
    redis = connect(server.url)
    settings = load_settings(
        Role.AGGREGATE, environ=environment(database.app_url, server.url, free_port(), keys), flags={}
    )
    stop = asyncio.Event()
    running = asyncio.create_task(aggregate.run(settings, stop=stop))
    try:
        feed = await feeder(pool, redis, FileKeyCustody(keys))
        await feed.put(range(50))
        await eventually(lambda: is_stored(feed, 50))
        server.stop()
        await asyncio.sleep(0.5)
        assert not running.done()
        server = embedded_redis.start(tmp_path / "redis", port=port, password="secret")
        await feed.put(range(50, 100))
        await eventually(lambda: is_stored(feed, 100))
        assert_exact(await feed.frames(), 100)
    finally:
        stop.set()
        await running
        await redis.aclose()
        server.stop()


async def test_killed_workers_neither_lose_nor_double_a_frame(
    pool, database: Database, redis_client: Redis, redis_url: str, keys: Path
) -> None:
    feed = await feeder(pool, redis_client, FileKeyCustody(keys))
    workers: list[subprocess.Popen[bytes]] = []

    def start_worker() -> None:
        given = {**os.environ, **environment(database.app_url, redis_url, free_port(), keys)}
        workers.append(
            subprocess.Popen(
                [sys.executable, "-c", "from cloud.cli import main; main()", "aggregate"],
                env=given,
                stderr=subprocess.DEVNULL,
            )
        )

    start_worker()
    try:
        for part in range(3):
            await feed.put(range(part * 300, part * 300 + 300), per_entry=2)
            await has_begun(feed, part * 300)
            workers[-1].send_signal(signal.SIGKILL)
            start_worker()
        await feed.put(range(900, 910))
        await eventually(lambda: is_stored(feed, 910), within_s=60)
        assert_exact(await feed.frames(), 910)
        await eventually(lambda: is_empty(feed))
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


async def test_events_reach_the_session(
    pool, database: Database, redis_client: Redis, redis_url: str, keys: Path
) -> None:
    feed = await feeder(pool, redis_client, FileKeyCustody(keys))
    settings = load_settings(
        Role.AGGREGATE, environ=environment(database.app_url, redis_url, free_port(), keys), flags={}
    )
    stop = asyncio.Event()
    running = asyncio.create_task(aggregate.run(settings, stop=stop))
    known = feed.known
    body = event_entry("connected", tenant=known.tenant, session=known.session).payload
    shard = shard_of(known.session, shards=SHARDS)
    await RedisResultStream(redis_client).append([Append(shard=shard, kind=EntryKind.EVENT, payload=body)])

    async def is_live() -> bool:
        return (await Registry(pool).get_session(known.tenant, known.session)).state == "live"

    try:
        await eventually(is_live)
    finally:
        stop.set()
        await running


async def is_stored(feed: Feeder, count: int) -> bool:
    try:
        return len(await feed.frames()) == count
    except StoreError:
        return False


async def has_begun(feed: Feeder, beyond: int) -> None:
    """Wait until some of what comes after frame `beyond` is stored."""

    async def is_so() -> bool:
        return len(await feed.frames()) > beyond

    await eventually(is_so)


async def is_empty(feed: Feeder) -> bool:
    return await feed.depth() == 0
