"""Reading timelines, whether they are hot packs or sealed already."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg.rows import dict_row

from cloud.database.connection import Connection, Pool, tenant_transaction
from cloud.database.queries import load_queries
from cloud.errors import CustodyError
from cloud.results.changes import Counted, FramesSkipped, SegmentBegan
from cloud.results.frames import Records
from cloud.results.latency import dense_histogram
from cloud.results.packs import count_duplicates, frames_of_packs, merge_frames
from cloud.results.sealed_packs import open_packs
from cloud.results.storage import KeyCustody
from cloud.results.timeline_blobs import SECOND_DTYPE, Level, open_timeline
from cloud.streams.scoring import ScoredFrames, ScoringModel
from privacy.crypto.at_rest import SlotSealer
from privacy.protocol.ids import SessionId, TenantId

_Q = load_queries("timelines")


class Timelines:
    """What is stored of a session; every method raises `StoreError` where PostgreSQL is away.

    A session that is unknown, withdrawn, erased or of another tenant reads as an empty one.
    """

    def __init__(self, pool: Pool, custody: KeyCustody) -> None:
        self._pool = pool
        self._custody = custody

    async def read_frames(self, tenant: TenantId, session: SessionId) -> Records:
        """Read every stored frame.

        Returns:
            Array of `cloud.results.slots.FRAME_DTYPE`, ordered by frame, face and segment.

        Raises:
            CustodyError: they cannot be opened.
        """
        async with tenant_transaction(self._pool, tenant) as connection:
            return await read_frames_within(connection, tenant, session, self._custody)

    async def read_seconds(self, tenant: TenantId, session: SessionId) -> NDArray[Any]:
        """Read the sealed second-level timeline of `SECOND_DTYPE`; empty while it is not sealed.

        Raises:
            CustodyError: it cannot be opened.
        """
        async with tenant_transaction(self._pool, tenant) as connection:
            rows = await read_sealed(connection, tenant, session, Level.SECOND, self._custody)
        return np.zeros(0, dtype=SECOND_DTYPE) if rows is None else rows

    async def read_duplicates(self, tenant: TenantId, session: SessionId) -> int:
        """Count frames that are stored more than once; anything but 0 is a fault."""
        return count_duplicates(await self.read_frames(tenant, session))

    async def read_redelivered(self, tenant: TenantId, session: SessionId) -> int:
        """Count frames that arrived again after they were stored, and changed nothing."""
        row = await self._row("read_redelivered", tenant, session)
        return int(row[0]) if row else 0

    async def read_gaps(self, tenant: TenantId, session: SessionId) -> list[FramesSkipped]:
        """Read the gaps the agent reported, by first frame."""
        async with tenant_transaction(self._pool, tenant) as connection:
            return await read_gaps_within(connection, tenant, session)

    async def read_segments(self, tenant: TenantId, session: SessionId) -> list[SegmentBegan]:
        """Read the playback segments, in order."""
        rows = await self._dicts("read_segments", tenant, session)
        return [SegmentBegan(**row) for row in rows]

    async def read_models(self, tenant: TenantId, session: SessionId) -> list[ScoredFrames]:
        """Read which models scored the stored frames, in the order in which they began."""
        rows = await self._dicts("read_models", tenant, session)
        return [
            ScoredFrames(
                model=ScoringModel(
                    name=row["name"],
                    version=row["version"],
                    variant=row["variant"],
                    sha256=bytes(row["sha256"]),
                ),
                frames=row["frames"],
            )
            for row in rows
        ]

    async def read_counters(self, tenant: TenantId, session: SessionId) -> Counted:
        """Read the agent's totals; all 0 while it reported none."""
        rows = await self._dicts("read_counters", tenant, session)
        return Counted(**rows[0]) if rows else Counted()

    async def read_latency(self, tenant: TenantId, session: SessionId) -> list[int]:
        """Read the histogram of capture-to-commit latencies: 2001 bins of 1 ms, the last one open.

        Capture to classified is in the frames: `cloud.results.latency.classified_histogram`.
        """
        row = await self._row("read_latency", tenant, session)
        return dense_histogram(dict(zip(*row, strict=True)) if row else {})

    async def _row(self, name: str, tenant: TenantId, session: SessionId) -> tuple[Any, ...] | None:
        async with tenant_transaction(self._pool, tenant) as connection:
            return await (
                await connection.execute(_Q[name], {"tenant": tenant, "session": session})
            ).fetchone()

    async def _dicts(self, name: str, tenant: TenantId, session: SessionId) -> list[dict[str, Any]]:
        async with (
            tenant_transaction(self._pool, tenant) as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            await cursor.execute(_Q[name], {"tenant": tenant, "session": session})
            return await cursor.fetchall()


def _gaps_of(rows: Sequence[tuple[Any, ...]]) -> list[FramesSkipped]:
    return [
        FramesSkipped(first_frame=first, last_frame=last, segment=segment, media_time_ms=at_ms, reason=reason)
        for first, last, segment, at_ms, reason in rows
    ]


async def read_gaps_within(
    connection: Connection, tenant: TenantId, session: SessionId
) -> list[FramesSkipped]:
    """Read gaps within the caller's transaction, by first frame."""
    cursor = await connection.execute(_Q["read_gaps"], {"tenant": tenant, "session": session})
    rows = await cursor.fetchall()
    # There may be hundreds of thousands: others are served meanwhile.
    return await asyncio.to_thread(_gaps_of, rows)


async def read_frames_within(
    connection: Connection, tenant: TenantId, session: SessionId, custody: KeyCustody
) -> Records:
    """Read frames within the caller's transaction: sealed ones first, then those of hot packs.

    Raises:
        CustodyError: they cannot be opened.
    """
    cursor = connection.cursor(binary=True)
    await cursor.execute(_Q["read_packs"], {"tenant": tenant, "session": session})
    packs = await cursor.fetchall()
    key = custody.find_key(tenant, session) if packs else None
    hot = frames_of_packs(open_packs(packs, SlotSealer(key) if key else None))
    sealed = await read_sealed(connection, tenant, session, Level.FRAME, custody)
    if sealed is None:
        return hot
    return merge_frames(sealed, hot) if len(hot) else sealed


async def read_sealed(
    connection: Connection, tenant: TenantId, session: SessionId, level: Level, custody: KeyCustody
) -> Records | None:
    """Open a session's sealed timeline; None where nothing is sealed.

    Raises:
        CustodyError: its key is gone, or it does not open.
    """
    cursor = connection.cursor(binary=True)
    values = {"tenant": tenant, "session": session, "level": str(level)}
    await cursor.execute(_Q["read_sealed"], values)
    row = await cursor.fetchone()
    if row is None:
        return None
    key = custody.find_key(tenant, session)
    if key is None:
        raise CustodyError("the session's data key is gone")
    return open_timeline(key, bytes(row[0]), tenant=tenant, session=session, level=level)
