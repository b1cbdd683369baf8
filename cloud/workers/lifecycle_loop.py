"""What the lifecycle leader does, turn by turn: erase, seal, enforce retention."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from cloud.adapters.postgres.erasures import PostgresErasures
from cloud.adapters.postgres.registry import Registry
from cloud.adapters.postgres.retention import PostgresRetention
from cloud.adapters.postgres.sealing import TimelineSealer
from cloud.entries import shard_of
from cloud.errors import CloudError
from cloud.lifecycle.due import RetentionBounds, retention_bounds, seal_bounds
from cloud.lifecycle.timeline_blobs import SECOND_DTYPE
from cloud.ports.frames import Records
from cloud.ports.records import ErasureJob
from cloud.ports.streams import CropStream, Revocations, SetupStore
from cloud.report.seconds import bin_seconds
from cloud.report.traces import FrameTrace
from cloud.workers import lifecycle_metrics as metrics
from privacy.erasure import ErasurePlan, ErasureReason, ErasureStep, StepOutcome, plan_erasure
from privacy.errors import PrivacyError
from privacy.expressions import Expression
from privacy.ids import TenantId
from privacy.policy import Artefact, Policy

RETENTION_PERIOD = timedelta(seconds=10)
AGE_OUT_MARGIN_S = 0.2

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleTools:
    """Everything that the leader works with."""

    registry: Registry
    sealer: TimelineSealer
    erasures: PostgresErasures
    retention: PostgresRetention
    crops: CropStream
    setups: SetupStore
    revocations: Revocations
    policy: Policy
    signing_key: Ed25519PrivateKey
    shards: int
    clock: Callable[[], datetime]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class LifecycleLoop:
    """Walks the tenants; what fails for one of them is counted and tried again next turn."""

    def __init__(self, tools: LifecycleTools) -> None:
        self._tools = tools
        self._enforce_at: datetime | None = None

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
            await self._guarded("seal", self._seal_tenant(tenant))

    async def _enforce(self, tenants: Sequence[TenantId], now: datetime) -> None:
        bounds = retention_bounds(self._tools.policy, now)
        worst: dict[str, float] = {}
        for tenant in tenants:
            await self._guarded("retention", self._enforce_tenant(tenant, bounds, now, worst))
        for artefact, seconds in worst.items():
            metrics.LAG_SECONDS.labels(artefact=artefact).set(seconds)

    async def _enforce_tenant(
        self, tenant: TenantId, bounds: RetentionBounds, now: datetime, worst: dict[str, float]
    ) -> None:
        await self._tools.retention.enforce(tenant, bounds=bounds, now=now)
        for artefact, lag in (await self._tools.retention.measure_lag(tenant, bounds=bounds)).items():
            worst[artefact] = max(worst.get(artefact, 0.0), lag.total_seconds())

    async def _erase(self, tenants: Sequence[TenantId]) -> None:
        """Erase what waits: first stop every session, wait once for what is on the way, then delete."""
        jobs = [job for tenant in tenants for job in await self._tools.erasures.list_pending(tenant)]
        stopped: list[tuple[ErasureJob, ErasurePlan, list[StepOutcome]]] = []
        for job in jobs:
            is_live = job.reason != ErasureReason.RETENTION
            plan = plan_erasure(job.tenant, job.session, reason=ErasureReason(job.reason), is_live=is_live)
            outcomes: list[StepOutcome] = []
            if is_live and not await self._guarded("erase", self._stop_session(job, outcomes)):
                continue
            stopped.append((job, plan, outcomes))
        if any(outcomes for _, _, outcomes in stopped):
            ttl_s = self._tools.policy.ttl_us(Artefact.CIPHERTEXT_CROP) / 1_000_000
            await self._tools.sleep(ttl_s + AGE_OUT_MARGIN_S)
        for job, plan, outcomes in stopped:
            if await self._guarded("erase", self._delete_session(job, plan, outcomes)):
                metrics.ERASED.labels(reason=job.reason).inc()

    async def _stop_session(self, job: ErasureJob, outcomes: list[StepOutcome]) -> None:
        tools = self._tools
        was_open = not await tools.revocations.is_revoked(job.session)
        await tools.revocations.revoke(job.session)
        had_setup = await tools.setups.fenced_epoch(job.session) > 0
        await tools.setups.forget(job.session)
        outcomes += [
            StepOutcome(step=ErasureStep.REVOKE_SESSION, before=int(was_open), after=0),
            StepOutcome(step=ErasureStep.PURGE_SETUPS, before=int(had_setup), after=0),
        ]

    async def _delete_session(self, job: ErasureJob, plan: ErasurePlan, outcomes: list[StepOutcome]) -> None:
        tools = self._tools
        transient = list(outcomes)
        if ErasureStep.PURGE_STREAMS in plan.steps:
            shard = shard_of(job.session, shards=tools.shards)
            ttl_ms = tools.policy.ttl_us(Artefact.CIPHERTEXT_CROP) // 1_000
            trimmed = await tools.crops.trim([shard], max_age_ms=ttl_ms)
            transient.append(StepOutcome(step=ErasureStep.PURGE_STREAMS, before=trimmed, after=0))
        await tools.erasures.erase(
            plan,
            transient=transient,
            requested_at=job.requested_at,
            signing_key=tools.signing_key,
            now=tools.clock(),
        )

    async def _seal_tenant(self, tenant: TenantId) -> None:
        tools = self._tools
        now = tools.clock()
        bounds = seal_bounds(now)
        metrics.LOST.inc(await tools.sealer.close_lost(tenant, bounds=bounds, now=now))
        for session in await tools.sealer.find_due(tenant, bounds=bounds):
            if await self._guarded("seal", tools.sealer.seal(tenant, session, now=now)):
                metrics.SEALED.inc()

    async def _guarded(self, stage: str, step: Awaitable[Any]) -> bool:
        """Do a step; a failure is counted, and the next turn tries again."""
        try:
            await step
        except (CloudError, PrivacyError) as error:
            metrics.FAILURES.labels(stage=stage, error=type(error).__name__).inc()
            _log.warning("lifecycle step failed", stage=stage, error=str(error))
            return False
        return True


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
