"""Histograms of latencies in bins of one millisecond."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cloud.aggregate.slots import CLASSIFIED_DELAY_UNIT_US
from cloud.ports.frames import Records
from cloud.ports.storage import Pack
from privacy.ids import SessionId, TenantId

LAST_BIN_MS = 2_000
"""The last bin holds everything from here on."""

BINS = LAST_BIN_MS + 1

Histogram = NDArray[np.int64]
"""Shape (2001,): bin i counts latencies in [i, i + 1) ms."""


def empty_histogram() -> Histogram:
    """Give a histogram without a sample."""
    return np.zeros(BINS, dtype=np.int64)


def fold_latencies(latency_us: NDArray[np.int64]) -> Histogram:
    """Count latencies in us; negative ones (clocks are not perfect) count as 0."""
    bins = np.clip(latency_us // 1_000, 0, LAST_BIN_MS)
    return np.bincount(bins, minlength=BINS).astype(np.int64)


def classified_histogram(frames: Records) -> Histogram:
    """Count capture to result of stored frames (`FRAME_DTYPE`)."""
    return fold_latencies(frames["classified_delay"].astype(np.int64) * CLASSIFIED_DELAY_UNIT_US)


class CommitLatencies:
    """Capture-to-commit samples that wait to be written, by tenant and session.

    They are written with a later transaction, once a second at most; a worker that is killed loses the
    samples of its last second, never a frame.
    """

    def __init__(self) -> None:
        self._waiting: dict[TenantId, dict[SessionId, Histogram]] = {}

    def add(self, tenant: TenantId, pack: Pack, added_mask: int, *, committed_utc_us: int) -> None:
        """Count the frames of a pack that a commit stored."""
        at = np.flatnonzero((added_mask >> np.arange(len(pack.captured_utc_us))) & 1)
        if len(at):
            self._fold(tenant, pack.key.session, fold_latencies(committed_utc_us - pack.captured_utc_us[at]))

    def tenants(self) -> list[TenantId]:
        """List whose samples wait."""
        return list(self._waiting)

    def take(self, tenant: TenantId) -> dict[SessionId, Histogram]:
        """Hand a tenant's samples out and start anew."""
        return self._waiting.pop(tenant, {})

    def put_back(self, tenant: TenantId, taken: Mapping[SessionId, Histogram]) -> None:
        """Return what could not be written."""
        for session, histogram in taken.items():
            self._fold(tenant, session, histogram)

    def _fold(self, tenant: TenantId, session: SessionId, histogram: Histogram) -> None:
        sessions = self._waiting.setdefault(tenant, {})
        waiting = sessions.get(session)
        sessions[session] = histogram if waiting is None else waiting + histogram
