"""When what is due, as bounds for the database (rules L1, L4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from privacy.policy import Artefact, Policy
from privacy.retention import cutoff_utc_us

SEAL_GRACE = timedelta(seconds=3)
"""After a session's end, and after its last frame: what is still on the way arrives first."""

SILENCE = timedelta(seconds=60)
"""A pack without a new frame for this long is sealed; a live session silent for this long is lost."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SealBounds:
    """What was last touched before these is sealed.

    Attributes:
        closed_before: sessions that ended earlier.
        silent_before: packs of any session, and live sessions, that were silent since.
    """

    closed_before: datetime
    silent_before: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionBounds:
    """Anchors at or before these are past their time to live."""

    hot_frames: datetime
    timeline: datetime
    session_facts: datetime
    consent_evidence: datetime
    deletion_receipt: datetime
    audit_entry: datetime


def seal_bounds(now: datetime) -> SealBounds:
    """Give the bounds of sealing."""
    return SealBounds(closed_before=now - SEAL_GRACE, silent_before=now - SILENCE)


def retention_bounds(policy: Policy, now: datetime) -> RetentionBounds:
    """Give the bounds of retention that a policy sets."""

    def bound(artefact: Artefact) -> datetime:
        return from_utc_us(cutoff_utc_us(artefact, now_utc_us=to_utc_us(now), policy=policy))

    return RetentionBounds(
        hot_frames=bound(Artefact.HOT_FRAMES),
        timeline=bound(Artefact.TIMELINE),
        session_facts=bound(Artefact.SESSION_FACTS),
        consent_evidence=bound(Artefact.CONSENT_EVIDENCE),
        deletion_receipt=bound(Artefact.DELETION_RECEIPT),
        audit_entry=bound(Artefact.AUDIT_ENTRY),
    )


def to_utc_us(moment: datetime) -> int:
    """Give microseconds since the Unix epoch, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def from_utc_us(utc_us: int) -> datetime:
    """Give the moment of microseconds since the Unix epoch, exactly."""
    return _EPOCH + timedelta(microseconds=utc_us)
