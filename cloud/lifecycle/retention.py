"""Deleting what is past its time to live, and measuring how late that is (rule L4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta

from psycopg.rows import dict_row

from cloud.database.connection import Pool, tenant_transaction
from cloud.database.queries import load_queries
from cloud.lifecycle.due import RetentionBounds
from privacy.protocol.ids import TenantId

_ENFORCED = ("queue_due_timelines", "delete_due_facts", "purge_evidence", "purge_records")
_Q = load_queries("retention")


class PostgresRetention:
    """Enforces the bounds for one tenant; raises `StoreError` where PostgreSQL is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def enforce(self, tenant: TenantId, *, bounds: RetentionBounds, now: datetime) -> None:
        """Delete what is due; whole sessions are queued as erasures, so that each is receipted."""
        values = {**asdict(bounds), "tenant": tenant, "now": now}
        async with tenant_transaction(self._pool, tenant) as connection:
            for name in _ENFORCED:
                await connection.execute(_Q[name], values)

    async def measure_lag(self, tenant: TenantId, *, bounds: RetentionBounds) -> Mapping[str, timedelta]:
        """Say by artefact for how long the oldest one that still exists is overdue; 0 is on time."""
        async with (
            tenant_transaction(self._pool, tenant) as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            await cursor.execute(_Q["oldest_anchors"], {"tenant": tenant})
            oldest = await cursor.fetchone() or {}
        limits = asdict(bounds)
        return {
            name: max(limits[name] - anchor, timedelta()) if anchor is not None else timedelta()
            for name, anchor in oldest.items()
        }
