"""Count delays in 1-ms bins; give percentiles without keeping single values."""

from __future__ import annotations

from collections import OrderedDict

BINS = 2_001
"""The last bin holds everything from two seconds on."""

PENDING_MAX = 4_096


class DelayHistogram:
    """A histogram of delays."""

    def __init__(self) -> None:
        self._bins = [0] * BINS
        self.count = 0

    def add(self, delay_us: int) -> None:
        """Count one delay; a negative one, which clock error can produce, counts as zero."""
        self._bins[min(BINS - 1, max(0, delay_us) // 1000)] += 1
        self.count += 1

    def percentile_ms(self, share: float) -> int | None:
        """Return the delay in milliseconds that `share` of all lie at or below, None if there are none."""
        if self.count == 0:
            return None
        wanted, seen = share * self.count, 0
        for delay_ms, hits in enumerate(self._bins):
            seen += hits
            if seen >= wanted and hits:
                return delay_ms
        return BINS - 1

    def summary(self) -> dict[str, int | None]:
        """Return p50, p95 and p99 in milliseconds."""
        return {
            name: self.percentile_ms(share) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        }


class CommitDelays:
    """Capture to commit, from the durable acks."""

    def __init__(self) -> None:
        self.histogram = DelayHistogram()
        self._captured_us: OrderedDict[int, int] = OrderedDict()

    def sent(self, frame: int, monotonic_us: int) -> None:
        """Note a frame that was sent."""
        self._captured_us[frame] = monotonic_us
        if len(self._captured_us) > PENDING_MAX:
            self._captured_us.popitem(last=False)

    def committed(self, *, first_frame: int, mask: int, committed_utc_us: int, offset_us: int | None) -> None:
        """Note an ack; bit i of `mask` is frame `first_frame + i`.

        Args:
            first_frame: of the pack.
            mask: frames that are committed.
            committed_utc_us: when, on the server's clock.
            offset_us: server's UTC minus this machine's monotonic clock, None while unknown.
        """
        while mask:
            bit = (mask & -mask).bit_length() - 1
            mask &= mask - 1
            captured_us = self._captured_us.pop(first_frame + bit, None)
            if captured_us is not None and offset_us is not None:
                self.histogram.add(committed_utc_us - offset_us - captured_us)
