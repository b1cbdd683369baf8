"""Decide what is due for deletion at a given time (protocol rule R5); all times in UTC microseconds."""

from __future__ import annotations

from collections.abc import Iterable

from privacy.policy import Anchor, Artefact, Policy


def due_at_utc_us(
    artefact: Artefact, *, created_utc_us: int, closed_utc_us: int | None, policy: Policy
) -> int | None:
    """Give the time from which on an artefact must be gone, None while its session is open.

    Args:
        artefact: what is kept.
        created_utc_us: when it came to be.
        closed_utc_us: when its session ended, None while it is open.
        policy: in force.
    """
    rule = policy.retention[artefact]
    start = created_utc_us if rule.anchor is Anchor.CREATED else closed_utc_us
    return None if start is None else start + rule.ttl_us


def due(
    artefact: Artefact, *, created_utc_us: int, closed_utc_us: int | None, now_utc_us: int, policy: Policy
) -> bool:
    """Say whether an artefact must be deleted now."""
    limit = due_at_utc_us(artefact, created_utc_us=created_utc_us, closed_utc_us=closed_utc_us, policy=policy)
    return limit is not None and now_utc_us >= limit


def cutoff_utc_us(artefact: Artefact, *, now_utc_us: int, policy: Policy) -> int:
    """Give the time at or before which an anchor makes an artefact due: the bound of a DELETE."""
    return now_utc_us - policy.ttl_us(artefact)


def lag_us(
    artefact: Artefact, *, created_utc_us: int, closed_utc_us: int | None, now_utc_us: int, policy: Policy
) -> int:
    """Give for how long an artefact that still exists is overdue, 0 if it is not."""
    limit = due_at_utc_us(artefact, created_utc_us=created_utc_us, closed_utc_us=closed_utc_us, policy=policy)
    return 0 if limit is None else max(0, now_utc_us - limit)


def worst_lag_us(
    artefact: Artefact, anchors_utc_us: Iterable[int], *, now_utc_us: int, policy: Policy
) -> int:
    """Give the largest lag over the anchor times of everything of one kind that still exists."""
    cutoff = cutoff_utc_us(artefact, now_utc_us=now_utc_us, policy=policy)
    return max((max(0, cutoff - anchor) for anchor in anchors_utc_us), default=0)
