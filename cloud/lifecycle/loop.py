"""What the lifecycle leader does, turn by turn: erase, seal, enforce retention."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from cloud.analytics.seconds import bin_seconds
from cloud.analytics.traces import FrameTrace
from cloud.audit.repository import PostgresAuditLog
from cloud.consents.registry import Registry
from cloud.lifecycle import metrics as metrics
from cloud.lifecycle.cleaning import Cleaner
from cloud.lifecycle.clock_guard import ClockGuard, is_time
from cloud.lifecycle.due import RetentionBounds, retention_bounds, seal_bounds
from cloud.lifecycle.due_work import ClockReading, DueTenant, PostgresDueWork
from cloud.lifecycle.erasing import ErasingTools, SessionEraser
from cloud.lifecycle.guard import guarded
from cloud.lifecycle.retention import PostgresRetention
from cloud.lifecycle.sealing import TimelineSealer
from cloud.results.changes import FramesSkipped
from cloud.results.frames import Records
from cloud.results.timeline_blobs import SECOND_DTYPE
from privacy.governance.erasure import ErasureReason
from privacy.protocol.expressions import Expression
from privacy.protocol.ids import TenantId

RETENTION_PERIOD = timedelta(seconds=10)
RETENTION_OF_ALL_PERIOD = timedelta(hours=1)
"""For what is kept for years: evidence, receipts, the audit log. What a session leaves is looked for every time."""

SESSION_ARTEFACTS = ("hot_frames", "timeline", "session_facts")

_log = structlog.get_logger(__name__)


class TimeStore(Protocol):
    """Remembers until when the clock was believed."""

    async def read(self) -> ClockReading:
        """Read that, and the store's own clock."""
        ...

    async def believe(self, now: datetime) -> None:
        """Remember that the clock was believed now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleTools(ErasingTools):
    """Everything that the leader works with."""

    registry: Registry
    due_work: PostgresDueWork
    sealer: TimelineSealer
    retention: PostgresRetention
    audit: PostgresAuditLog
    time_store: TimeStore
    cleaner: Cleaner
    clock_confirmed: date | None = None
    monotonic: Callable[[], float] = time.monotonic


class LifecycleLoop:
    """Works on the tenants with something to do; what fails for one of them is counted and tried again next turn."""

    def __init__(self, tools: LifecycleTools) -> None:
        self._tools = tools
        self._eraser = SessionEraser(tools)
        self._guard = ClockGuard(confirmed=tools.clock_confirmed)
        self._objection = ""
        self._has_recalled = False
        self._enforced_at: datetime | None = None
        self._enforced_all_at: datetime | None = None

    async def turn(self) -> None:
        """Do whatever is due now.

        Raises:
            StoreError: PostgreSQL cannot be reached.
        """
        tools = self._tools
        now = tools.clock()
        seal, retention = seal_bounds(tools.policy, now), retention_bounds(tools.policy, now)
        is_retention_due = is_time(now, last=self._enforced_at, period=RETENTION_PERIOD)
        due = await tools.due_work.list_tenants(
            seal=seal, retention=retention, is_overdue_asked=is_retention_due
        )
        if is_retention_due:
            self._enforced_at = now
            await self._enforce(due, retention, now)
        await self._erase()
        for one in due:
            if one.to_seal:
                await guarded("seal", self._seal_tenant(one.tenant))
        await guarded("clean", tools.cleaner.clean(tools.clock()))

    async def _enforce(self, due: Sequence[DueTenant], bounds: RetentionBounds, now: datetime) -> None:
        """Enforce retention where something is overdue, and for everybody once in a while."""
        await self._judge_clock(now)
        tenants = [one.tenant for one in due]
        if is_time(now, last=self._enforced_all_at, period=RETENTION_OF_ALL_PERIOD):
            tenants = await self._tools.registry.list_tenants()
            self._enforced_all_at = now
        worst = dict.fromkeys(SESSION_ARTEFACTS, 0.0)
        for tenant in tenants:
            await guarded("retention", self._enforce_tenant(tenant, bounds, now, worst))
        for artefact, seconds in worst.items():
            metrics.LAG_SECONDS.labels(artefact=artefact).set(seconds)

    async def _judge_clock(self, now: datetime) -> None:
        tools = self._tools
        reading = await tools.time_store.read()
        objection = self._guard.objection(
            now,
            database_now=reading.database_now,
            believed_at=reading.seen_at,
            monotonic_s=tools.monotonic(),
        )
        if not objection:
            await tools.time_store.believe(now)
        if objection and objection != self._objection:
            _log.error(
                "nothing is deleted for its age",
                reason=objection,
                now=now.isoformat(),
                believed_at=reading.seen_at.isoformat(),
                todo="set the clock right, or export COUNTENANCE_CLOCK_CONFIRMED with today's date if it is",
            )
        self._objection = objection
        metrics.CLOCK_HELD.set(bool(objection))

    async def _enforce_tenant(
        self, tenant: TenantId, bounds: RetentionBounds, now: datetime, worst: dict[str, float]
    ) -> None:
        tools = self._tools
        if not self._objection:
            await tools.retention.enforce(tenant, bounds=bounds, now=now)
            await tools.audit.sign_head(tenant, tools.signing_key, now=now)
        for artefact, lag in (await tools.retention.measure_lag(tenant, bounds=bounds)).items():
            worst[artefact] = max(worst.get(artefact, 0.0), lag.total_seconds())

    async def _erase(self) -> None:
        tools = self._tools
        if not self._has_recalled:
            if await self._eraser.recall(await tools.registry.list_tenants()):
                tools.cleaner.note_erasure(tools.clock())
            self._has_recalled = True
        # asked again: retention may just have queued some
        now = tools.clock()
        due = await tools.due_work.list_tenants(
            seal=seal_bounds(tools.policy, now),
            retention=retention_bounds(tools.policy, now),
            is_overdue_asked=False,
        )
        jobs = [job for one in due if one.to_erase for job in await tools.erasures.list_pending(one.tenant)]
        held = {ErasureReason.RETENTION} if self._objection else set()
        if await self._eraser.erase([job for job in jobs if job.reason not in held]):
            tools.cleaner.note_erasure(tools.clock())
        await guarded("late", self._eraser.drop_late())

    async def _seal_tenant(self, tenant: TenantId) -> None:
        tools = self._tools
        now = tools.clock()
        bounds = seal_bounds(tools.policy, now)
        metrics.LOST.inc(await tools.sealer.close_lost(tenant, bounds=bounds, now=now))
        for session in await tools.sealer.find_due(tenant, bounds=bounds):
            if await guarded("seal", tools.sealer.seal(tenant, session, now=now)):
                metrics.SEALED.inc()


def fold_seconds(
    frames: Records, gaps: Sequence[FramesSkipped], duration_ms: int, opted_out: frozenset[Expression]
) -> NDArray[Any]:
    """Fold the viewer's frames into seconds of media time, as the report does (rules S1, S2)."""
    bins = bin_seconds(
        FrameTrace.from_records(frames[frames["face"] == 0]),
        gaps,
        duration_ms=duration_ms,
        opted_out=opted_out,
    )
    rows = np.zeros(len(bins), dtype=SECOND_DTYPE)
    rows["second"] = np.arange(len(bins))
    rows["frames"] = np.minimum(bins.frames, np.iinfo(np.uint16).max)
    rows["expected"] = np.minimum(bins.expected, np.iinfo(np.uint16).max)
    rows["is_valid"] = bins.valid
    for name in ("probabilities", "confidence", "attention"):
        rows[name] = getattr(bins, name)
    return rows
