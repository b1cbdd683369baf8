"""How workers wait for PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog

from cloud.database.connection import Pool, open_pool
from cloud.database.health import find_fault
from cloud.errors import StoreError
from cloud.observability import OK

_log = structlog.get_logger(__name__)


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
    """Say whether PostgreSQL takes writes, for /readyz."""
    return await find_fault(pool) or OK
