"""Whether a clock may decide what is past its time (rule L6).

A clock that is wrong by weeks would have everything deleted that is younger. Deleting for age is therefore held while

* this process's clock and the database's differ by more than `SKEW_MAX`, or
* the clock is more than `STEP_MAX` ahead of when it was last believed: it jumped, or the platform was off for so long.

The second ends when the clock is right again, when an operator names today's date (`CLOCK_CONFIRMED`), or after the
platform has run for `HOLD_MAX` in that state, said so all the time, and nobody objected. Deletions that somebody asked for
are never held.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

SKEW_MAX = timedelta(minutes=5)
STEP_MAX = timedelta(hours=24)
HOLD_MAX = timedelta(hours=48)
CONFIRMED_DAYS = 1


def is_time(now: datetime, *, last: datetime | None, period: timedelta) -> bool:
    """Say whether what was done at `last` is to be done again; a clock that was set back does not put it off."""
    return last is None or not timedelta() <= now - last < period


class ClockGuard:
    """Judges one process's clock, again and again; counts how long it holds by a clock that cannot jump."""

    def __init__(self, *, confirmed: date | None = None) -> None:
        self._confirmed = confirmed
        self._held_since_s: float | None = None

    def objection(
        self, now: datetime, *, database_now: datetime, believed_at: datetime, monotonic_s: float
    ) -> str:
        """Say why deletions for age are held now; "" where they are not.

        Args:
            now: this process's clock.
            database_now: the database's.
            believed_at: when this was last asked and nothing held.
            monotonic_s: seconds of a clock that only runs.
        """
        if abs(now - database_now) > SKEW_MAX:
            return "the clocks of this process and of the database differ"
        if now - believed_at <= STEP_MAX:
            self._held_since_s = None
            return ""
        if self._held_since_s is None:
            self._held_since_s = monotonic_s
        is_confirmed = (
            self._confirmed is not None and abs((now.date() - self._confirmed).days) <= CONFIRMED_DAYS
        )
        if is_confirmed or monotonic_s - self._held_since_s >= HOLD_MAX.total_seconds():
            self._held_since_s = None
            return ""
        return "the clock is far ahead of when it was last believed"
