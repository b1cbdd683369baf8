"""Appending to a tenant's audit log: each entry is chained to the one before it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import rfc8785
from psycopg.types.json import Jsonb

from cloud.adapters.postgres.connection import Connection
from cloud.adapters.postgres.queries import load_queries
from privacy.ids import TenantId

_Q = load_queries("audit")


async def append_entry(
    connection: Connection,
    tenant: TenantId,
    *,
    actor: str,
    action: str,
    subject: str,
    detail: Mapping[str, Any],
    now: datetime,
) -> int:
    """Append within the caller's transaction and return the sequence number.

    Appends of one tenant wait for each other until their transactions end: the chain has no forks.
    """
    await connection.execute(_Q["lock_log"], {"tenant": tenant})
    row = await (await connection.execute(_Q["last_entry"], {"tenant": tenant})).fetchone()
    seq, previous = (row[0] + 1, bytes(row[1])) if row else (0, bytes(32))
    entry = rfc8785.dumps(
        {
            "seq": seq,
            "tenant": str(tenant),
            "at": now.isoformat(),
            "actor": actor,
            "action": action,
            "subject": subject,
            "detail": dict(detail),
        }
    )
    values = {
        "tenant": tenant,
        "seq": seq,
        "now": now,
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail": Jsonb(dict(detail)),
        "prev_hash": previous,
        "hash": hashlib.sha256(b"\x00" + previous + entry).digest(),
    }
    await connection.execute(_Q["insert_entry"], values)
    return seq
