"""Erasing a session's rows, with the receipt in the same transaction (rule L5)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.audit.repository import append_entry
from cloud.consents.endings import LOCK_WAIT_MS, settle
from cloud.database.connection import Connection, Pool, tenant_transaction, wait_briefly
from cloud.database.queries import load_queries
from cloud.errors import NotFoundError
from cloud.lifecycle.due import to_utc_us
from cloud.results.storage import KeyCustody
from cloud.sessions.records import ErasureJob
from cloud.sessions.rows import fetch_records
from privacy.governance.erasure import ErasurePlan, ErasureStep, StepOutcome, sign_deletion_receipt
from privacy.protocol.ids import SessionId, TenantId

JOBS_PER_TURN = 100

_STATEMENTS = {
    ErasureStep.DESTROY_KEY: "delete_key",
    ErasureStep.DELETE_FRAMES: "delete_frames",
    ErasureStep.DELETE_TIMELINES: "delete_timelines",
    ErasureStep.DELETE_FACTS: "delete_facts",
    ErasureStep.MARK_ERASED: "mark_erased",
}

Measure = Callable[[], Awaitable[Sequence[StepOutcome]]]

_Q = load_queries("erasures")


class PostgresErasures:
    """The queue of deletions, and what they delete here."""

    def __init__(self, pool: Pool, custody: KeyCustody) -> None:
        self._pool = pool
        self._custody = custody

    async def list_pending(self, tenant: TenantId) -> list[ErasureJob]:
        """List up to `JOBS_PER_TURN` waiting deletions, oldest first.

        Raises:
            StoreError: PostgreSQL cannot be reached.
        """
        async with tenant_transaction(self._pool, tenant) as connection:
            values = {"tenant": tenant, "limit": JOBS_PER_TURN}
            return await fetch_records(connection, ErasureJob, _Q["list_pending"], values)

    async def settle(self, job: ErasureJob, *, now: datetime) -> None:
        """Write what a deletion still owes to its session's row, which somebody held when it was queued.

        Raises:
            BusyError: somebody still holds the row.
            StoreError: PostgreSQL cannot be reached.
        """
        await settle(self._pool, job, now=now)

    async def list_erased(self, tenant: TenantId, *, since: datetime) -> list[tuple[SessionId, datetime]]:
        """List the sessions that were erased after `since`, with when.

        Raises:
            StoreError: PostgreSQL cannot be reached.
        """
        async with tenant_transaction(self._pool, tenant) as connection:
            values = {"tenant": tenant, "since": since}
            rows = await (await connection.execute(_Q["list_erased"], values)).fetchall()
        return [(SessionId(row[0]), row[1]) for row in rows]

    async def erase(
        self,
        plan: ErasurePlan,
        *,
        measure: Measure,
        requested_at: datetime,
        signing_key: Ed25519PrivateKey,
        now: datetime,
    ) -> str:
        """Do the steps of a plan that concern the database, and receipt the whole.

        Args:
            plan: from `privacy.governance.erasure.plan_erasure`.
            measure: gives the outcomes of the steps outside the database as they are now; it is asked when the
                rows are gone, while the session is locked and nothing can be written of it.
            requested_at: when the erasure was asked for.
            signing_key: the platform's.
            now: when.

        Returns:
            The signed receipt, stored already.

        Raises:
            NotFoundError: no such session.
            CustodyError: the keys cannot be reached; nothing was committed.
            ErasureError: a step left something; nothing was committed.
            StoreError: PostgreSQL cannot be reached.
            StreamError: Redis cannot, so that nothing could be measured; nothing was committed.
        """
        values = {"tenant": plan.tenant, "session": plan.session, "now": now}
        async with tenant_transaction(self._pool, plan.tenant) as connection:
            # one session whose row somebody holds keeps no other's erasure waiting
            await wait_briefly(connection, LOCK_WAIT_MS)
            row = await (await connection.execute(_Q["lock_session"], values)).fetchone()
            if row is None:
                raise NotFoundError("no such session")
            rows = await self._delete(connection, plan, values)
            receipt_id = uuid4()
            receipt = sign_deletion_receipt(
                plan,
                (*await measure(), *rows),
                signing_key,
                receipt_id=receipt_id,
                pseudonym=row[1],
                requested_utc_us=min(to_utc_us(requested_at), to_utc_us(now)),
                completed_utc_us=to_utc_us(now),
            )
            await _record(connection, plan, {**values, "receipt_id": receipt_id, "receipt_jws": receipt}, now)
        return receipt

    async def _delete(
        self, connection: Connection, plan: ErasurePlan, values: Mapping[str, Any]
    ) -> list[StepOutcome]:
        """Destroy the key and do the plan's steps in the database, then count what each of them left."""
        keys = await asyncio.to_thread(self._custody.destroy, plan.tenant, plan.session)
        gone = {
            step: (await connection.execute(_Q[statement], values)).rowcount
            for step, statement in _STATEMENTS.items()
        }
        gone[ErasureStep.DESTROY_KEY] += keys
        row = await (await connection.execute(_Q["count_left"], values)).fetchone()
        left = dict(zip(_STATEMENTS, row or (), strict=True))
        left[ErasureStep.DESTROY_KEY] += await asyncio.to_thread(
            self._custody.count, plan.tenant, plan.session
        )
        return [StepOutcome(step=step, before=gone[step] + left[step], after=left[step]) for step in gone]


async def _record(
    connection: Connection, plan: ErasurePlan, values: Mapping[str, Any], now: datetime
) -> None:
    """Keep the receipt, close the job and write both down in the audit log."""
    await connection.execute(_Q["finish_job"], values)
    await connection.execute(_Q["insert_receipt"], values)
    await append_entry(
        connection,
        plan.tenant,
        actor="worker:lifecycle",
        action="session.erased",
        subject=f"session:{plan.session}",
        detail={"reason": str(plan.reason), "receipt_id": str(values["receipt_id"])},
        now=now,
    )
