"""All that a report says of one viewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cloud.analytics.traces import FrameTrace
from cloud.reports.figures import ScheduledExpression
from cloud.results.changes import Counted, FramesSkipped
from cloud.streams.scoring import ScoredFrames
from privacy.protocol.expressions import Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewerTimeline:
    """One viewer's stored results.

    Attributes:
        pseudonym: how the studio calls the viewer.
        session: the session's id, as text.
        trace: stored frames.
        gaps: flagged intervals.
        counters: the agent's totals.
        latency: histograms of 1-ms bins by kind (`classified`, `committed`).
        duplicates: frames that are stored more than once; anything but 0 is a fault.
        redelivered: frames that arrived again after they were stored, and changed nothing.
        models: which models scored the stored frames, in the order in which they began.
        opted_out: expressions that were not read.
        schedule: what a performed viewer was told to show; empty for people.
        remark: one more sentence under the heading.
    """

    pseudonym: str
    session: str
    trace: FrameTrace
    gaps: Sequence[FramesSkipped] = ()
    counters: Counted = field(default_factory=Counted)
    latency: Mapping[str, Sequence[int]] = field(default_factory=dict)
    duplicates: int = 0
    redelivered: int = 0
    models: Sequence[ScoredFrames] = ()
    opted_out: frozenset[Expression] = frozenset()
    schedule: Sequence[ScheduledExpression] = ()
    remark: str = ""
