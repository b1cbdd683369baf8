"""How sessions end on request: written at once where the session's row is free, queued where somebody holds it.

Rule G2: a deletion is queued in the transaction that ends its session. Where another transaction holds the row for
longer than `LOCK_WAIT_MS`, the deletion is queued alone, with the event that the row is still owed: from then on every
reader sees the session as withdrawn, and the lifecycle settles what is owed before it deletes (ADR 0120).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from cloud.audit.repository import append_entry
from cloud.database.connection import Connection, Pool, tenant_transaction, wait_briefly
from cloud.database.queries import load_queries
from cloud.errors import BusyError, NotFoundError
from cloud.sessions.records import ErasureJob, SessionState
from cloud.sessions.rows import fetch_records
from privacy.protocol.ids import SessionId, TenantId

LOCK_WAIT_MS = 300
"""A withdrawal acts within a second; whoever holds a row for longer than this is not waited for."""

_Q = load_queries("registry")


class Ending(StrEnum):
    """Why a session ends on request; the value is also what a queued deletion owes its session's row."""

    WITHDRAWN = "withdrawn"
    DECLARED_MINOR = "declared_minor"
    ERASURE_REQUESTED = "erasure_requested"


_CLOSE_REASONS = {
    Ending.WITHDRAWN: "withdrawn",
    Ending.DECLARED_MINOR: "declared_minor",
    Ending.ERASURE_REQUESTED: "erasure requested",
}
_AUDITED = {Ending.WITHDRAWN: "consent.withdrawn", Ending.ERASURE_REQUESTED: "erasure.requested"}


class Endings:
    """Withdrawals, declared minors and erasure requests on PostgreSQL.

    Every method raises `StoreError` where PostgreSQL cannot be reached, and `NotFoundError` where the
    tenant has no such session.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def withdraw(
        self, tenant: TenantId, session: SessionId, *, actor: str, now: datetime
    ) -> ErasureJob | None:
        """Withdraw consent and queue the deletion; harmless when repeated.

        Returns:
            The waiting deletion, whose `owed` says what the session's row does not have yet; None where the
            deletion was carried out already.
        """
        return await self._end(tenant, session, Ending.WITHDRAWN, actor=actor, now=now)

    async def request_erasure(
        self, tenant: TenantId, session: SessionId, *, actor: str, now: datetime
    ) -> ErasureJob | None:
        """Queue a deletion that was asked for otherwise (rule G5); the session ends. Returns as `withdraw`."""
        return await self._end(tenant, session, Ending.ERASURE_REQUESTED, actor=actor, now=now)

    async def end_for_minor(
        self, tenant: TenantId, session: SessionId, *, notice_sha256: bytes | None, now: datetime
    ) -> ErasureJob | None:
        """End the session of a declared minor, with only that it happened (rule U4). Returns as `withdraw`."""
        return await self._end(
            tenant, session, Ending.DECLARED_MINOR, actor="viewer", now=now, notice_sha256=notice_sha256
        )

    async def _end(
        self,
        tenant: TenantId,
        session: SessionId,
        kind: Ending,
        *,
        actor: str,
        now: datetime,
        notice_sha256: bytes | None = None,
    ) -> ErasureJob | None:
        try:
            async with tenant_transaction(self._pool, tenant) as connection:
                await wait_briefly(connection, LOCK_WAIT_MS)
                return await end_within(
                    connection, tenant, session, kind, actor=actor, now=now, notice_sha256=notice_sha256
                )
        except BusyError:
            async with tenant_transaction(self._pool, tenant) as connection:
                await wait_briefly(connection, LOCK_WAIT_MS)
                return await _queue_alone(connection, tenant, session, kind, actor=actor, now=now)


async def settle(pool: Pool, job: ErasureJob, *, now: datetime) -> None:
    """Write what a queued deletion still owes to its session's row; nothing where it owes nothing.

    Raises:
        BusyError: somebody still holds the row.
    """
    if job.owed is None:
        return
    async with tenant_transaction(pool, job.tenant) as connection:
        await wait_briefly(connection, LOCK_WAIT_MS)
        kind, actor = Ending(job.owed), job.actor or "viewer"
        await end_within(connection, job.tenant, job.session, kind, actor=actor, now=now)


async def end_within(
    connection: Connection,
    tenant: TenantId,
    session: SessionId,
    kind: Ending,
    *,
    actor: str,
    now: datetime,
    notice_sha256: bytes | None = None,
) -> ErasureJob | None:
    """End a session within the caller's transaction (see `Endings`).

    Raises:
        NotFoundError: no such session.
    """
    state = await locked_state(connection, tenant, session)
    waiting = await pending_erasure(connection, tenant, session)
    owes_this = waiting is not None and waiting.owed == kind
    is_new = state not in (SessionState.WITHDRAWN, SessionState.ERASED)
    if kind is Ending.DECLARED_MINOR or (kind is Ending.WITHDRAWN and (is_new or owes_this)):
        await add_event(connection, tenant, session, kind=kind, notice_sha256=notice_sha256, now=now)
    if state is SessionState.ERASED:
        return waiting
    if is_new:
        marked = {"now": now, "close_reason": _CLOSE_REASONS[kind]}
        await execute(connection, "mark_withdrawn", tenant, session, marked)
    if is_new or kind is Ending.ERASURE_REQUESTED:
        await execute(connection, "queue_erasure", tenant, session, _job(kind, now))
    if kind in _AUDITED and (is_new or owes_this or kind is Ending.ERASURE_REQUESTED):
        await append_entry(
            connection,
            tenant,
            actor=actor,
            action=_AUDITED[kind],
            subject=str(session),
            detail={},
            now=now,
        )
    if owes_this:
        await execute(connection, "clear_owed", tenant, session, {})
    return await pending_erasure(connection, tenant, session)


async def withdraw_within(
    connection: Connection, tenant: TenantId, session: SessionId, *, actor: str, now: datetime
) -> ErasureJob | None:
    """Withdraw within the caller's transaction (see `Endings.withdraw`)."""
    return await end_within(connection, tenant, session, Ending.WITHDRAWN, actor=actor, now=now)


