"""What becomes of entries that are delivered again, and how long a failing writer waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cloud.streams.ports import DELIVERIES_MAX, DeadLetter, Delivery

BACKOFF_FIRST_MS = 50
BACKOFF_MAX_MS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Triage:
    """Entries to work on, and entries to give up."""

    work: tuple[Delivery, ...]
    dead: tuple[DeadLetter, ...]


def triage(deliveries: Sequence[Delivery]) -> Triage:
    """Separate what may be tried (again) from what has killed or stalled its readers too often."""
    return Triage(
        work=tuple(d for d in deliveries if d.deliveries <= DELIVERIES_MAX),
        dead=tuple(
            DeadLetter(delivery=d, reason="unfinished after every delivery")
            for d in deliveries
            if d.deliveries > DELIVERIES_MAX
        ),
    )


def backoff_ms(attempt: int, *, jitter: float) -> int:
    """Say how long to wait after failure number `attempt` (from 0).

    Args:
        attempt: failures in a row before this one.
        jitter: uniform in [0, 1); spreads many writers over the upper half of the wait.

    Returns:
        25 to 1,000 ms.
    """
    full_ms = min(BACKOFF_FIRST_MS << min(attempt, 10), BACKOFF_MAX_MS)
    return int(full_ms * (0.5 + jitter / 2))
