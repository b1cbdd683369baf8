"""What a session's viewer was shown, agreed to and withdrew: one transaction each.

Rule G3: consent events are only ever added. Rule G2: a withdrawal queues the deletion in its own
transaction, so that there is no moment at which one is known without the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg

from cloud.adapters.postgres.audit import append_entry
from cloud.adapters.postgres.connection import Connection, Pool, tenant_transaction
from cloud.adapters.postgres.queries import load_queries
from cloud.adapters.postgres.rows import fetch_records
from cloud.errors import ConflictError, NotFoundError
from cloud.ports.records import ConsentEventRecord, ErasureJob, SessionState
from privacy.audit.entries import AuditValue
from privacy.ids import SessionId, TenantId

_CONSENTING = frozenset({SessionState.CREATED, SessionState.CONSENTED})

_Q = load_queries("registry")


class Consents:
    """Notices, consent, withdrawal, erasure requests and the audit log on PostgreSQL.

    Every method raises `StoreError` where PostgreSQL cannot be reached, and `NotFoundError` where the
    tenant has no such session.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def record_notice(
        self, tenant: TenantId, session: SessionId, *, notice_sha256: bytes, locale: str, now: datetime
    ) -> UUID:
        """Store that a notice was shown (rule A1) and return the event's id."""
        event = uuid4()
        values = {"id": event, "notice_sha256": notice_sha256, "locale": locale, "now": now}
        async with tenant_transaction(self._pool, tenant) as connection:
            try:
                await _execute(connection, "insert_notice", tenant, session, values)
            except psycopg.errors.ForeignKeyViolation:
                raise NotFoundError("no such session") from None
        return event

    async def has_notice(self, tenant: TenantId, session: SessionId, *, notice_sha256: bytes) -> bool:
        """Say whether the viewer was shown the notice of this digest."""
        async with tenant_transaction(self._pool, tenant) as connection:
            return await _has_notice(connection, tenant, session, notice_sha256)

    async def record_consent(
        self,
        tenant: TenantId,
        session: SessionId,
        *,
        receipt_jws: str,
        receipt_sha256: bytes,
        receipt_expires_at: datetime,
        notice_sha256: bytes,
        purposes: Sequence[str],
        opted_out: Sequence[str],
        now: datetime,
    ) -> None:
        """Store a consent with its signed receipt; the session may connect from now on.

        Raises:
            ConflictError: this notice was not shown, or the session is past consenting.
        """
        values = {
            "receipt_jws": receipt_jws,
            "receipt_sha256": receipt_sha256,
            "receipt_expires_at": receipt_expires_at,
            "notice_sha256": notice_sha256,
            "purposes": list(purposes),
            "opted_out": list(opted_out),
            "now": now,
        }
        async with tenant_transaction(self._pool, tenant) as connection:
            if await _locked_state(connection, tenant, session) not in _CONSENTING:
                raise ConflictError("the session is past consenting")
            if not await _has_notice(connection, tenant, session, notice_sha256):
                raise ConflictError("the notice was not shown in this session")
            await _execute(
                connection, "insert_consent", tenant, session, {**values, "id": uuid4(), "kind": "given"}
            )
            await _execute(connection, "give_consent", tenant, session, values)
            await append_entry(
                connection,
                tenant,
                actor="viewer",
                action="consent.given",
                subject=str(session),
                detail={"notice_sha256": notice_sha256.hex(), "receipt_sha256": receipt_sha256.hex()},
                now=now,
            )

    async def record_refusal(
        self,
        tenant: TenantId,
        session: SessionId,
        *,
        is_minor: bool,
        notice_sha256: bytes | None,
        now: datetime,
    ) -> None:
        """Store that the viewer did not consent; a declared minor ends the session (rule U4)."""
        kind = "declared_minor" if is_minor else "refused"
        async with tenant_transaction(self._pool, tenant) as connection:
            state = await _locked_state(connection, tenant, session)
            await _add_event(connection, tenant, session, kind=kind, notice_sha256=notice_sha256, now=now)
            if is_minor and state is not SessionState.ERASED:
                await _end(connection, tenant, session, close_reason=kind, now=now)

    async def withdraw(
        self, tenant: TenantId, session: SessionId, *, actor: str, now: datetime
    ) -> ErasureJob | None:
        """Withdraw consent and queue the deletion, in one transaction; harmless when repeated.

        Returns:
            The waiting deletion; None where it was carried out already.
        """
        async with tenant_transaction(self._pool, tenant) as connection:
            return await withdraw_within(connection, tenant, session, actor=actor, now=now)

    async def request_erasure(
        self, tenant: TenantId, session: SessionId, *, actor: str, now: datetime
    ) -> ErasureJob | None:
        """Queue a deletion that was asked for otherwise (rule G5); the session ends.

        Returns:
            The waiting deletion; None where the session is erased already.
        """
        async with tenant_transaction(self._pool, tenant) as connection:
            state = await _locked_state(connection, tenant, session)
            if state is SessionState.ERASED:
                return None
            values = {"id": uuid4(), "reason": "request", "now": now}
            await _execute(connection, "queue_erasure", tenant, session, values)
            if state is not SessionState.WITHDRAWN:
                marked = {"now": now, "close_reason": "erasure requested"}
                await _execute(connection, "mark_withdrawn", tenant, session, marked)
            await append_entry(
                connection,
                tenant,
                actor=actor,
                action="erasure.requested",
                subject=str(session),
                detail={},
                now=now,
            )
            return await _pending(connection, tenant, session)

    async def list_consents(self, tenant: TenantId, session: SessionId) -> list[ConsentEventRecord]:
        """List a session's consent events, oldest first."""
        async with tenant_transaction(self._pool, tenant) as connection:
            return await fetch_records(
                connection, ConsentEventRecord, _Q["list_consents"], {"tenant": tenant, "session": session}
            )

    async def append_audit(
        self,
        tenant: TenantId,
        *,
        actor: str,
        action: str,
        subject: str,
        detail: Mapping[str, Any],
        now: datetime,
    ) -> int:
        """Append to the tenant's audit log and return the entry's sequence number, 0 for the first.

        Args:
            tenant: whose log.
            actor: who did it: `key:<id>`, `viewer`, `lifecycle`, ...; no name, no address.
            action: what, as `study.launched`.
            subject: id of what it was done to.
            detail: plain facts (texts, whole numbers, lists of them); no personal data.
            now: when.
        """
        async with tenant_transaction(self._pool, tenant) as connection:
            return await append_entry(
                connection, tenant, actor=actor, action=action, subject=subject, detail=_flat(detail), now=now
            )


