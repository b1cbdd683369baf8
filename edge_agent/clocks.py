"""This machine's clocks."""

from __future__ import annotations

import time


def monotonic_us() -> int:
    """Return this machine's monotonic clock in microseconds."""
    return time.monotonic_ns() // 1000


def utc_us() -> int:
    """Return the wall clock in microseconds since the Unix epoch."""
    return time.time_ns() // 1000


class PlatformClock:
    """The platform's UTC, carried on by this machine's monotonic clock, so a wrong wall clock harms nothing."""

    def __init__(self, platform_utc_us: int | None) -> None:
        """Set the clock.

        Args:
            platform_utc_us: what the platform's clock says now; None to trust this machine's wall clock.
        """
        self._offset_us = (utc_us() if platform_utc_us is None else platform_utc_us) - monotonic_us()

    def utc_us(self) -> int:
        """Return microseconds since the Unix epoch, as the platform counts them."""
        return monotonic_us() + self._offset_us
