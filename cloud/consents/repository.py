"""What a session's viewer was shown and agreed to: one transaction each.

Rule G3: consent events are only ever added, each consent with what its device signed. The first consent binds its
session to that device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg

from cloud.audit.repository import append_entry
from cloud.consents.endings import (
    LOCK_WAIT_MS,
    Endings,
    add_event,
    execute,
    locked_state,
    pending_erasure,
)
from cloud.database.connection import Connection, tenant_transaction, wait_briefly
from cloud.database.queries import load_queries
from cloud.errors import ConflictError, DeviceBoundError, NotFoundError
from cloud.sessions.records import ConsentEventRecord, SessionState, SignedConsent
from cloud.sessions.rows import fetch_records
from privacy.governance.audit.entries import AuditValue
from privacy.protocol.ids import SessionId, TenantId

_CONSENTING = frozenset({SessionState.CREATED, SessionState.CONSENTED})

_Q = load_queries("registry")


class Consents(Endings):
    """Notices, consent, the audit log on PostgreSQL, and all that `Endings` does.

    Every method raises `StoreError` where PostgreSQL cannot be reached, `BusyError` where somebody holds the
    session's row, and `NotFoundError` where the tenant has no such session.
    """

    async def record_notice(
        self, tenant: TenantId, session: SessionId, *, notice_sha256: bytes, locale: str, now: datetime
    ) -> UUID:
        """Store that a notice was shown (rule A1) and return the event's id."""
        event = uuid4()
        values = {"id": event, "notice_sha256": notice_sha256, "locale": locale, "now": now}
        async with tenant_transaction(self._pool, tenant) as connection:
            await wait_briefly(connection, LOCK_WAIT_MS)
            try:
                await execute(connection, "insert_notice", tenant, session, values)
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
        signed: SignedConsent | None = None,
    ) -> None:
        """Store a consent with its signed receipt; the session may connect from now on.

        The first consent that a device signed binds the session to it.

        Raises:
            DeviceBoundError: another device's consent came first.
            ConflictError: this notice was not shown, or the session is past consenting.
        """
        values: dict[str, Any] = {
            "receipt_jws": receipt_jws,
            "receipt_sha256": receipt_sha256,
            "receipt_expires_at": receipt_expires_at,
            "notice_sha256": notice_sha256,
            "purposes": list(purposes),
            "opted_out": list(opted_out),
            "device_public_key": signed.device_public_key if signed else None,
            "device_signature": signed.device_signature if signed else None,
            "signed_request": signed.request if signed else None,
            "now": now,
        }
        async with tenant_transaction(self._pool, tenant) as connection:
            await wait_briefly(connection, LOCK_WAIT_MS)
            state = await locked_state(connection, tenant, session)
            if state not in _CONSENTING or await pending_erasure(connection, tenant, session):
                raise ConflictError("the session is past consenting")
            await _require_device(connection, tenant, session, values["device_public_key"])
            if not await _has_notice(connection, tenant, session, notice_sha256):
                raise ConflictError("the notice was not shown in this session")
            await execute(
                connection, "insert_consent", tenant, session, {**values, "id": uuid4(), "kind": "given"}
            )
            await execute(connection, "give_consent", tenant, session, values)
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
        if is_minor:
            await self.end_for_minor(tenant, session, notice_sha256=notice_sha256, now=now)
            return
        async with tenant_transaction(self._pool, tenant) as connection:
            await wait_briefly(connection, LOCK_WAIT_MS)
            await locked_state(connection, tenant, session)
            await add_event(connection, tenant, session, kind="refused", notice_sha256=notice_sha256, now=now)

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


async def _require_device(
    connection: Connection, tenant: TenantId, session: SessionId, device_public_key: bytes | None
) -> None:
    cursor = await connection.execute(_Q["bound_device"], {"tenant": tenant, "session": session})
    row = await cursor.fetchone()
    bound = row[0] if row else None
    if bound is not None and bytes(bound) != device_public_key:
        raise DeviceBoundError("consent to this session was given on another device")


async def _has_notice(
    connection: Connection, tenant: TenantId, session: SessionId, notice_sha256: bytes
) -> bool:
    values = {"tenant": tenant, "session": session, "notice_sha256": notice_sha256}
    return await (await connection.execute(_Q["find_notice"], values)).fetchone() is not None
