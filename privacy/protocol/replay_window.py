"""Sliding window over the counters of one session epoch (as RFC 6479, protocol rule S5)."""

from __future__ import annotations

from privacy.errors import ReplayError
from privacy.protocol import limits


class ReplayWindow:
    """Remembers which of the latest counters were seen; `size` bits, whatever the traffic."""

    def __init__(self, size: int = limits.REPLAY_WINDOW_FRAMES) -> None:
        if size < 1:
            raise ValueError("replay window must hold at least one counter")
        self._size = size
        self._top = -1
        self._seen = 0
        self._full = (1 << size) - 1

    def is_fresh(self, counter: int) -> bool:
        """Say whether a counter is neither seen nor behind the window; changes nothing."""
        back = self._top - counter
        return back < 0 or (back < self._size and not (self._seen >> back) & 1)

    def check(self, counter: int) -> bool:
        """Refuse a counter that is not fresh; changes nothing.

        Returns:
            True, so that it can stand in a condition.

        Raises:
            ReplayError: it was seen before, or lies behind the window.
        """
        if not self.is_fresh(counter):
            raise ReplayError("counter was seen before or lies behind the window")
        return True

    def accept(self, counter: int) -> None:
        """Remember a counter; only after the envelope that carries it passed every other check.

        Raises:
            ReplayError: it is not fresh.
            ValueError: it is negative.
        """
        if counter < 0:
            raise ValueError("counter must not be negative")
        self.check(counter)
        ahead = counter - self._top
        if ahead > 0:
            self._seen = ((self._seen << ahead) & self._full if ahead < self._size else 0) | 1
            self._top = counter
        else:
            self._seen |= 1 << -ahead
