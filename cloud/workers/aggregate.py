"""The aggregate process: score records and session events in, committed packs and durable acks out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Mapping

import structlog

from cloud.adapters.postgres.connection import Pool, open_pool, platform_transaction
from cloud.adapters.postgres.leases import PostgresLeaseStore
from cloud.adapters.postgres.results import PostgresResultStore
from cloud.adapters.redis_connection import connect
from cloud.adapters.redis_streams import RedisResultStream
from cloud.config import Settings
from cloud.errors import StoreError, StreamError
from cloud.observability import OK, serve_ops
from cloud.workers.aggregate_loop import AggregateLoop

_log = structlog.get_logger(__name__)


async def run(settings: Settings, *, stop: asyncio.Event) -> None:
    """Aggregate until `stop` is set.

    Raises:
        ConfigError: the metrics address cannot be bound.
    """
    async with waiting_pool(settings.database_url, stop=stop) as pool:
        if pool is None:
            return
        redis = connect(settings.redis_url)
        stream = RedisResultStream(redis)
        loop = AggregateLoop(
            stream=stream,
            store=PostgresResultStore(pool),
            leases=PostgresLeaseStore(pool),
            holder=worker_name("aggregate"),
            shards=settings.shards,
        )

        async def readiness() -> Mapping[str, str]:
            return {
                "postgres": await postgres_state(pool),
                "redis": await _stream_state(stream),
                "shards": OK if loop.held else "no shard is leased yet",
            }

        try:
            async with serve_ops(settings.metrics_bind, readiness=readiness) as ops:
                _log.info("aggregate is ready", port=ops.bind.port)
                await loop.run(stop=stop)
        finally:
            await redis.aclose()


def worker_name(role: str) -> str:
    """Name this process uniquely: a name never comes back after a restart."""
    return f"{role}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


@contextlib.asynccontextmanager
async def waiting_pool(url: str, *, stop: asyncio.Event) -> AsyncIterator[Pool | None]:
    """Open a pool as soon as PostgreSQL answers; None if `stop` came first."""
    pool = None
    while pool is None and not stop.is_set():
        try:
            pool = await open_pool(url)
        except StoreError:
            _log.warning("postgres cannot be reached yet")
    try:
        yield pool
    finally:
        if pool is not None:
            await pool.close()


async def postgres_state(pool: Pool) -> str:
    """Say whether PostgreSQL answers, for /readyz."""
    try:
        async with platform_transaction(pool) as connection:
            await connection.execute("SELECT 1")
    except StoreError as error:
        return str(error)
    return OK


async def _stream_state(stream: RedisResultStream) -> str:
    try:
        await stream.depth([0])
    except StreamError as error:
        return str(error)
    return OK
