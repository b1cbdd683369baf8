"""Shard leases on PostgreSQL; its clock alone decides whether one has run out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from cloud.database.connection import Pool, platform_transaction
from cloud.database.queries import load_queries
from cloud.results.storage import Lease

_Q = load_queries("leases")


class PostgresLeaseStore:
    """Who may write which shard."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def beat(self, holder: str, *, ttl_ms: int) -> int:
        """Report that a worker lives and return how many do, this one included."""
        async with platform_transaction(self._pool) as connection:
            await connection.execute(_Q["beat"], {"holder": holder, "ttl_ms": ttl_ms})
            await connection.execute(_Q["forget_dead"])
            row = await (await connection.execute(_Q["count_living"])).fetchone()
        return int(row[0]) if row else 1

    async def renew(self, holder: str, leases: Collection[Lease], *, ttl_ms: int) -> list[Lease]:
        """Prolong leases and return those that nobody took meanwhile; one that has run out counts as long."""
        return await self._leases("renew", {**_arrays(leases), "holder": holder, "ttl_ms": ttl_ms})

    async def take(self, holder: str, *, shards: Sequence[int], limit: int, ttl_ms: int) -> list[Lease]:
        """Take up to `limit` of these shards that nobody holds."""
        values = {"holder": holder, "shards": list(shards), "limit": limit, "ttl_ms": ttl_ms}
        return await self._leases("take", values)

    async def release(self, holder: str, leases: Collection[Lease]) -> None:
        """Give leases back; those that are lost already are passed over."""
        async with platform_transaction(self._pool) as connection:
            await connection.execute(_Q["release"], {**_arrays(leases), "holder": holder})

    async def leave(self, holder: str) -> None:
        """Stop counting as a living worker."""
        async with platform_transaction(self._pool) as connection:
            await connection.execute(_Q["leave"], {"holder": holder})

    async def _leases(self, name: str, values: dict[str, Any]) -> list[Lease]:
        async with platform_transaction(self._pool) as connection:
            rows = await (await connection.execute(_Q[name], values)).fetchall()
        return [Lease(shard=row[0], epoch=row[1]) for row in rows]


def _arrays(leases: Collection[Lease]) -> dict[str, Any]:
    return {
        "shards": [lease.shard for lease in leases],
        "epochs": [lease.epoch for lease in leases],
    }
