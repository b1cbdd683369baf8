"""Four-timestamp clock exchange: how the agent's monotonic clock relates to the server's UTC (rule S8)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

SAMPLES_KEPT = 8
STEP_MIN_US = 50_000
"""Samples of one connection that differ by more than their errors and this tell of a clock that was set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetEstimate:
    """Agent's monotonic time + `offset_us` = server's UTC, within plus or minus `error_us`."""

    offset_us: int
    error_us: int


class ClockFilter:
    """Keeps the latest exchanges and trusts the one with the shortest round trip."""

    def __init__(self, *, samples: int = SAMPLES_KEPT) -> None:
        self._samples: deque[OffsetEstimate] = deque(maxlen=samples)

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, *, t1_us: int, t2_utc_us: int, t3_utc_us: int, t4_us: int) -> bool:
        """Take one exchange.

        Args:
            t1_us: request left, agent's monotonic clock.
            t2_utc_us: request arrived, server's UTC.
            t3_utc_us: reply left, server's UTC.
            t4_us: reply arrived, agent's monotonic clock.

        Returns:
            False if the times contradict each other and were ignored.
        """
        round_trip_us = (t4_us - t1_us) - (t3_utc_us - t2_utc_us)
        if t4_us < t1_us or t3_utc_us < t2_utc_us or round_trip_us < 0:
            return False
        offset_us = ((t2_utc_us - t1_us) + (t3_utc_us - t4_us)) // 2
        sample = OffsetEstimate(offset_us=offset_us, error_us=(round_trip_us + 1) // 2)
        best = self.best()
        if best is not None and _contradict(sample, best):
            self._samples.clear()
        self._samples.append(sample)
        return True

    def best(self) -> OffsetEstimate | None:
        """Give the estimate of the exchange with the shortest round trip, None before the first."""
        return min(self._samples, key=lambda sample: sample.error_us, default=None)


def _contradict(one: OffsetEstimate, other: OffsetEstimate) -> bool:
    return abs(one.offset_us - other.offset_us) > one.error_us + other.error_us + STEP_MIN_US
