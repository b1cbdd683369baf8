"""Results on PostgreSQL: one fenced transaction per tenant and batch (rules P2, P4-P6)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from cloud.adapters.postgres.connection import Connection, Pool, tenant_transaction
from cloud.adapters.postgres.consents import withdraw_within
from cloud.adapters.postgres.queries import load_queries
from cloud.errors import LeaseLostError, NotFoundError
from cloud.ports.changes import Connected, Counted, Ended, EndKind, FramesSkipped, SegmentBegan, SessionChange
from cloud.ports.storage import Committed, Lease, Pack, PackKey, TenantBatch, credit_models
from privacy.ids import SessionId

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
                for change in batch.changes:  # 2
                    await _apply(connection, change, now)
                added = await _merge(connection, batch, now)  # 3
                await _credit(connection, batch, added, now)
                await _count(connection, batch, added)
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


async def _apply(connection: Connection, change: SessionChange, now: datetime) -> None:
    values: dict[str, Any] = {"tenant": change.tenant, "session": change.session}
    match change.change:
        case Connected() as connected:
            values |= {"epoch": connected.epoch, "at": _utc(connected.at_utc_us, now)}
            await connection.execute(_Q["connect"], values)
        case Ended(kind=EndKind.WITHDRAWN):
            try:
                await withdraw_within(connection, change.tenant, change.session, actor="viewer", now=now)
            except NotFoundError:
                return
        case Ended() as ended:
            values |= {"epoch": ended.epoch, "at": _utc(ended.at_utc_us, now), "kind": str(ended.kind)}
            await connection.execute(_Q["close"], values)
        case SegmentBegan() as segment:
            await connection.execute(_Q["insert_segment"], values | asdict(segment))
        case FramesSkipped() as gap:
            await connection.execute(_Q["insert_gap"], values | asdict(gap))
        case Counted() as counted:
            values |= {
                "captured": counted.captured,
                "with_face": counted.with_face,
                "sent": counted.sent,
                "skipped": Jsonb(dict(counted.skipped)),
                "now": now,
            }
            await connection.execute(_Q["raise_counters"], values)


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
    for session, frames in redelivered.items():
        if frames:
            values = {"tenant": batch.tenant, "session": session, "frames": frames}
            await connection.execute(_Q["add_redelivered"], values)
    for session, histogram in batch.latencies.items():
        values = {"tenant": batch.tenant, "session": session, "histogram": histogram.tolist()}
        await connection.execute(_Q["add_latencies"], values)


def _utc(at_utc_us: int, now: datetime) -> datetime:
    """Read a time of an event; one that lies in the future, or is no time at all, becomes `now`."""
    try:
        at = datetime.fromtimestamp(at_utc_us / 1_000_000, UTC)
    except (OverflowError, OSError, ValueError):
        return now
    return min(at, now)
