"""Whether PostgreSQL can do what is asked of it: not only answer, but write.

A full disk shows late in PostgreSQL: rows fit on pages that exist, and its log goes into files that it made before. So
readiness writes where a full disk shows at once, and leaves nothing behind: a query that does not fit into memory makes
a temporary file in the database's own directory, and an empty message goes through the log to the disk with a commit.
"""

from __future__ import annotations

import asyncio

import psycopg

from cloud.database.connection import Pool

TIMEOUT_S = 2.0
AWAY = "cannot be reached"

_READ_ONLY = "SELECT current_setting('transaction_read_only')::boolean"
_LITTLE_MEMORY = "SET LOCAL work_mem = '64kB'"
_SPILL = "SELECT count(*) FROM (SELECT n FROM generate_series(1, 20000) n ORDER BY n DESC OFFSET 0) spilt"
_LOG = "SELECT pg_logical_emit_message(true, 'countenance', '')"


async def find_fault(pool: Pool) -> str:
    """Write a little, and forget it; give what is wrong, "" for nothing."""
    try:
        async with asyncio.timeout(TIMEOUT_S), pool.connection() as connection, connection.transaction():
            row = await (await connection.execute(_READ_ONLY)).fetchone()
            if row is None or row[0]:
                return "takes no writes: it is read-only"
            await connection.execute(_LITTLE_MEMORY)
            await connection.execute(_SPILL)
            await connection.execute(_LOG)
    except TimeoutError:
        return f"does not write within {TIMEOUT_S:.0f} s"
    except psycopg.Error as error:
        # The text may quote a path, so only the class and the SQLSTATE go on.
        return f"does not write: {type(error).__name__} {error.sqlstate}" if error.sqlstate else AWAY
    return ""
