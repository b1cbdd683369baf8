"""What the lifecycle leader does, turn by turn: erase, seal, enforce retention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud.adapters.postgres.registry import Registry
from cloud.adapters.postgres.retention import PostgresRetention
from cloud.adapters.postgres.sealing import TimelineSealer
from cloud.lifecycle.due import RetentionBounds, retention_bounds, seal_bounds
from cloud.lifecycle.timeline_blobs import SECOND_DTYPE
from cloud.ports.frames import Records
from cloud.report.seconds import bin_seconds
from cloud.report.traces import FrameTrace
from cloud.workers import lifecycle_metrics as metrics
from cloud.workers.lifecycle_erasing import ErasingTools, SessionEraser
from cloud.workers.lifecycle_guard import guarded
from privacy.expressions import Expression
from privacy.ids import TenantId

RETENTION_PERIOD = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleTools(ErasingTools):
    """Everything that the leader works with."""

    registry: Registry
    sealer: TimelineSealer
    retention: PostgresRetention


class LifecycleLoop:
    """Walks the tenants; what fails for one of them is counted and tried again next turn."""

    def __init__(self, tools: LifecycleTools) -> None:
        self._tools = tools
        self._enforce_at: datetime | None = None
        self._eraser = SessionEraser(tools)
        self._has_recalled = False

    async def turn(self) -> None:
        """Do whatever is due now.

        Raises:
            StoreError: PostgreSQL cannot be reached.
        """
        tools = self._tools
        tenants = await tools.registry.list_tenants()
        now = tools.clock()
        if self._enforce_at is None or now >= self._enforce_at:
            await self._enforce(tenants, now)
            self._enforce_at = now + RETENTION_PERIOD
        await self._erase(tenants)
        for tenant in tenants:
            await guarded("seal", self._seal_tenant(tenant))

    async def _enforce(self, tenants: Sequence[TenantId], now: datetime) -> None:
        bounds = retention_bounds(self._tools.policy, now)
        worst: dict[str, float] = {}
        for tenant in tenants:
            await guarded("retention", self._enforce_tenant(tenant, bounds, now, worst))
        for artefact, seconds in worst.items():
            metrics.LAG_SECONDS.labels(artefact=artefact).set(seconds)

    async def _enforce_tenant(
        self, tenant: TenantId, bounds: RetentionBounds, now: datetime, worst: dict[str, float]
    ) -> None:
        await self._tools.retention.enforce(tenant, bounds=bounds, now=now)
        for artefact, lag in (await self._tools.retention.measure_lag(tenant, bounds=bounds)).items():
            worst[artefact] = max(worst.get(artefact, 0.0), lag.total_seconds())

    async def _erase(self, tenants: Sequence[TenantId]) -> None:
        if not self._has_recalled:
            await self._eraser.recall(tenants)
            self._has_recalled = True
        await self._eraser.erase(
            [job for tenant in tenants for job in await self._tools.erasures.list_pending(tenant)]
        )
        await guarded("late", self._eraser.drop_late())

    async def _seal_tenant(self, tenant: TenantId) -> None:
        tools = self._tools
        now = tools.clock()
        bounds = seal_bounds(now)
        metrics.LOST.inc(await tools.sealer.close_lost(tenant, bounds=bounds, now=now))
        for session in await tools.sealer.find_due(tenant, bounds=bounds):
            if await guarded("seal", tools.sealer.seal(tenant, session, now=now)):
                metrics.SEALED.inc()


def fold_seconds(frames: Records, duration_ms: int, opted_out: frozenset[Expression]) -> NDArray[Any]:
    """Fold the viewer's frames into seconds of media time, as the report does (rules S1, S2)."""
    bins = bin_seconds(
        FrameTrace.from_records(frames[frames["face"] == 0]), duration_ms=duration_ms, opted_out=opted_out
    )
    rows = np.zeros(len(bins), dtype=SECOND_DTYPE)
    rows["second"] = np.arange(len(bins))
    rows["frames"] = np.minimum(bins.frames, np.iinfo(np.uint16).max)
    rows["expected"] = np.minimum(bins.expected, np.iinfo(np.uint16).max)
    rows["is_valid"] = bins.valid
    for name in ("probabilities", "confidence", "attention"):
        rows[name] = getattr(bins, name)
    return rows
