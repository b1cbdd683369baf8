"""The aggregate process: score records and session events in, committed packs and durable acks out."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Mapping

import structlog

from cloud.aggregate.leases import PostgresLeaseStore
from cloud.aggregate.loop import AggregateLoop
from cloud.config import Settings
from cloud.database.waiting import postgres_state, waiting_pool
from cloud.keys.custody import FileKeyCustody
from cloud.observability import OK, serve_ops
from cloud.results.repository import PostgresResultStore
from cloud.results.sealed_results import SealedResultStore
from cloud.streams.redis_connection import connect, find_fault
from cloud.streams.redis_streams import RedisResultStream

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
            store=SealedResultStore(PostgresResultStore(pool), FileKeyCustody(settings.keys_dir)),
            leases=PostgresLeaseStore(pool),
            holder=worker_name("aggregate"),
            shards=settings.shards,
        )

        async def readiness() -> Mapping[str, str]:
            return {
                "postgres": await postgres_state(pool),
                "redis": await find_fault(redis) or OK,
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
