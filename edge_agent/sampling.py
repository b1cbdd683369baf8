"""Keep to the clock: which frames have passed, when to try again, when to look less often."""

from __future__ import annotations

REOPEN_FIRST_US = 250_000
REOPEN_LAST_US = 4_000_000


def overrun_frames(late_us: int, *, period_us: float, tolerance_frames: int) -> int:
    """Return how many whole frames have passed unread.

    Args:
        late_us: time since the frame at hand was due.
        period_us: time between frames.
        tolerance_frames: lateness up to this many frames is jitter, not loss.
    """
    frames = int(late_us / period_us)
    return frames if frames > tolerance_frames else 0


def reopen_wait_us(attempt: int) -> int:
    """Return how long to wait before opening a lost camera again: doubling, up to four seconds."""
    return min(REOPEN_LAST_US, REOPEN_FIRST_US << min(attempt, 10))


class LoadShedder:
    """Skips frames while the machine cannot keep up, so that every frame that is looked at is fresh.

    A frame that waited longer than `stale_us` before its turn would miss its deadline anyway.

    Args:
        stale_us: oldest a frame may be when its turn comes.
    """

    def __init__(self, *, stale_us: int = 60_000) -> None:
        self._stale_us = stale_us

    def is_stale(self, *, captured_us: int, now_us: int) -> bool:
        """Tell whether to drop a frame instead of looking at it."""
        return now_us - captured_us > self._stale_us
