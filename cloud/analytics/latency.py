"""Percentiles of latency histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySummary:
    """Percentiles in ms (None without a sample) and the number of samples."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    count: int


def percentile_ms(histogram: Sequence[int], share: float) -> float | None:
    """Read a percentile from a histogram of 1-ms bins.

    Args:
        histogram: counts; bin i holds latencies in [i, i + 1) ms, the last one everything above.
        share: in (0, 1].

    Returns:
        The upper edge of the bin in which the percentile falls, so never less than the true one
        (save in the last, open bin); None without a sample.
    """
    total = sum(histogram)
    if total == 0:
        return None
    wanted = math.ceil(share * total)
    seen = 0
    for millis, count in enumerate(histogram):
        seen += count
        if seen >= wanted:
            return float(millis + 1)
    return float(len(histogram))


def summarise(histogram: Sequence[int]) -> LatencySummary:
    """Give p50, p95 and p99 of a histogram of 1-ms bins."""
    return LatencySummary(
        p50_ms=percentile_ms(histogram, 0.50),
        p95_ms=percentile_ms(histogram, 0.95),
        p99_ms=percentile_ms(histogram, 0.99),
        count=sum(histogram),
    )
