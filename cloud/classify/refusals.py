"""Why a crop got no score; each is counted and told to its sender (protocol rule S15), none stops the worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

from cloud.streams.ports import CropRefusals
from privacy.protocol.ids import SessionId

SESSIONS_MAX = 4_096
"""Sessions remembered between two tellings; what is refused of more is in the metrics alone."""


class Refusal(StrEnum):
    """Reason that a single crop was not scored: the metrics' label, and one of `RefusalReason` on the wire."""

    ENVELOPE = "envelope"
    STALE = "stale"
    NO_SETUP = "no_setup"
    REVOKED = "revoked"
    SEAL = "seal"
    PAYLOAD = "payload"
    CONTENT = "content"
    SCORES = "scores"
    FACE = "face"


class RefusalTally:
    """Adds up what was refused of each session until it is told."""

    def __init__(self) -> None:
        self._counts: dict[SessionId, Counter[Refusal]] = {}

    def add(self, refused: Mapping[tuple[SessionId, Refusal], int]) -> None:
        """Count refused crops by session and reason."""
        for (session, reason), count in refused.items():
            if session in self._counts or len(self._counts) < SESSIONS_MAX:
                self._counts.setdefault(session, Counter())[reason] += count

    def take(self) -> list[CropRefusals]:
        """Give what was counted since the last time."""
        counts, self._counts = self._counts, {}
        return [
            CropRefusals(session=str(session), counts={reason.value: n for reason, n in found.items()})
            for session, found in counts.items()
        ]
