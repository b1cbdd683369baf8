"""Keep to the clock: which frames have passed, when to try a lost camera again."""

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
