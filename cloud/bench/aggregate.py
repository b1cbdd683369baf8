"""Measures the way from encoded score entries to committed packs: one aggregate worker on a real PostgreSQL.

A worker that keeps up commits ten times a second, so each read hands it a tenth of a second of every session and
each pack grows in ten steps, as live. What is timed is the work between a read and its ack.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import msgspec
import numpy as np
import psycopg

from cloud.aggregate.leases import PostgresLeaseStore
from cloud.aggregate.loop import AggregateLoop
from cloud.bench.report import describe_machine, write_benchmark
from cloud.consents.registry import Registry
from cloud.database.connection import open_pool
from cloud.database.migrate import migrate
from cloud.embedded import postgres
from cloud.results.repository import PostgresResultStore
from cloud.results.storage import Lease
from cloud.streams.entries import ScoreRecord, SessionEvent, encode_event, encode_scores, shard_of
from cloud.streams.ports import Append, Delivery, DurableAck, EntryKind
from cloud.streams.scoring import ScoringModel
from privacy.protocol.ids import SessionId, TenantId

SHARDS = 16
FPS = 30
ENTRY_SCORES = 64
SLICE_FRAMES = 3
LEVEL_TIMEOUT_S = 300.0
_MODEL = ScoringModel(name="expression", version="1", variant="bench", sha256=bytes(32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What one number of sessions came to.

    Attributes:
        sessions: how many sessions the frames belong to.
        frames: how many frames were committed.
        handed_back: frames of batches that were dropped because a lease was lost; their entries come again later.
        events: how many session events (totals, one a second and session) were committed with them.
        seconds: the time that the worker spent between reads and their acks.
        frames_per_s: frames by seconds.
        leases_lost: how often a lease changed hands; the worker is alone, so each is a fault.
        peer_frames_per_s: a COPY of one row a frame into a table with a key, same server, same frames.
    """

    sessions: int
    frames: int
    handed_back: int
    events: int
    seconds: float
    frames_per_s: float
    leases_lost: int
    peer_frames_per_s: float


def run_aggregate(levels: Sequence[int], *, frames: int, out: Path) -> None:
    """Measure every level, print a line each, write the JSON.

    Args:
        levels: numbers of sessions, each at least 1.
        frames: about how many frames are committed at each level.
        out: the JSON file.
    """
    before = describe_machine()
    measured = []
    for sessions in levels:
        level = asyncio.run(_measure(sessions, frames=frames))
        measured.append(level)
        print(
            f"{level.sessions:>6} sessions: {level.frames_per_s:>8.0f} frames/s "
            f"({level.frames} frames, {level.events} events, {level.seconds:.1f} s), "
            f"{level.leases_lost} leases lost, {level.handed_back} frames handed back, "
            f"COPY of rows {level.peer_frames_per_s:.0f}/s",
            flush=True,
        )
    headline = {f"frames_per_s_{level.sessions}": round(level.frames_per_s) for level in measured}
    headline["leases_lost"] = sum(level.leases_lost for level in measured)
    details = {
        "shards": SHARDS,
        "levels": [asdict(level) for level in measured],
        "slowest_to_copy": round(
            statistics.median(x.frames_per_s / x.peer_frames_per_s for x in measured), 3
        ),
    }
    write_benchmark(out, name="aggregate", headline=headline, details=details, before=before)
    print(f"wrote {out}")


