"""What the self-made viewer shows at each moment, known in advance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TRANSITION_MS = 400
"""An expression is reached this long after its moment begins, and starts to fade when the moment ends."""

SETTLE_MS = 200
"""Frames this soon after a transition are not judged: a face between two expressions shows neither."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One expression from `start_ms` to `end_ms` of media time, the change to it included."""

    start_ms: int
    end_ms: int
    expression: str

    @property
    def settled_from_ms(self) -> int:
        """Media time from which the expression is fully there."""
        return self.start_ms + TRANSITION_MS + SETTLE_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The moments of one performance, in order and without holes."""

    moments: tuple[Moment, ...]

    @property
    def duration_ms(self) -> int:
        """End of the last moment, in milliseconds."""
        return self.moments[-1].end_ms

    def moment_at(self, media_time_ms: float) -> int:
        """Return the index of the moment that holds `media_time_ms`; the last one's beyond the end."""
        for index, moment in enumerate(self.moments):
            if media_time_ms < moment.end_ms:
                return index
        return len(self.moments) - 1

    def settled_expression(self, media_time_ms: float) -> str | None:
        """Return the expression shown at `media_time_ms`; None during a change and beyond the end."""
        if not 0 <= media_time_ms < self.duration_ms:
            return None
        moment = self.moments[self.moment_at(media_time_ms)]
        return moment.expression if media_time_ms >= moment.settled_from_ms else None


def make_schedule(expressions: Sequence[str], *, each_ms: int) -> Schedule:
    """Return a schedule that shows each expression for `each_ms`, in the order given."""
    return Schedule(
        moments=tuple(
            Moment(start_ms=index * each_ms, end_ms=(index + 1) * each_ms, expression=name)
            for index, name in enumerate(expressions)
        )
    )


def balanced_agreement(
    schedule: Schedule, times_ms: Sequence[float], read: Sequence[str]
) -> dict[str, float]:
    """Compare what was read with what was shown.

    Args:
        schedule: what was shown.
        times_ms: media time of each frame, in milliseconds.
        read: the expression read from each frame.

    Returns:
        For each expression shown, the share of its settled frames that were read as it; under `balanced` the mean of
        these shares. An expression of which no frame arrived counts as 0.
    """
    hits = dict.fromkeys(sorted({moment.expression for moment in schedule.moments}), 0)
    seen = dict(hits)
    for time_ms, name in zip(times_ms, read, strict=True):
        shown = schedule.settled_expression(time_ms)
        if shown is not None:
            seen[shown] += 1
            hits[shown] += name == shown
    shares = {name: hits[name] / seen[name] if seen[name] else 0.0 for name in hits}
    return {**shares, "balanced": sum(shares.values()) / len(shares)}


def write_schedule(schedule: Schedule, path: Path) -> None:
    """Write the schedule as JSON, times in milliseconds of media time."""
    moments = [
        {
            "start_ms": moment.start_ms,
            "settled_from_ms": moment.settled_from_ms,
            "end_ms": moment.end_ms,
            "expression": moment.expression,
        }
        for moment in schedule.moments
    ]
    path.write_text(json.dumps({"duration_ms": schedule.duration_ms, "moments": moments}, indent=2) + "\n")
