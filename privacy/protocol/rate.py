"""A token bucket that is told the time (protocol rule S10)."""

from __future__ import annotations


class TokenBucket:
    """Allows `rate_per_s` units on average and `burst` at once."""

    def __init__(self, *, rate_per_s: int, burst: int) -> None:
        self._rate_per_s = rate_per_s
        self._capacity = burst * 1_000_000
        self._level = self._capacity
        self._at_us: int | None = None

    def take(self, units: int, *, now_us: int) -> bool:
        """Take units if there are enough; a clock that steps back gives none, and goes on from there."""
        if self._at_us is not None and now_us > self._at_us:
            self._level = min(self._capacity, self._level + (now_us - self._at_us) * self._rate_per_s)
        self._at_us = now_us
        if units * 1_000_000 > self._level:
            return False
        self._level -= units * 1_000_000
        return True