def _flat(detail: Mapping[str, Any]) -> dict[str, AuditValue]:
    """Write lists as one line: an audit entry's facts are flat."""
    return {
        name: value
        if value is None or isinstance(value, str | int)
        else ",".join(str(item) for item in value)
        for name, value in detail.items()
    }


async def withdraw_within(
    connection: Connection, tenant: TenantId, session: SessionId, *, actor: str, now: datetime
) -> ErasureJob | None:
    """Withdraw within the caller's transaction (see `Consents.withdraw`).

    Raises:
        NotFoundError: no such session.
    """
    state = await _locked_state(connection, tenant, session)
    if state not in (SessionState.WITHDRAWN, SessionState.ERASED):
        await _add_event(connection, tenant, session, kind="withdrawn", notice_sha256=None, now=now)
        await _end(connection, tenant, session, close_reason="withdrawn", now=now)
        await append_entry(
            connection,
            tenant,
            actor=actor,
            action="consent.withdrawn",
            subject=str(session),
            detail={},
            now=now,
        )
    return await _pending(connection, tenant, session)


async def _end(
    connection: Connection, tenant: TenantId, session: SessionId, *, close_reason: str, now: datetime
) -> None:
    values = {"now": now, "close_reason": close_reason, "id": uuid4(), "reason": "withdrawal"}
    await _execute(connection, "mark_withdrawn", tenant, session, values)
    await _execute(connection, "queue_erasure", tenant, session, values)


async def _execute(
    connection: Connection, name: str, tenant: TenantId, session: SessionId, values: Mapping[str, Any]
) -> None:
    await connection.execute(_Q[name], {"tenant": tenant, "session": session, **values})


async def _locked_state(connection: Connection, tenant: TenantId, session: SessionId) -> SessionState:
    cursor = await connection.execute(_Q["lock_session_state"], {"tenant": tenant, "session": session})
    row = await cursor.fetchone()
    if row is None:
        raise NotFoundError("no such session")
    return SessionState(row[0])


async def _has_notice(
    connection: Connection, tenant: TenantId, session: SessionId, notice_sha256: bytes
) -> bool:
    values = {"tenant": tenant, "session": session, "notice_sha256": notice_sha256}
    return await (await connection.execute(_Q["find_notice"], values)).fetchone() is not None


async def _add_event(
    connection: Connection,
    tenant: TenantId,
    session: SessionId,
    *,
    kind: str,
    notice_sha256: bytes | None,
    now: datetime,
) -> None:
    cursor = await connection.execute(_Q["last_receipt"], {"tenant": tenant, "session": session})
    row = await cursor.fetchone()
    values: dict[str, Any] = {
        "id": uuid4(),
        "kind": kind,
        "receipt_jws": None,
        "receipt_sha256": row[0] if row else None,
        "notice_sha256": notice_sha256,
        "purposes": [],
        "opted_out": [],
        "now": now,
    }
    await _execute(connection, "insert_consent", tenant, session, values)


async def _pending(connection: Connection, tenant: TenantId, session: SessionId) -> ErasureJob | None:
    found = await fetch_records(
        connection, ErasureJob, _Q["pending_erasure"], {"tenant": tenant, "session": session}
    )
    return found[0] if found else None
