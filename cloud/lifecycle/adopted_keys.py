"""Moves the data keys that earlier versions kept in the database to where keys are now."""

from __future__ import annotations

import asyncio

from cloud.database.connection import Pool, tenant_transaction
from cloud.database.queries import load_queries
from cloud.results.storage import AdoptedKeys
from privacy.protocol.ids import SessionId, TenantId

_Q = load_queries("sealing")


async def adopt_keys(pool: Pool, tenant: TenantId, custody: AdoptedKeys) -> int:
    """Move a tenant's keys; each is durable in its new place before it leaves the database.

    Returns:
        How many there were.

    Raises:
        StoreError: PostgreSQL cannot be reached.
        CustodyError: the new place cannot be written; what is there already is adopted again.
    """
    async with tenant_transaction(pool, tenant) as connection:
        rows = await (await connection.execute(_Q["take_keys"], {"tenant": tenant})).fetchall()
        for session, wrapped, kek_id in rows:
            await asyncio.to_thread(
                custody.adopt, tenant, SessionId(session), wrapped=bytes(wrapped), kek_id=kek_id
            )
    return len(rows)
