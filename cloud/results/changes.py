"""What the agent and ingest report about a session, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from privacy.protocol.ids import SessionId, TenantId


class EndKind(StrEnum):
    """How a session ended."""

    CLOSED = "closed"
    LOST = "lost"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """A peer took the session over at this epoch."""

    epoch: int
    at_utc_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The peer of this epoch is gone."""

    epoch: int
    at_utc_us: int
    kind: EndKind


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentBegan:
    """A playback segment."""

    segment: int
    media_time_ms: int
    monotonic_us: int
    rate_permille: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesSkipped:
    """A gap, first to last inclusive."""

    first_frame: int
    last_frame: int
    segment: int
    media_time_ms: int
    reason: str

    @property
    def frames(self) -> int:
        """How many frames are missing."""
        return self.last_frame - self.first_frame + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """The agent's totals; the larger `captured` is the later."""

    captured: int = 0
    with_face: int = 0
    sent: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)


Change = Connected | Ended | SegmentBegan | FramesSkipped | Counted


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionChange:
    """A change with whom it concerns."""

    tenant: TenantId
    session: SessionId
    change: Change
