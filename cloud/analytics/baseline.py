"""A viewer's own baseline: what the face shows before anything is shown to it.

Rule B1: the baseline is the mean over the valid seconds (rules S1, S2) of a window of media time; by default the
pre-roll, whose media times are negative. A title with a neutral leader of its own names that window.
Rule B2: it is subtracted when a timeline is read, beside the raw values, which stay.
Rule B3: fewer than five valid seconds are not enough: the baseline is flagged, and a viewer without any valid
second has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from cloud.analytics.seconds import bin_seconds
from cloud.analytics.traces import Float64Array, FrameTrace
from cloud.results.changes import FramesSkipped
from privacy.protocol.expressions import EXPRESSIONS, Expression

SUFFICIENT_SECONDS = 5
WINDOW_MAX_MS = 600_000


class BaselineKind(StrEnum):
    """Which baseline to subtract: none, or the mean of a neutral window."""

    NONE = "none"
    PREROLL = "preroll"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineWindow:
    """Media time [start, end) in which nothing moves the viewer, in ms."""

    start_ms: int = -30_000
    end_ms: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.end_ms - self.start_ms <= WINDOW_MAX_MS:
            raise ValueError("a baseline window ends after it starts, and within ten minutes")


PREROLL = BaselineWindow()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Baseline:
    """What one viewer's window says.

    Attributes:
        window: which media time.
        valid_seconds: how many of its seconds are valid.
        mean: float64 (6,); NaN where there is no valid second, and for an opted-out expression.
    """

    window: BaselineWindow
    valid_seconds: int
    mean: Float64Array

    @property
    def is_sufficient(self) -> bool:
        """Say whether it rests on enough seconds (rule B3)."""
        return self.valid_seconds >= SUFFICIENT_SECONDS


def viewer_baseline(
    trace: FrameTrace,
    window: BaselineWindow = PREROLL,
    *,
    gaps: Sequence[FramesSkipped] = (),
    opted_out: frozenset[Expression] = frozenset(),
) -> Baseline:
    """Take a viewer's baseline (rules B1, B3).

    Args:
        trace: the frames; their order does not matter.
        window: media time to take it from.
        gaps: what is known of frames that are not there.
        opted_out: expressions that the viewer did not allow.
    """
    inside = (trace.media_time_ms >= window.start_ms) & (trace.media_time_ms < window.end_ms)
    part = FrameTrace(**{name: getattr(trace, name)[inside] for name in FrameTrace.__slots__})
    length_ms = window.end_ms - window.start_ms
    bins = bin_seconds(
        replace(part, media_time_ms=(part.media_time_ms - window.start_ms).astype(np.int32)),
        [
            replace(gap, media_time_ms=gap.media_time_ms - window.start_ms)
            for gap in gaps
            if window.start_ms <= gap.media_time_ms < window.end_ms
        ],
        duration_ms=length_ms,
        opted_out=opted_out,
    )
    valid = int(bins.valid.sum())
    mean = bins.probabilities[bins.valid].mean(axis=0) if valid else np.full(len(EXPRESSIONS), np.nan)
    return Baseline(window=window, valid_seconds=valid, mean=mean)


def baseline_document(baseline: Baseline | None) -> dict[str, Any]:
    """Name the baseline for an answer."""
    if baseline is None:
        return {"kind": str(BaselineKind.NONE)}
    return {
        "kind": str(BaselineKind.PREROLL),
        "window_ms": [baseline.window.start_ms, baseline.window.end_ms],
        "valid_seconds": baseline.valid_seconds,
        "is_sufficient": baseline.is_sufficient,
        "mean": {
            str(expression): None if np.isnan(value) else round(float(value), 4)
            for expression, value in zip(EXPRESSIONS, baseline.mean, strict=True)
        },
    }


def changes(probabilities: Float64Array, baseline: Baseline) -> Mapping[str, Float64Array]:
    """Subtract the baseline (rule B2).

    Args:
        probabilities: float64 (n, 6); NaN is missing.
        baseline: the same viewer's.

    Returns:
        By column name (`happy_change`, ...), float64 (n,) in [-1, 1]; NaN where either side is missing.
    """
    differences = probabilities - baseline.mean
    return {f"{expression}_change": differences[:, i] for i, expression in enumerate(EXPRESSIONS)}
