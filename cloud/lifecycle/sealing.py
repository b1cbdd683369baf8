"""Sealing: hot packs become blobs under the session's data key, in one transaction (rules L1-L3)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from numpy.typing import NDArray

from cloud.database.connection import Pool, tenant_transaction
from cloud.database.queries import load_queries
from cloud.lifecycle.due import SealBounds
from cloud.results.changes import FramesSkipped
from cloud.results.frames import Records
from cloud.results.storage import KeyCustody
from cloud.results.timeline_blobs import Level, seal_timeline
from cloud.results.timelines import read_frames_within, read_gaps_within
from privacy.protocol.expressions import Expression
from privacy.protocol.ids import SessionId, TenantId

FoldSeconds = Callable[[Records, Sequence[FramesSkipped], int, frozenset[Expression]], NDArray[Any]]
"""Frames, gaps, length of the title in ms and opted-out expressions in, an array of `SECOND_DTYPE` out."""

_ENDED = frozenset({"withdrawn", "erased"})
_Q = load_queries("sealing")


class TimelineSealer:
    """Seals one tenant's sessions; every method raises `StoreError` where PostgreSQL is away."""

    def __init__(self, pool: Pool, custody: KeyCustody, *, fold_seconds: FoldSeconds) -> None:
        self._pool = pool
        self._custody = custody
        self._fold_seconds = fold_seconds

    async def close_lost(self, tenant: TenantId, *, bounds: SealBounds, now: datetime) -> int:
        """Close live sessions of which nothing was heard, and return how many there were."""
        values = {"tenant": tenant, "silent_before": bounds.silent_before, "now": now}
        async with tenant_transaction(self._pool, tenant) as connection:
            return (await connection.execute(_Q["close_lost"], values)).rowcount

    async def find_due(self, tenant: TenantId, *, bounds: SealBounds) -> list[SessionId]:
        """List the sessions that have something to be sealed."""
        values = {
            "tenant": tenant,
            "closed_before": bounds.closed_before,
            "silent_before": bounds.silent_before,
        }
        async with tenant_transaction(self._pool, tenant) as connection:
            rows = await (await connection.execute(_Q["find_due"], values)).fetchall()
        return [SessionId(row[0]) for row in rows]

    async def seal(self, tenant: TenantId, session: SessionId, *, now: datetime) -> int:
        """Seal a session's frames, together with what was sealed of it before.

        Returns:
            How many frames are sealed now; 0 where the session was withdrawn meanwhile.

        Raises:
            CustodyError: what was sealed before does not open; nothing is changed.
        """
        values: dict[str, Any] = {"tenant": tenant, "session": session, "now": now}
        async with tenant_transaction(self._pool, tenant) as connection:
            row = await (await connection.execute(_Q["lock_session"], values)).fetchone()
            if row is None or row[0] in _ENDED:
                return 0
            frames = await read_frames_within(connection, tenant, session, self._custody)
            if len(frames):
                opted_out = frozenset(Expression(name) for name in row[1])
                gaps = await read_gaps_within(connection, tenant, session)
                seconds = self._fold_seconds(frames, gaps, row[2], opted_out)
                key = await asyncio.to_thread(self._custody.key, tenant, session)
                for level, rows in ((Level.FRAME, frames), (Level.SECOND, seconds)):
                    blob = seal_timeline(key, rows, tenant=tenant, session=session, level=level)
                    sealed = {**values, "level": str(level), "blob": blob, "frames": len(frames)}
                    await connection.execute(_Q["put_sealed"], sealed)
                await connection.execute(_Q["delete_packs"], values)
            await connection.execute(_Q["mark_sealed"], values)
            return len(frames)
