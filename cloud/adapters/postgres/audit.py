"""Appending to a tenant's audit log: each entry is chained to the one before it (protocol rule R8)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from psycopg.types.json import Jsonb

from cloud.adapters.postgres.connection import Connection, Pool, tenant_transaction
from cloud.adapters.postgres.queries import load_queries
from privacy.audit import GENESIS_HASH, AuditEntry, AuditValue, chain_hash, encode_entry, leaf_hash
from privacy.ids import TenantId

_Q = load_queries("audit")


class PostgresAuditLog:
    """The port `privacy.audit.AuditLog` on PostgreSQL; one transaction per entry."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def append(self, entry: AuditEntry) -> int:
        """Write an entry; give its number in its tenant's log, from 0.

        Raises:
            StoreError: PostgreSQL cannot be reached.
            AuditError: a field is out of its bounds.
        """
        async with tenant_transaction(self._pool, entry.tenant) as connection:
            return await write_entry(connection, entry)

    async def read(self, tenant: TenantId) -> list[tuple[AuditEntry, bytes]]:
        """Read a tenant's whole log with the stored hashes, for `privacy.audit.verify_chain`."""
        async with tenant_transaction(self._pool, tenant) as connection:
            rows = await (await connection.execute(_Q["list_entries"], {"tenant": tenant})).fetchall()
        return [
            (
                AuditEntry(
                    tenant=tenant,
                    at_utc_us=row[0],
                    actor=row[1],
                    action=row[2],
                    subject=row[3],
                    detail=row[4],
                ),
                bytes(row[5]),
            )
            for row in rows
        ]


async def append_entry(
    connection: Connection,
    tenant: TenantId,
    *,
    actor: str,
    action: str,
    subject: str,
    detail: Mapping[str, AuditValue],
    now: datetime,
) -> int:
    """Append within the caller's transaction and return the sequence number."""
    entry = AuditEntry(
        tenant=tenant,
        at_utc_us=round(now.timestamp() * 1_000_000),
        actor=actor,
        action=action,
        subject=subject,
        detail=detail,
    )
    return await write_entry(connection, entry)


async def write_entry(connection: Connection, entry: AuditEntry) -> int:
    """Write an entry within the caller's transaction and return its number.

    Appends of one tenant wait for each other until their transactions end: the chain has no forks.
    """
    await connection.execute(_Q["lock_log"], {"tenant": entry.tenant})
    row = await (await connection.execute(_Q["last_entry"], {"tenant": entry.tenant})).fetchone()
    seq, previous = (row[0] + 1, bytes(row[1])) if row else (0, GENESIS_HASH)
    values = {
        "tenant": entry.tenant,
        "seq": seq,
        "at_utc_us": entry.at_utc_us,
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "detail": Jsonb(dict(entry.detail)),
        "prev_hash": previous,
        "hash": chain_hash(previous, leaf_hash(encode_entry(entry, seq=seq))),
    }
    await connection.execute(_Q["insert_entry"], values)
    return seq
