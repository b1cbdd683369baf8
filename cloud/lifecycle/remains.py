"""What deletions leave in PostgreSQL's files: dead rows in pages, old rows in the write-ahead log.

Scores and keys are not among it: both are sealed or elsewhere (ADR 0118). What goes here is what was deleted beside them,
their ciphertext, and what an earlier version stored as it was.
"""

from __future__ import annotations

import psycopg
import psycopg_pool

from cloud.database.connection import Pool
from cloud.database.queries import load_queries
from cloud.errors import StoreError

REWRITTEN_MAX_BYTES = 64 * 2**20
"""A table up to this size is rewritten, which keeps writers waiting for well under a second; a larger one is left to
autovacuum: its pages keep ciphertext until they are used again."""

_TABLES = ("frame_pack", "session_key")
_Q = load_queries("remains")


class PostgresRemains:
    """Cleans after deletions; may be done at any time, and loses nothing that was committed."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def clean(self) -> bool:
        """Rewrite the tables whose rows never stay, begin a new segment of the log, and let the old ones go.

        Returns:
            Whether the log could be seen to; False where the application role may not, so that old segments go in
            their own time.

        Raises:
            StoreError: PostgreSQL cannot be reached, or a table is in use for too long; nothing is lost.
        """
        try:
            async with self._pool.connection() as connection:
                await connection.execute(_Q["wait_briefly"])
                try:
                    for table in _TABLES:
                        row = await (await connection.execute(_Q[f"size_of_{table}"])).fetchone()
                        if row is not None and row[0] <= REWRITTEN_MAX_BYTES:
                            await connection.execute(_Q[f"rewrite_{table}"])
                finally:
                    if not connection.closed:
                        await connection.execute(_Q["wait_as_usual"])
                return await _recycle_log(connection)
        except (psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed, psycopg.OperationalError):
            raise StoreError("PostgreSQL cannot be reached, or a table is in use for too long") from None
        except psycopg.Error as error:
            raise StoreError(f"PostgreSQL refused: {type(error).__name__} {error.sqlstate}") from None


async def _recycle_log(connection: psycopg.AsyncConnection[tuple[object, ...]]) -> bool:
    try:
        await connection.execute(_Q["switch_segment"])
        await connection.execute(_Q["checkpoint"])
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True
