"""Viewings written to the stores by the aggregate worker's own code, for pages to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import numpy as np

from cloud.aggregate.folding import fold_deliveries
from cloud.aggregate.leases import PostgresLeaseStore
from cloud.database.connection import Pool
from cloud.results.repository import PostgresResultStore
from cloud.streams.entries import FLAG_UNCERTAIN, ScoreRecord
from privacy.protocol.ids import SessionId, TenantId
from privacy.protocol.messages import Counters, Gap
from tests.unit.cloud.score_records import event_entry, scores_entry

FPS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """Frames first..last (inclusive) that the agent did not send."""

    first: int
    last: int
    reason: str

    @property
    def frames(self) -> int:
        return self.last - self.first + 1


async def store_viewing(
    pool: Pool,
    *,
    tenant: str,
    session: str,
    start: datetime,
    seconds: int,
    holes: Sequence[Hole] = (),
    ended: bool = True,
    shard: int = 0,
    seed: int = 1,
) -> None:
    """Store a viewer who drifts between expressions for `seconds` at 30 fps."""
    start_utc_us = int(start.timestamp() * 1e6)
    who = {"tenant": TenantId(UUID(tenant)), "session": SessionId(UUID(session))}
    missing = {frame for hole in holes for frame in range(hole.first, hole.last + 1)}
    frames = [frame for frame in range(seconds * FPS) if frame not in missing]
    deliveries = [scores_entry(_scores(frames, seconds, seed, start_utc_us, **who), shard=shard)]
    messages: list[tuple[str, Any]] = [("connected", {})]
    messages += [
        (
            "gap",
            Gap(
                first_frame=hole.first,
                last_frame=hole.last,
                segment=0,
                media_time_us=hole.first * 1_000_000 // FPS,
                reason=hole.reason,
            ),
        )
        for hole in holes
    ]
    skipped: dict[str, int] = {}
    for hole in holes:
        skipped[hole.reason] = skipped.get(hole.reason, 0) + hole.frames
    with_face = seconds * FPS - skipped.get("no_face", 0)
    counters = Counters(captured=seconds * FPS, with_face=with_face, sent=len(frames), skipped=skipped)
    messages.append(("counters", counters))
    if ended:
        messages.append(("closed", {}))
    deliveries += [
        event_entry(
            kind,
            body=msgspec.json.encode(body),
            at_utc_us=start_utc_us + (0 if kind == "connected" else seconds * 1_000_000),
            shard=shard,
            **who,
        )
        for kind, body in messages
    ]
    leases = PostgresLeaseStore(pool)
    await leases.beat("viewings", ttl_ms=60_000)
    held = await leases.take("viewings", shards=[shard], limit=1, ttl_ms=60_000)
    for batch in fold_deliveries(deliveries).batches:
        await PostgresResultStore(pool).commit(batch, holder="viewings", leases=held)


def _scores(
    frames: Sequence[int], seconds: int, seed: int, start_utc_us: int, *, tenant: TenantId, session: SessionId
) -> list[ScoreRecord]:
    rng = np.random.default_rng(seed)
    moments = rng.normal(0, 1.6, (seconds // 4 + 2, 6))
    moments += np.array([0.6, -0.6, -1.2, -0.2, -1.6, 1.2])
    at = np.arange(seconds * FPS) / FPS / 4
    low = at.astype(int)
    drift = moments[low] + (at - low)[:, None] * (moments[low + 1] - moments[low])
    raised = np.exp(drift + rng.normal(0, 0.35, drift.shape))
    shares = (255 * raised / raised.sum(axis=1, keepdims=True)).astype(int)
    shares[:, 5] += 255 - shares.sum(axis=1)
    delays_us = rng.gamma(9, 2_600, seconds * FPS).astype(int)
    return [
        ScoreRecord(
            tenant=tenant,
            session=session,
            face=0,
            segment=0,
            frame=frame,
            media_time_us=frame * 1_000_000 // FPS,
            captured_utc_us=start_utc_us + frame * 33_333,
            classified_utc_us=start_utc_us + frame * 33_333 + int(delays_us[frame]),
            probabilities=bytes(shares[frame].tolist()),
            confidence=int(shares[frame].max()),
            attention=200,
            flags=FLAG_UNCERTAIN if shares[frame].max() < 150 else 0,
        )
        for frame in frames
    ]