async def locked_state(connection: Connection, tenant: TenantId, session: SessionId) -> SessionState:
    """Lock a session's row until the transaction ends and read its state.

    Raises:
        NotFoundError: no such session.
    """
    cursor = await connection.execute(_Q["lock_session_state"], {"tenant": tenant, "session": session})
    row = await cursor.fetchone()
    if row is None:
        raise NotFoundError("no such session")
    return SessionState(row[0])


async def pending_erasure(connection: Connection, tenant: TenantId, session: SessionId) -> ErasureJob | None:
    """Read a session's waiting deletion."""
    found = await fetch_records(
        connection, ErasureJob, _Q["pending_erasure"], {"tenant": tenant, "session": session}
    )
    return found[0] if found else None


async def add_event(
    connection: Connection,
    tenant: TenantId,
    session: SessionId,
    *,
    kind: str,
    notice_sha256: bytes | None,
    now: datetime,
) -> None:
    """Append a consent event that carries no choices (rule G3)."""
    cursor = await connection.execute(_Q["last_receipt"], {"tenant": tenant, "session": session})
    row = await cursor.fetchone()
    values: dict[str, Any] = {
        "id": uuid4(),
        "kind": str(kind),
        "receipt_jws": None,
        "receipt_sha256": row[0] if row else None,
        "notice_sha256": notice_sha256,
        "purposes": [],
        "opted_out": [],
        "device_public_key": None,
        "device_signature": None,
        "signed_request": None,
        "now": now,
    }
    await execute(connection, "insert_consent", tenant, session, values)


async def execute(
    connection: Connection, name: str, tenant: TenantId, session: SessionId, values: Mapping[str, Any]
) -> None:
    """Run one of the registry's statements about a session."""
    await connection.execute(_Q[name], {"tenant": tenant, "session": session, **values})


async def _queue_alone(
    connection: Connection, tenant: TenantId, session: SessionId, kind: Ending, *, actor: str, now: datetime
) -> ErasureJob | None:
    """Queue a deletion without the session's row; readers see the session as withdrawn from now on."""
    values = {"tenant": tenant, "session": session, **_job(kind, now), "owed": str(kind), "actor": actor}
    row = await (await connection.execute(_Q["peek_session_state"], values)).fetchone()
    if row is None:
        raise NotFoundError("no such session")
    if SessionState(row[0]) is not SessionState.ERASED:
        await connection.execute(_Q["queue_owing_erasure"], values)
    return await pending_erasure(connection, tenant, session)


def _job(kind: Ending, now: datetime) -> dict[str, Any]:
    reason = "request" if kind is Ending.ERASURE_REQUESTED else "withdrawal"
    return {"id": uuid4(), "reason": reason, "now": now}
