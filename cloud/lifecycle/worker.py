"""The lifecycle process: trims crop streams, and as the one leader erases, seals, enforces retention."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime

import psycopg
import psycopg_pool
import structlog

from cloud.audit.repository import PostgresAuditLog
from cloud.config import Settings
from cloud.consents.registry import Registry
from cloud.database.connection import Pool
from cloud.database.waiting import postgres_state, waiting_pool
from cloud.errors import CustodyError, StoreError
from cloud.keys.custody import FileKeyCustody, prepare_keys
from cloud.keys.platform_keys import load_signing_key
from cloud.lifecycle import metrics as metrics
from cloud.lifecycle.adopted_keys import adopt_keys
from cloud.lifecycle.cleaning import Cleaner
from cloud.lifecycle.due_work import PostgresClock, PostgresDueWork
from cloud.lifecycle.erasures import PostgresErasures
from cloud.lifecycle.loop import LifecycleLoop, LifecycleTools, fold_seconds
from cloud.lifecycle.remains import PostgresRemains
from cloud.lifecycle.retention import PostgresRetention
from cloud.lifecycle.sealing import TimelineSealer
from cloud.lifecycle.stream_trimming import keep_streams_short
from cloud.observability import OK, serve_ops
from cloud.results.storage import AdoptedKeys
from cloud.streams.redis_connection import connect, find_fault
from cloud.streams.redis_sessions import RedisRevocations, RedisSetupStore
from cloud.streams.redis_streams import RedisCropStream, RedisResultStream
from privacy.governance.policy import Artefact, load_policy

TURN_PERIOD_S = 0.5
CANDIDACY_PERIOD_S = 2.0

_LEADER_LOCK = 0x6C69666563796C65

_log = structlog.get_logger(__name__)


def utc_now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


async def run(settings: Settings, *, stop: asyncio.Event) -> None:
    """Work until `stop` is set; it is set here too if the streams cannot be kept short any more for a defect.

    Raises:
        ConfigError: a key file is missing or malformed, or the metrics address cannot be bound.
    """
    custody = FileKeyCustody(settings.keys_dir)
    prepare_keys(settings.keys_dir, former_kek=settings.state_dir / "kek.key")
    signing_key = load_signing_key(settings.state_dir)
    policy = load_policy()
    redis = connect(settings.redis_url)
    max_age_ms = policy.ttl_ms(Artefact.CIPHERTEXT_CROP)
    crops = RedisCropStream(redis, utc_ms=lambda: int(utc_now().timestamp() * 1_000), max_age_ms=max_age_ms)
    results = RedisResultStream(redis)
    shortening = asyncio.create_task(
        keep_streams_short(
            crops,
            results,
            shards=settings.shards,
            max_age_ms=max_age_ms,
            clock=utc_now,
        )
    )
    shortening.add_done_callback(lambda _task: stop.set())
    try:
        async with waiting_pool(settings.database_url, stop=stop) as pool:
            if pool is None:
                return
            tools = LifecycleTools(
                registry=Registry(pool),
                due_work=PostgresDueWork(pool),
                time_store=PostgresClock(pool),
                cleaner=Cleaner(custody, PostgresRemains(pool)),
                clock_confirmed=settings.clock_confirmed,
                sealer=TimelineSealer(pool, custody, fold_seconds=fold_seconds),
                erasures=PostgresErasures(pool, custody),
                retention=PostgresRetention(pool),
                audit=PostgresAuditLog(pool),
                crops=crops,
                results=results,
                setups=RedisSetupStore(redis),
                revocations=RedisRevocations(redis),
                policy=policy,
                signing_key=signing_key,
                shards=settings.shards,
                clock=utc_now,
            )

            async def readiness() -> Mapping[str, str]:
                return {"postgres": await postgres_state(pool), "redis": await find_fault(redis) or OK}

            async with serve_ops(settings.metrics_bind, readiness=readiness) as ops:
                _log.info("lifecycle is ready", port=ops.bind.port)
                await _lead(pool, tools, custody, stop)
    finally:
        shortening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await shortening
        await redis.aclose()


async def _lead(pool: Pool, tools: LifecycleTools, custody: AdoptedKeys, stop: asyncio.Event) -> None:
    """Take turns while leading; stand by while another process leads."""
    while not stop.is_set():
        try:
            async with _leadership(pool) as connection:
                if connection is not None:
                    await _adopt_keys(pool, custody)
                # a new one each time: another process may have led meanwhile, and its erasures are looked up
                loop = LifecycleLoop(tools)
                while connection is not None and not stop.is_set():
                    await connection.execute("SELECT 1")
                    await loop.turn()
                    await _pause(stop, TURN_PERIOD_S)
        except (StoreError, CustodyError, psycopg.Error, psycopg_pool.PoolTimeout) as error:
            metrics.FAILURES.labels(stage="lead", error=type(error).__name__).inc()
            _log.warning("lifecycle lost postgres or its keys", error=type(error).__name__)
        await _pause(stop, CANDIDACY_PERIOD_S)


async def _adopt_keys(pool: Pool, custody: AdoptedKeys) -> None:
    """Move keys that an earlier version left in the database, before anything asks for them."""
    moved = sum([await adopt_keys(pool, tenant, custody) for tenant in await Registry(pool).list_tenants()])
    if moved:
        _log.info("data keys were moved out of the database", keys=moved)


@contextlib.asynccontextmanager
async def _leadership(pool: Pool) -> AsyncIterator[psycopg.AsyncConnection[tuple[object, ...]] | None]:
    """Hold the leader's lock on a connection of its own; None while another process holds it."""
    async with pool.connection() as connection:
        row = await (await connection.execute("SELECT pg_try_advisory_lock(%s)", (_LEADER_LOCK,))).fetchone()
        is_leader = bool(row and row[0])
        metrics.LEADER.set(is_leader)
        try:
            yield connection if is_leader else None
        finally:
            metrics.LEADER.set(0)
            if is_leader and not connection.closed:
                with contextlib.suppress(psycopg.Error):
                    await connection.execute("SELECT pg_advisory_unlock(%s)", (_LEADER_LOCK,))


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
