"""The API process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import datetime

import structlog
from redis.asyncio import Redis

from cloud.api.app import create_app
from cloud.api.context import ApiContext, utc_now
from cloud.api.ending import Ender
from cloud.api.revoking import Revoker
from cloud.config import Settings
from cloud.consents.registry import Registry
from cloud.database.connection import Pool, open_pool
from cloud.database.health import find_fault as postgres_fault
from cloud.keys.custody import FileKeyCustody
from cloud.keys.platform_keys import load_signing_key, read_admin_token, read_key_bundle
from cloud.observability import OK, Readiness, serve_ops
from cloud.results.timelines import Timelines
from cloud.streams.redis_connection import connect
from cloud.streams.redis_connection import find_fault as redis_fault
from cloud.streams.redis_sessions import RedisRevocations
from cloud.web.http_server import serve_app
from privacy.governance.policy import load_policy
from privacy.redaction import Secret

log = structlog.get_logger(__name__)


async def run(settings: Settings, *, stop: asyncio.Event) -> None:
    """Serve the API until told to stop.

    Raises:
        ConfigError: a key is missing, or the address is taken.
        StoreError: PostgreSQL does not answer at start.
    """
    async with contextlib.AsyncExitStack() as stack:
        pool = await open_pool(settings.database_url)
        stack.push_async_callback(pool.close)
        redis = connect(settings.redis_url)
        stack.push_async_callback(redis.aclose)
        revoker = Revoker(RedisRevocations(redis))
        telling = asyncio.create_task(revoker.keep_telling())
        stack.callback(telling.cancel)
        context = build_context(settings, pool, revoker, readiness=store_readiness(pool, redis))
        stack.push_async_callback(context.ender.close)
        bound = await stack.enter_async_context(
            serve_app(create_app(context), settings.api_bind, name="API_BIND")
        )
        await stack.enter_async_context(serve_ops(settings.metrics_bind, readiness=context.readiness))
        log.info("api is ready", port=bound.port)
        await stop.wait()


def build_context(
    settings: Settings,
    pool: Pool,
    revoker: Revoker,
    *,
    readiness: Readiness,
    now: Callable[[], datetime] = utc_now,
) -> ApiContext:
    """Put the context of the real process together.

    Raises:
        ConfigError: a key is missing.
    """
    read_key_bundle(settings.state_dir)
    return ApiContext(
        settings=settings,
        policy=load_policy(),
        registry=Registry(pool),
        timelines=Timelines(pool, FileKeyCustody(settings.keys_dir)),
        revoker=revoker,
        ender=Ender(revoker),
        signing_key=load_signing_key(settings.state_dir),
        admin_token=Secret(read_admin_token(settings.state_dir)),
        key_bundle=lambda: read_key_bundle(settings.state_dir),
        readiness=readiness,
        now=now,
    )


def store_readiness(pool: Pool, redis: Redis) -> Readiness:
    """Make the checks for /readyz: PostgreSQL and Redis take a write within two seconds."""

    async def check() -> Mapping[str, str]:
        return {
            "postgres": await postgres_fault(pool) or OK,
            "redis": await redis_fault(redis) or OK,
        }

    return check
