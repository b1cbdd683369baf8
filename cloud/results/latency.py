"""Histograms of latencies in bins of one millisecond."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from cloud.results.frames import Records
from cloud.results.slots import CLASSIFIED_DELAY_UNIT_US
from cloud.results.storage import LatencyCounts, Pack
from privacy.protocol.ids import SessionId, TenantId

LAST_BIN_MS = 2_000
"""The last bin holds everything from here on."""

BINS = LAST_BIN_MS + 1

Histogram = NDArray[np.int64]
"""Shape (2001,): bin i counts latencies in [i, i + 1) ms."""

PERIOD_S = 10.0
"""How long a session's samples wait for more of them: each row is written rarely."""

SESSIONS_AT_ONCE = 500


@dataclass(slots=True, kw_only=True)
class _Waiting:
    since_s: float
    counts: Counter[int] = field(default_factory=Counter)


def latency_bin(latency_us: int) -> int:
    """Return the bin of a latency in us; a negative one (clocks are not perfect) counts as 0."""
    return min(max(latency_us // 1_000, 0), LAST_BIN_MS)


def fold_latencies(latency_us: NDArray[np.int64]) -> Histogram:
    """Count latencies in us; negative ones (clocks are not perfect) count as 0."""
    bins = np.clip(latency_us // 1_000, 0, LAST_BIN_MS)
    return np.bincount(bins, minlength=BINS).astype(np.int64)


def dense_histogram(counts: LatencyCounts) -> list[int]:
    """Lay counts out as 2001 bins of 1 ms, the last one open."""
    return [counts.get(at, 0) for at in range(BINS)]


def classified_histogram(frames: Records) -> Histogram:
    """Count capture to result of stored frames (`FRAME_DTYPE`)."""
    return fold_latencies(frames["classified_delay"].astype(np.int64) * CLASSIFIED_DELAY_UNIT_US)


class CommitLatencies:
    """Capture-to-commit samples that wait to be written, by tenant and session.

    A session's samples are written with a later transaction, `PERIOD_S` after the first of them, or with the next one
    once the session has ended. A worker that is killed loses the samples of its last seconds, never a frame.
    """

    def __init__(self) -> None:
        self._waiting: dict[TenantId, dict[SessionId, _Waiting]] = {}

    def add(
        self, tenant: TenantId, pack: Pack, added_mask: int, *, committed_utc_us: int, now_s: float
    ) -> None:
        """Count the frames of a pack that a commit stored; `now_s` is a monotonic clock."""
        captured_us = [us for at, us in enumerate(pack.captured_utc_us.tolist()) if added_mask >> at & 1]
        if captured_us:
            waiting = self._of(tenant, pack.key.session, now_s)
            waiting.counts.update(latency_bin(committed_utc_us - us) for us in captured_us)

    def hurry(self, tenant: TenantId, session: SessionId) -> None:
        """Make a session's samples due now: it has ended, and will be read and sealed."""
        waiting = self._waiting.get(tenant, {}).get(session)
        if waiting is not None:
            waiting.since_s = -inf

    def tenants(self, *, now_s: float) -> list[TenantId]:
        """List who has samples that are due."""
        return [tenant for tenant in self._waiting if self._due(tenant, now_s)]

    def take(self, tenant: TenantId, *, now_s: float) -> dict[SessionId, LatencyCounts]:
        """Hand out the samples of a tenant's sessions that are due, at most `SESSIONS_AT_ONCE` of them."""
        due = self._due(tenant, now_s)[:SESSIONS_AT_ONCE]
        sessions = self._waiting.get(tenant, {})
        taken: dict[SessionId, LatencyCounts] = {session: sessions.pop(session).counts for session in due}
        if not sessions:
            self._waiting.pop(tenant, None)
        return taken

    def put_back(self, tenant: TenantId, taken: Mapping[SessionId, LatencyCounts], *, now_s: float) -> None:
        """Return what could not be written."""
        for session, counts in taken.items():
            self._of(tenant, session, now_s).counts.update(counts)

    def _of(self, tenant: TenantId, session: SessionId, now_s: float) -> _Waiting:
        sessions = self._waiting.setdefault(tenant, {})
        return sessions.setdefault(session, _Waiting(since_s=now_s))

    def _due(self, tenant: TenantId, now_s: float) -> list[SessionId]:
        waiting = self._waiting.get(tenant, {})
        return [session for session, one in waiting.items() if now_s - one.since_s >= PERIOD_S]
