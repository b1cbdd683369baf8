"""Keeps the streams short: crops that aged out go, full result streams shed aloud (ADR 0068).

Every lifecycle process does so, leader or not and without PostgreSQL; several may do it at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import structlog

from cloud.errors import CloudError
from cloud.lifecycle import metrics as metrics
from cloud.lifecycle.shedding import even_batches, shed
from cloud.streams.ports import CropStream, ResultStream

TRIM_PERIOD_S = 0.5
RESULTS_KEEP_ENTRIES = 90_000
"""Per shard: an hour of one viewer at 30 fps and one crop an entry; below the bound that writers keep blindly."""

SHED_MAX_ENTRIES = 5_000
"""Per shard and turn: faster than entries can arrive."""

SHED_MIN_ENTRIES = 16
"""Fewer than this wait for the next turn: half a handful has no room for what must be said of it."""

SHED_BATCH_ENTRIES = 500
"""In memory at a time, of one shard: under 3 MB of entries, at most 32,000 frames."""

_log = structlog.get_logger(__name__)


async def keep_streams_short(
    crops: CropStream,
    results: ResultStream,
    *,
    shards: int,
    max_age_ms: int,
    clock: Callable[[], datetime],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Trim and shed twice a second until cancelled.

    A step that fails as its port says it may is counted and done again next turn, and keeps the other from nothing.
    Any other exception is a defect: it goes through and ends the process, whose supervisor starts it again.
    """

    async def trim() -> None:
        metrics.TRIMMED.inc(await crops.trim(range(shards), max_age_ms=max_age_ms))

    while True:
        await _counted("trim", trim())
        await _counted("shed", shed_results(results, range(shards), clock=clock))
        await sleep(TRIM_PERIOD_S)


async def shed_results(
    results: ResultStream,
    shards: Sequence[int],
    *,
    clock: Callable[[], datetime],
    keep_entries: int = RESULTS_KEEP_ENTRIES,
) -> None:
    """Make room in result streams that nobody reads; first what is lost is flagged, then it goes.

    One shard after another, in batches of at most `SHED_BATCH_ENTRIES`, so that memory does not grow with what waits.

    Raises:
        StreamError: Redis is away; what was not removed is shed again.
    """
    full = await results.overflow(shards, keep_entries=keep_entries + SHED_MIN_ENTRIES - 1, max_entries=1)
    frames = reports = 0
    for shard in sorted({delivery.shard for delivery in full}):
        over = min(await results.depth([shard]) - keep_entries, SHED_MAX_ENTRIES)
        for entries in even_batches(over, at_most=SHED_BATCH_ENTRIES):
            going = await results.overflow([shard], keep_entries=keep_entries, max_entries=entries)
            found = shed(going, now_utc_us=int(clock().timestamp() * 1_000_000))
            await results.append(found.kept)
            await results.ack(going)
            metrics.RESULTS_SHED.labels(what="frames").inc(found.frames)
            metrics.RESULTS_SHED.labels(what="reports").inc(found.dropped)
            frames, reports = frames + found.frames, reports + found.dropped
    if full:
        _log.warning("result streams are full", frames=frames, reports=reports)


async def _counted(stage: str, step: Awaitable[Any]) -> None:
    try:
        await step
    except CloudError as error:
        metrics.FAILURES.labels(stage=stage, error=type(error).__name__).inc()
