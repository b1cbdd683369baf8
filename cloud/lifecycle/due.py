"""When what is due, as bounds for the database (rules L1, L4)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from privacy.governance.policy import Artefact, Policy

SEAL_GRACE = timedelta(seconds=3)
"""After a session's end, and after its last frame: what is still on the way arrives first."""

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


def seal_bounds(policy: Policy, now: datetime) -> SealBounds:
    """Return the bounds of sealing: frames stay hot for as long as the policy says, however silent their session is."""
    silence = timedelta(microseconds=policy.ttl_us(Artefact.HOT_FRAMES))
    return SealBounds(closed_before=now - SEAL_GRACE, silent_before=now - silence)


def retention_bounds(policy: Policy, now: datetime) -> RetentionBounds:
    """Return the bounds of retention that a policy sets."""

    def bound(artefact: Artefact) -> datetime:
        return now - timedelta(microseconds=policy.ttl_us(artefact))

    return RetentionBounds(
        hot_frames=bound(Artefact.HOT_FRAMES),
        timeline=bound(Artefact.TIMELINE),
        session_facts=bound(Artefact.SESSION_FACTS),
        consent_evidence=bound(Artefact.CONSENT_EVIDENCE),
        deletion_receipt=bound(Artefact.DELETION_RECEIPT),
        audit_entry=bound(Artefact.AUDIT_ENTRY),
    )


def to_utc_us(moment: datetime) -> int:
    """Return microseconds since the Unix epoch, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)
