"""Results on PostgreSQL: one fenced transaction per tenant and batch (rules P2, P4-P6)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg

from cloud.database.connection import Connection, Pool, tenant_transaction
from cloud.database.queries import load_queries
from cloud.errors import LeaseLostError
from cloud.results.session_changes import apply_changes
from cloud.results.storage import Committed, Lease, Pack, PackKey, TenantBatch, credit_models
from privacy.protocol.ids import SessionId

_LEASE_LOST = "CN001"

_Q = load_queries("results")


def utc_now() -> datetime:
    """Read the clock."""
    return datetime.now(UTC)


class PostgresResultStore:
    """Keeps packs and what is reported about sessions."""

    def __init__(self, pool: Pool, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._pool = pool
        self._clock = clock

    async def commit(self, batch: TenantBatch, *, holder: str, leases: Collection[Lease]) -> Committed:
        """Write a tenant's batch in one transaction; writing it again changes nothing.

        1. The leases are checked, and kept from changing hands until the transaction ends.
           So are the sessions: nothing is added to one that is being withdrawn, sealed or erased.
        2. Changes of sessions come before frames: nothing is stored after a withdrawal in the same batch.
        3. Frames that are there already are left as they are, and counted; the models are credited with the rest.

        Raises:
            LeaseLostError: `holder` no longer holds one of the leases; nothing was written.
            StoreError: PostgreSQL cannot be reached; whether it was written is not known.
        """
        now = self._clock()
        async with tenant_transaction(self._pool, batch.tenant) as connection:
            try:
                await _require(connection, holder, leases)  # 1
                await _lock(connection, batch)
                await apply_changes(connection, batch.tenant, batch.changes, now=now)  # 2
                added = await _merge(connection, batch, now)  # 3
                await _credit(connection, batch, added, now)
                await _count(connection, batch, added)
                await _add_latencies(connection, batch)
            except psycopg.Error as error:
                if error.sqlstate == _LEASE_LOST:
                    raise LeaseLostError("another worker holds a shard of this batch") from None
                raise
        return Committed(added=added, at=self._clock())


async def _require(connection: Connection, holder: str, leases: Collection[Lease]) -> None:
    values = {
        "holder": holder,
        "shards": [lease.shard for lease in leases],
        "epochs": [lease.epoch for lease in leases],
    }
    await connection.execute(_Q["require_leases"], values)


async def _lock(connection: Connection, batch: TenantBatch) -> None:
    named = {change.session for change in batch.changes} | {pack.key.session for pack in batch.packs}
    sessions = list(named | set(batch.latencies) | set(batch.repeated))
    await connection.execute(_Q["lock_sessions"], {"tenant": batch.tenant, "sessions": sessions})


async def _merge(connection: Connection, batch: TenantBatch, now: datetime) -> dict[PackKey, int]:
    if not batch.packs:
        return {}
    cursor = connection.cursor(binary=True)
    await cursor.execute(_Q["merge_packs"], {"tenant": batch.tenant, "now": now, **_columns(batch.packs)})
    return {
        PackKey(session=SessionId(row[0]), face=row[1], segment=row[2], bucket=row[3]): row[4]
        for row in await cursor.fetchall()
    }


def _columns(packs: Sequence[Pack]) -> dict[str, list[Any]]:
    return {
        "sessions": [pack.key.session for pack in packs],
        "faces": [pack.key.face for pack in packs],
        "segments": [pack.key.segment for pack in packs],
        "buckets": [pack.key.bucket for pack in packs],
        "masks": [pack.mask for pack in packs],
        "slots": [pack.slots for pack in packs],
    }


async def _credit(
    connection: Connection, batch: TenantBatch, added: dict[PackKey, int], now: datetime
) -> None:
    credits = credit_models(batch.packs, added)
    if not credits:
        return
    values = {
        "tenant": batch.tenant,
        "now": now,
        "sessions": [session for session, _ in credits],
        "names": [model.name for _, model in credits],
        "versions": [model.version for _, model in credits],
        "variants": [model.variant for _, model in credits],
        "digests": [model.sha256 for _, model in credits],
        "frames": list(credits.values()),
    }
    await connection.execute(_Q["credit_models"], values)


async def _count(connection: Connection, batch: TenantBatch, added: dict[PackKey, int]) -> None:
    redelivered = dict(batch.repeated)
    for pack in batch.packs:
        if pack.key in added:
            known = (pack.mask & ~added[pack.key]).bit_count()
            redelivered[pack.key.session] = redelivered.get(pack.key.session, 0) + known
    again = {session: frames for session, frames in redelivered.items() if frames}
    if again:
        values = {"tenant": batch.tenant, "sessions": list(again), "frames": list(again.values())}
        await connection.execute(_Q["add_redelivered"], values)


async def _add_latencies(connection: Connection, batch: TenantBatch) -> None:
    rows = [
        (session, bin_ms, count)
        for session, counts in batch.latencies.items()
        for bin_ms, count in counts.items()
    ]
    if rows:
        sessions, bins, counts = map(list, zip(*rows, strict=True))
        values = {"tenant": batch.tenant, "sessions": sessions, "bins": bins, "counts": counts}
        await connection.execute(_Q["add_latencies"], values)
