"""This machine's clocks."""

from __future__ import annotations

import time


def monotonic_us() -> int:
    """Return this machine's monotonic clock in microseconds."""
    return time.monotonic_ns() // 1000


def utc_us() -> int:
    """Return the wall clock in microseconds since the Unix epoch."""
    return time.time_ns() // 1000