async def _measure(sessions: int, *, frames: int) -> Level:
    each = max(FPS, frames // sessions // FPS * FPS)
    with tempfile.TemporaryDirectory(prefix="countenance-bench-") as name:
        folder = Path(name)
        await asyncio.to_thread(folder.chmod, 0o755)
        server = postgres.start(folder / "postgres", is_durable=True)
        try:
            migrate(server.urls.owner_url)
            ids = await _make_sessions(server, sessions)
            slices = _slices(ids, each=each)
            seconds, lost, stored = await _drain(server, slices, tenant=ids[0][0])
            peer_s = _copy_rows(server.urls.owner_url, frames=sessions * each)
        finally:
            server.stop()
    total = sessions * each
    return Level(
        sessions=sessions,
        frames=stored,
        handed_back=total - stored,
        events=sum(d.kind is EntryKind.EVENT for found in slices for d in found),
        seconds=seconds,
        frames_per_s=stored / seconds,
        leases_lost=lost,
        peer_frames_per_s=total / peer_s,
    )


async def _make_sessions(server: postgres.EmbeddedPostgres, count: int) -> list[tuple[TenantId, SessionId]]:
    """Make one tenant with a launched study and `count` live sessions."""
    now = datetime.now(UTC)
    pool = await open_pool(server.urls.app_url)
    try:
        registry = Registry(pool)
        tenant = await registry.create_tenant(name="Bench", now=now)
        title = await registry.create_title(
            tenant, name="Trailer", duration_ms=60_000, media_sha256=None, now=now
        )
        study = await registry.create_study(
            tenant, title_id=title.id, name="Bench", context="home", jurisdictions=["DE"], now=now
        )
        await registry.approve_dpia(tenant, study.id, version="1", approved_by="bench", now=now)
        await registry.launch_study(tenant, study.id)
        viewer = await registry.create_viewer(tenant, pseudonym="bench", now=now)
    finally:
        await pool.close()
    ids = [uuid4() for _ in range(count)]
    with psycopg.connect(server.urls.owner_url, autocommit=True) as admin:
        admin.execute("SELECT set_config('app.tenant', %s, false)", (str(tenant),))
        admin.cursor().executemany(
            "INSERT INTO session (tenant_id, id, study_id, title_id, viewer_id, jurisdiction, locale, state, epoch,"
            " created_at, connected_at, receipt_expires_at) VALUES (%s, %s, %s, %s, %s, 'DE', 'en', 'live', 1, %s, %s, %s)",
            [(tenant, one, study.id, title.id, viewer.id, now, now, now + timedelta(days=1)) for one in ids],
        )
        admin.execute("ANALYZE session")
    return [(tenant, SessionId(one)) for one in ids]


def _slices(ids: Sequence[tuple[TenantId, SessionId]], *, each: int) -> list[list[Delivery]]:
    """Lay out what a worker finds at each read: a tenth of a second of every session, as a classify worker writes it."""
    by_shard: dict[int, list[tuple[TenantId, SessionId]]] = {}
    for tenant, session in ids:
        by_shard.setdefault(shard_of(session, shards=SHARDS), []).append((tenant, session))
    random = np.random.default_rng(1)
    base_utc_us = time.time_ns() // 1_000
    slices = []
    for first in range(0, each, SLICE_FRAMES):
        found = []
        for shard, members in by_shard.items():
            records = [
                _score(member, frame, base_utc_us, random)
                for frame in range(first, first + SLICE_FRAMES)
                for member in members
            ]
            payloads = [
                (EntryKind.SCORES, encode_scores(records[at : at + ENTRY_SCORES], model=_MODEL))
                for at in range(0, len(records), ENTRY_SCORES)
            ]
            if (first + SLICE_FRAMES) % FPS == 0:
                payloads += [
                    (EntryKind.EVENT, _totals(member, first + SLICE_FRAMES, base_utc_us))
                    for member in members
                ]
            found += [
                Delivery(shard=shard, entry_id=f"{first}-{n}", kind=kind, payload=payload)
                for n, (kind, payload) in enumerate(payloads)
            ]
        slices.append(found)
    return slices


class _SliceStream:
    """A result stream that hands out one slice after the other; implements `ResultStream`'s reading half.

    Attributes:
        busy_s: time from handing a slice out until it was acked.
    """

    def __init__(self, slices: Sequence[Sequence[Delivery]]) -> None:
        self.busy_s = 0.0
        self.drained = asyncio.Event()
        self._slices = list(reversed(slices))
        self._handed_s = 0.0

    async def read(
        self, shards: Sequence[int], *, consumer: str, max_entries: int, block_ms: int
    ) -> list[Delivery]:
        """Return the next slice once every shard is held."""
        if len(shards) < SHARDS or not self._slices:
            await asyncio.sleep(block_ms / 1_000)
            return []
        self._handed_s = time.monotonic()
        return list(self._slices.pop())

    async def claim_stale(
        self, shards: Sequence[int], *, consumer: str, min_idle_ms: int, max_entries: int
    ) -> list[Delivery]:
        """Return nothing: the only reader does not die."""
        return []

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Stop the clock of the slice."""
        self.busy_s += time.monotonic() - self._handed_s
        if not self._slices:
            self.drained.set()

    async def publish_acks(self, acks: Sequence[DurableAck]) -> None:
        """Take the acks and drop them."""

    async def append(self, entries: Sequence[Append]) -> None:
        """Refuse: nothing is written here."""
        raise NotImplementedError

    async def depth(self, shards: Sequence[int]) -> int:
        """Return how many slices wait."""
        return len(self._slices)

    async def overflow(self, shards: Sequence[int], *, keep_entries: int, max_entries: int) -> list[Delivery]:
        """Return nothing: no stream is full."""
        return []


def _score(
    member: tuple[TenantId, SessionId], frame: int, base_utc_us: int, random: np.random.Generator
) -> ScoreRecord:
    captured = base_utc_us + frame * 1_000_000 // FPS
    happy = int(random.integers(0, 256))
    return ScoreRecord(
        tenant=member[0],
        session=member[1],
        face=0,
        segment=0,
        frame=frame,
        media_time_us=frame * 1_000_000 // FPS,
        captured_utc_us=captured,
        classified_utc_us=captured + int(random.integers(8_000, 40_000)),
        probabilities=bytes([happy, 255 - happy, 0, 0, 0, 0]),
        confidence=happy,
        attention=7,
        flags=0,
    )


def _totals(member: tuple[TenantId, SessionId], captured: int, at_utc_us: int) -> bytes:
    body = {"type": "counters", "captured": captured, "with_face": captured, "sent": captured, "skipped": {}}
    return encode_event(
        SessionEvent(
            tenant=str(member[0]),
            session=str(member[1]),
            kind="counters",
            epoch=1,
            at_utc_us=at_utc_us,
            body=msgspec.Raw(msgspec.json.encode(body)),
        )
    )


class _CountedLeases(PostgresLeaseStore):
    """Counts leases that a worker held and could not renew."""

    lost = 0

    async def renew(self, holder: str, leases: Any, *, ttl_ms: int) -> list[Lease]:
        """Renew, and count what was not renewed."""
        kept = await super().renew(holder, leases, ttl_ms=ttl_ms)
        self.lost += len(leases) - len(kept)
        return kept


async def _drain(
    server: postgres.EmbeddedPostgres,
    slices: Sequence[Sequence[Delivery]],
    *,
    tenant: TenantId,
) -> tuple[float, int, int]:
    """Let one worker commit everything; return the seconds that it worked, the leases it lost, the frames stored."""
    pool = await open_pool(server.urls.app_url)
    leases, stream = _CountedLeases(pool), _SliceStream(slices)
    worker = AggregateLoop(
        stream=stream, store=PostgresResultStore(pool), leases=leases, holder="bench", shards=SHARDS
    )
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop=stop))
    try:
        async with asyncio.timeout(LEVEL_TIMEOUT_S):
            await stream.drained.wait()
    finally:
        stop.set()
        await running
        await pool.close()
    stored = _stored_frames(server.urls.owner_url, tenant)
    return stream.busy_s, leases.lost, stored


def _stored_frames(owner_url: str, tenant: TenantId) -> int:
    with psycopg.connect(owner_url) as admin:
        admin.execute("SELECT set_config('app.tenant', %s, false)", (str(tenant),))
        row = admin.execute("SELECT coalesce(sum(bit_count(mask::bit(64))), 0) FROM frame_pack").fetchone()
    return int(row[0]) if row else 0


def _copy_rows(owner_url: str, *, frames: int) -> float:
    """Time the peer: COPY of one row a frame into a plain table with a primary key, one transaction a second's worth."""
    with psycopg.connect(owner_url, autocommit=True) as admin:
        admin.execute(
            "CREATE TABLE bench_row (session_id uuid, face smallint, frame int, media_time_ms int,"
            " probabilities bytea, confidence smallint, PRIMARY KEY (session_id, face, frame))"
        )
        session, batch = UUID(int=1), 10_000
        began = time.monotonic()
        for first in range(0, frames, batch):
            with admin.cursor().copy("COPY bench_row FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["uuid", "int2", "int4", "int4", "bytea", "int2"])
                for frame in range(first, min(first + batch, frames)):
                    copy.write_row((session, 0, frame, frame * 33, b"\1\2\3\4\5\6", 9))
        return time.monotonic() - began
