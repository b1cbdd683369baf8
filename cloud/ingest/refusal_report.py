"""What ingest still has to tell a sender of its refused datagrams (protocol rule S15)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from privacy.protocol.messages import REFUSAL_REASONS, Refusals

MINOR_WITH_REFUSALS = 1
COUNT_MAX = (1 << 32) - 1


class RefusalReport:
    """Counts by reason since the sender was last told; a sender of an earlier minor version is told nothing."""

    def __init__(self, *, minor: int) -> None:
        self._is_told = minor >= MINOR_WITH_REFUSALS
        self._counts: Counter[str] = Counter()

    def add(self, counts: Mapping[str, int]) -> None:
        """Count refusals; a reason that has no name on the wire is left out."""
        if self._is_told:
            for reason, count in counts.items():
                if reason in REFUSAL_REASONS and count > 0:
                    self._counts[reason] = min(self._counts[reason] + count, COUNT_MAX)

    def take(self) -> Refusals | None:
        """Give what is to be said, None if there is nothing."""
        if not self._counts:
            return None
        counts, self._counts = self._counts, Counter()
        return Refusals(counts=dict(counts))
