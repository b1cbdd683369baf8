"""A tenant's audit log: entries are appended with their leaf of the Merkle tree (protocol rule R8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg.types.json import Jsonb

from cloud.database.connection import Connection, Pool, tenant_transaction
from cloud.database.queries import load_queries
from privacy.governance.audit.checkpoint import Checkpoint, sign_checkpoint
from privacy.governance.audit.entries import AuditEntry, AuditValue, encode_entry
from privacy.governance.audit.tree import Frontier, leaf_hash
from privacy.protocol.ids import TenantId

_Q = load_queries("audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLog:
    """What is stored of a tenant's log, for `privacy.governance.audit.log.verify_log`.

    Attributes:
        first: number of the first leaf; 0 unless entries are older than the tree.
        leaves: every leaf hash.
        entries: those whose text was not purged, from `first` on, with their numbers.
        checkpoints: signed heads.
    """

    first: int
    leaves: tuple[bytes, ...]
    entries: tuple[tuple[int, AuditEntry], ...]
    checkpoints: tuple[str, ...]


class PostgresAuditLog:
    """Reads tenants' logs and signs their heads; every method raises `StoreError` where PostgreSQL is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(self, tenant: TenantId) -> StoredLog:
        """Read a tenant's whole log."""
        values = {"tenant": tenant}
        async with tenant_transaction(self._pool, tenant) as connection:
            await connection.execute(_Q["lock_log"], values)
            leaves = await (await connection.execute(_Q["list_leaves"], values)).fetchall()
            entries = await (await connection.execute(_Q["list_entries"], values)).fetchall()
            heads = await (await connection.execute(_Q["list_checkpoints"], values)).fetchall()
        first = leaves[0][0] if leaves else 0
        return StoredLog(
            first=first,
            leaves=tuple(bytes(row[1]) for row in leaves),
            entries=tuple((row[0], _entry(tenant, row)) for row in entries if row[0] >= first),
            checkpoints=tuple(row[0] for row in heads),
        )

    async def sign_head(
        self, tenant: TenantId, signing_key: Ed25519PrivateKey, *, now: datetime
    ) -> str | None:
        """Sign a tenant's head and keep it; None where nothing was appended since the last one."""
        values = {"tenant": tenant}
        async with tenant_transaction(self._pool, tenant) as connection:
            row = await (await connection.execute(_Q["last_leaf"], values)).fetchone()
            known = await (await connection.execute(_Q["last_checkpoint"], values)).fetchone()
            if row is None or (known is not None and known[0] >= row[1]):
                return None
            frontier = Frontier.decode(row[1], bytes(row[2]))
            head = Checkpoint(tenant=tenant, size=frontier.size, root=frontier.root, at_utc_us=_utc_us(now))
            jws = sign_checkpoint(head, signing_key)
            stored = {**values, "size": head.size, "root": head.root, "jws": jws, "now": now}
            await connection.execute(_Q["insert_checkpoint"], stored)
        return jws


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
    """Append within the caller's transaction and return the entry's number, 0 for the first.

    Appends of one tenant wait for each other until their transactions end: the log has no forks.

    Raises:
        AuditError: a field is out of its bounds.
    """
    entry = AuditEntry(
        tenant=tenant, at_utc_us=_utc_us(now), actor=actor, action=action, subject=subject, detail=detail
    )
    values = {"tenant": tenant}
    await connection.execute(_Q["lock_log"], values)
    row = await (await connection.execute(_Q["last_leaf"], values)).fetchone()
    if row is not None:
        seq, frontier = int(row[0]) + 1, Frontier.decode(row[1], bytes(row[2]))
    else:
        before = await (await connection.execute(_Q["next_before_tree"], values)).fetchone()
        seq, frontier = int(before[0]) if before else 0, Frontier()
    leaf = leaf_hash(encode_entry(entry, seq=seq))
    frontier = frontier.append(leaf)
    stored = {
        **values,
        "seq": seq,
        "at_utc_us": entry.at_utc_us,
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail": Jsonb(dict(detail)),
        "leaf": leaf,
        "size": frontier.size,
        "frontier": frontier.encode(),
    }
    await connection.execute(_Q["insert_entry"], stored)
    await connection.execute(_Q["insert_leaf"], stored)
    return seq


def _entry(tenant: TenantId, row: tuple[int, int, str, str, str, Mapping[str, AuditValue]]) -> AuditEntry:
    _, at_utc_us, actor, action, subject, detail = row
    return AuditEntry(
        tenant=tenant, at_utc_us=at_utc_us, actor=actor, action=action, subject=subject, detail=detail
    )


def _utc_us(now: datetime) -> int:
    return round(now.timestamp() * 1_000_000)
