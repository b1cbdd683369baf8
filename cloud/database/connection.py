"""A pool of connections as the application role, with transactions bound to one tenant.

Rule T1: the tenant is set inside the transaction that uses it, so a pooled connection never carries one
tenant's binding to another's request; without a tenant the row-level policies show nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass

import psycopg
import psycopg_pool
from psycopg.rows import TupleRow

from cloud.errors import BusyError, StoreError
from privacy.protocol.ids import TenantId

Connection = psycopg.AsyncConnection[TupleRow]
Pool = psycopg_pool.AsyncConnectionPool[Connection]

CONNECT_TIMEOUT_S = 5
WAIT_TIMEOUT_S = 5.0
STATEMENT_TIMEOUT_MS = 20_000
IDLE_TRANSACTION_TIMEOUT_MS = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    pool: Pool
    tenant: TenantId
    connection: Connection


_work: ContextVar[_Work | None] = ContextVar("unit_of_work", default=None)

_OPTIONS = (
    f"-c statement_timeout={STATEMENT_TIMEOUT_MS} "
    f"-c idle_in_transaction_session_timeout={IDLE_TRANSACTION_TIMEOUT_MS}"
)


async def open_pool(url: str, *, min_size: int = 1, max_size: int = 8) -> Pool:
    """Open a pool; connections that died are replaced as they are found.

    Args:
        url: as the application role.
        min_size: connections kept open.
        max_size: most connections at a time; further callers wait up to `WAIT_TIMEOUT_S`.

    Raises:
        StoreError: no connection within `WAIT_TIMEOUT_S`.
    """
    pool: Pool = psycopg_pool.AsyncConnectionPool(
        url,
        min_size=min_size,
        max_size=max_size,
        timeout=WAIT_TIMEOUT_S,
        reconnect_timeout=WAIT_TIMEOUT_S,
        open=False,
        check=psycopg_pool.AsyncConnectionPool.check_connection,
        kwargs={
            "autocommit": True,
            "connect_timeout": CONNECT_TIMEOUT_S,
            "options": _OPTIONS,
            "application_name": "countenance",
        },
    )
    try:
        await pool.open(wait=True, timeout=WAIT_TIMEOUT_S)
    except psycopg_pool.PoolTimeout:
        await pool.close()
        raise StoreError("PostgreSQL cannot be reached") from None
    return pool


@contextlib.asynccontextmanager
async def tenant_transaction(pool: Pool, tenant: TenantId) -> AsyncIterator[Connection]:
    """Run a transaction that sees one tenant's rows; committed at the end, rolled back on any error.

    Raises:
        BusyError: it waited for a lock longer than `wait_briefly` allowed.
        StoreError: PostgreSQL cannot be reached, or refuses for a reason the caller did not catch.
    """
    work = _work.get()
    if work is not None and work.pool is pool and work.tenant == tenant:
        async with _translated(), work.connection.transaction():
            yield work.connection
        return
    async with platform_transaction(pool) as connection:
        await connection.execute("SELECT set_config('app.tenant', %s, true)", (str(tenant),))
        yield connection


@contextlib.asynccontextmanager
async def unit_of_work(pool: Pool, tenant: TenantId) -> AsyncIterator[None]:
    """Make one transaction of everything that is done to a tenant's rows inside: all of it, or nothing.

    Every `tenant_transaction` of the same tenant and pool becomes a part of it (a savepoint), so that an act and the
    audit entry that tells of it are written together.

    Raises:
        StoreError: as `tenant_transaction`; nothing was written.
    """
    async with tenant_transaction(pool, tenant) as connection:
        token = _work.set(_Work(pool=pool, tenant=tenant, connection=connection))
        try:
            yield
        finally:
            _work.reset(token)


async def wait_briefly(connection: Connection, lock_wait_ms: int) -> None:
    """Bound how long this transaction waits for another's lock; beyond that it ends with `BusyError`."""
    await connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{lock_wait_ms}ms",))


@contextlib.asynccontextmanager
async def platform_transaction(pool: Pool) -> AsyncIterator[Connection]:
    """Run a transaction bound to no tenant: it sees schema `platform` alone.

    Raises:
        StoreError: as `tenant_transaction`.
    """
    async with _translated(), pool.connection() as connection, connection.transaction():
        yield connection


@contextlib.asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except psycopg.errors.LockNotAvailable:
        raise BusyError("another transaction holds what this one needs") from None
    except (psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed, psycopg.OperationalError):
        raise StoreError("PostgreSQL cannot be reached") from None
    except psycopg.Error as error:
        # The text may quote a row, so only the class and the SQLSTATE go on.
        raise StoreError(f"PostgreSQL refused: {type(error).__name__} {error.sqlstate}") from None
