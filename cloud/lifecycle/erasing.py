"""Erasing sessions: stop them, wait for what is on the way, delete, measure what is left, then receipt (rule R7)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.lifecycle import metrics as metrics
from cloud.lifecycle.clock_guard import is_time
from cloud.lifecycle.erasures import PostgresErasures
from cloud.lifecycle.guard import guarded
from cloud.lifecycle.stream_erasing import clear_results, count_crops
from cloud.sessions.records import ErasureJob
from cloud.streams.entries import shard_of
from cloud.streams.ports import (
    Delivery,
    EntrySearch,
    Revocations,
    SearchableCrops,
    SearchableResults,
    SetupStore,
)
from privacy.governance.erasure import ErasureReason, ErasureStep, StepOutcome, plan_erasure
from privacy.governance.policy import Artefact, Policy
from privacy.protocol.ids import SessionId, TenantId

AGE_OUT_MARGIN_S = 0.2

LATE_WATCH = timedelta(minutes=15)
"""For this long after its receipt, what still arrives of a session is looked for and dropped."""

LATE_PERIOD = timedelta(seconds=10)
RESULTS_AT_A_TIME = 1_000
CROPS_AT_A_TIME = 50

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasingTools:
    """What erasing works with; the fields are those of `LifecycleTools`."""

    erasures: PostgresErasures
    crops: SearchableCrops
    results: SearchableResults
    setups: SetupStore
    revocations: Revocations
    policy: Policy
    signing_key: Ed25519PrivateKey
    shards: int
    clock: Callable[[], datetime]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(slots=True, kw_only=True)
class _Stopped:
    job: ErasureJob
    before: Counter[ErasureStep] = field(default_factory=Counter)


class SessionEraser:
    """Carries erasures out; what fails for one of them is counted and tried again next turn."""

    def __init__(self, tools: ErasingTools) -> None:
        self._tools = tools
        self._watched: dict[SessionId, datetime] = {}
        self._looked_at: datetime | None = None

    async def erase(self, jobs: Iterable[ErasureJob]) -> int:
        """Erase: first stop every session, wait once for what is on the way, then delete.

        Returns:
            How many were receipted now.
        """
        stopped: list[_Stopped] = []
        for job in jobs:
            one = _Stopped(job=job)
            if await guarded("erase", self._stop(one)):
                stopped.append(one)
        if not stopped or not await guarded("erase", self._purge(stopped)):
            return 0
        done = [one for one in stopped if await guarded("erase", self._delete(one))]
        for one in done:
            metrics.ERASED.labels(reason=one.job.reason).inc()
        return len(done)

    async def recall(self, tenants: Sequence[TenantId]) -> int:
        """Watch for what arrives late of sessions erased shortly before this process led; returns how many there are."""
        since = self._tools.clock() - LATE_WATCH
        for tenant in tenants:
            erased = await self._tools.erasures.list_erased(tenant, since=since)
            self._watched.update({session: at + LATE_WATCH for session, at in erased})
        return len(self._watched)

    async def drop_late(self) -> None:
        """Drop what arrived of erased sessions after their receipt; nobody would have stored it.

        Raises:
            StreamError: Redis is away.
        """
        now = self._tools.clock()
        if not is_time(now, last=self._looked_at, period=LATE_PERIOD):
            return
        self._looked_at = now
        self._watched = {session: until for session, until in self._watched.items() if now < until}
        late = (await self._clear(self._watched)).total()
        if late:
            metrics.LATE_DROPPED.inc(late)
            _log.warning("results of erased sessions arrived late and were dropped", entries=late)

    async def _stop(self, one: _Stopped) -> None:
        tools, session = self._tools, one.job.session
        one.before[ErasureStep.REVOKE_SESSION] = int(not await tools.revocations.is_revoked(session))
        await tools.revocations.revoke(session)
        # what the session's row could not take when its deletion was queued (rule G2)
        await tools.erasures.settle(one.job, now=tools.clock())
        one.before[ErasureStep.PURGE_SETUPS] = await tools.setups.count(session)
        await tools.setups.forget(session)

    async def _purge(self, stopped: Sequence[_Stopped]) -> None:
        """Let crops age out and take results away; a session long sealed, of which nothing is found, waits for none."""
        tools = self._tools
        sessions = {one.job.session for one in stopped}
        crops = await self._count_crops(sessions)
        is_quiet = not crops and all(
            one.job.reason == ErasureReason.RETENTION and not one.before[ErasureStep.PURGE_SETUPS]
            for one in stopped
        )
        ttl_us = tools.policy.ttl_us(Artefact.CIPHERTEXT_CROP)
        if not is_quiet:
            await tools.sleep(ttl_us / 1_000_000 + AGE_OUT_MARGIN_S)
        shards = sorted({shard_of(session, shards=tools.shards) for session in sessions})
        await tools.crops.trim(shards, max_age_ms=ttl_us // 1_000)
        results = await self._clear(sessions)
        for one in stopped:
            one.before[ErasureStep.PURGE_STREAMS] = crops[one.job.session]
            one.before[ErasureStep.PURGE_RESULTS] = results[one.job.session]

    async def _delete(self, one: _Stopped) -> None:
        tools, job = self._tools, one.job

        async def measure() -> Sequence[StepOutcome]:
            return [
                StepOutcome(step=step, before=max(one.before[step], left), after=left)
                for step, left in (await self._left(job.session)).items()
            ]

        await tools.erasures.erase(
            plan_erasure(job.tenant, job.session, reason=ErasureReason(job.reason)),
            measure=measure,
            requested_at=job.requested_at,
            signing_key=tools.signing_key,
            now=tools.clock(),
        )
        self._watched[job.session] = tools.clock() + LATE_WATCH

    async def _left(self, session: SessionId) -> dict[ErasureStep, int]:
        """Measure what is left of a session outside the database, in the order of the plan."""
        tools = self._tools
        shard = shard_of(session, shards=tools.shards)
        results = 0
        async for entries in _walk(tools.results, shard, at_a_time=RESULTS_AT_A_TIME):
            results += clear_results(entries, {session}).found.total()
        return {
            ErasureStep.REVOKE_SESSION: int(not await tools.revocations.is_revoked(session)),
            ErasureStep.PURGE_SETUPS: await tools.setups.count(session),
            ErasureStep.PURGE_STREAMS: (await self._count_crops({session})).total(),
            ErasureStep.PURGE_RESULTS: results,
        }

    async def _count_crops(self, sessions: Collection[SessionId]) -> Counter[SessionId]:
        found: Counter[SessionId] = Counter()
        for shard, here in self._by_shard(sessions).items():
            async for entries in _walk(self._tools.crops, shard, at_a_time=CROPS_AT_A_TIME):
                found += count_crops(entries, here)
        return found

    async def _clear(self, sessions: Collection[SessionId]) -> Counter[SessionId]:
        """Take sessions out of the result streams, from entries that were read and are pending too."""
        results = self._tools.results
        found: Counter[SessionId] = Counter()
        for shard, here in self._by_shard(sessions).items():
            async for entries in _walk(results, shard, at_a_time=RESULTS_AT_A_TIME):
                cleared = clear_results(entries, here)
                await results.append(cleared.kept)
                await results.ack(cleared.going)
                found += cleared.found
        return found

    def _by_shard(self, sessions: Collection[SessionId]) -> dict[int, set[SessionId]]:
        by_shard: dict[int, set[SessionId]] = {}
        for session in sessions:
            by_shard.setdefault(shard_of(session, shards=self._tools.shards), set()).add(session)
        return by_shard


async def _walk(stream: EntrySearch, shard: int, *, at_a_time: int) -> AsyncIterator[list[Delivery]]:
    """Yield a shard's entries in order, those that are appended meanwhile included."""
    after = ""
    while entries := await stream.peek(shard, after=after, max_entries=at_a_time):
        yield entries
        after = entries[-1].entry_id
        if len(entries) < at_a_time:
            return
