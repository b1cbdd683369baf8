"""Which tenants there is something to do for, asked at once for all of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cloud.database.connection import Pool, platform_transaction
from cloud.database.queries import load_queries
from cloud.errors import StoreError
from cloud.lifecycle.due import RetentionBounds, SealBounds
from privacy.protocol.ids import TenantId

_Q = load_queries("due_work")


@dataclass(frozen=True, slots=True, kw_only=True)
class DueTenant:
    """A tenant with something to do: deletions that wait, sessions to seal or close, sessions past their time."""

    tenant: TenantId
    to_erase: bool
    to_seal: bool
    to_retain: bool


class PostgresDueWork:
    """Asks PostgreSQL what is due; raises `StoreError` where it is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def list_tenants(
        self, *, seal: SealBounds, retention: RetentionBounds, is_overdue_asked: bool
    ) -> list[DueTenant]:
        """List the tenants with something to do, and no others.

        Args:
            seal: bounds of sealing.
            retention: bounds of retention.
            is_overdue_asked: look for what is past its time as well; False leaves `to_retain` False.
        """
        values = {
            "overdue": is_overdue_asked,
            "silent_before": seal.silent_before,
            "timeline": retention.timeline,
            "session_facts": retention.session_facts,
        }
        async with platform_transaction(self._pool) as connection:
            rows = await (await connection.execute(_Q["tenants_due"], values)).fetchall()
        return [
            DueTenant(tenant=TenantId(row[0]), to_erase=row[1], to_seal=row[2], to_retain=row[3])
            for row in rows
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """What the database says of time: its own clock, and until when the lifecycle worker's clock was believed."""

    database_now: datetime
    seen_at: datetime


class PostgresClock:
    """Remembers until when a clock was believed; raises `StoreError` where PostgreSQL is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(self) -> ClockReading:
        """Read both."""
        async with platform_transaction(self._pool) as connection:
            row = await (await connection.execute(_Q["read_clock"])).fetchone()
        if row is None:
            raise StoreError("the database does not remember the time: apply its migrations again")
        return ClockReading(database_now=row[0], seen_at=row[1])

    async def believe(self, now: datetime) -> None:
        """Remember that the clock was believed now; an earlier time changes nothing."""
        async with platform_transaction(self._pool) as connection:
            await connection.execute(_Q["believe_clock"], {"now": now})
