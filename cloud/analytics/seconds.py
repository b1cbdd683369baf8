"""Second bins of one viewer's timeline.

Rule S1: a bin holds the frames whose media time lies in [s, s + 1) seconds; its value is the median of
its frames, expression by expression (so the six need not sum to exactly 1).
Rule S2: a bin is valid if at least half of the frames that were captured in it are there; otherwise its value is
missing, never 0, and no gap is filled. A second without a gap is valid at any frame rate.
Rule S3: smoothing is one fixed Gaussian kernel (sigma 1 bin); missing bins stay missing and do not
spread into their neighbours.
Rule S4: uncertain frames (low confidence, or out of scope) take part in the medians and are counted beside
them: a reader sees how much of a second is certain, and nothing is dropped silently.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloud.analytics.captured import captured_per_second
from cloud.analytics.traces import BoolArray, Float64Array, FrameTrace, Int64Array
from cloud.results.changes import FramesSkipped
from cloud.streams.entries import FLAG_OUT_OF_SCOPE, FLAG_UNCERTAIN
from privacy.protocol.expressions import EXPRESSIONS, Expression

VALID_SHARE = 0.5
SMOOTHING_SIGMA_BINS = 1.0
_KERNEL_REACH_BINS = 3
BINS_MAX = 24 * 3_600


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SecondBins:
    """One viewer's timeline at second resolution.

    Attributes:
        probabilities: float64 (n, 6) in [0, 1]; NaN where the bin is not valid or the viewer opted out.
        confidence: float64 (n,) in [0, 1]; NaN where not valid.
        attention: float64 (n,) in [0, 1]; NaN where not valid.
        frames: int64 (n,); frames found in the bin.
        certain: int64 (n,); of these, frames that are not flagged uncertain.
        out_of_scope: int64 (n,); of these, frames that show none of the six; each is uncertain as well.
        expected: int64 (n,); frames captured in the bin, stored or missing; 0 where nothing is known of it.
        valid: bool (n,).
        title_seconds: how many of the bins belong to the title; frames beyond its end have further ones.
    """

    probabilities: Float64Array
    confidence: Float64Array
    attention: Float64Array
    frames: Int64Array
    certain: Int64Array
    out_of_scope: Int64Array
    expected: Int64Array
    valid: BoolArray
    title_seconds: int

    def __len__(self) -> int:
        return int(self.frames.shape[0])

    @property
    def uncertain_share(self) -> Float64Array:
        """Share of each bin's frames that are uncertain, float64 (n,); NaN where there is no frame."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(1.0 - self.certain / self.frames)


def bin_seconds(
    trace: FrameTrace,
    gaps: Sequence[FramesSkipped] = (),
    *,
    duration_ms: int,
    opted_out: frozenset[Expression] = frozenset(),
) -> SecondBins:
    """Fold frames into 1-s bins of media time (rules S1, S2, S4).

    Args:
        trace: the frames; their order does not matter.
        gaps: what is known of frames that are not there.
        duration_ms: length of the title; frames beyond it are kept in further bins.
        opted_out: expressions the viewer did not allow; their column is NaN throughout.
    """
    inside = trace.media_time_ms >= 0
    bins = trace.media_time_ms[inside].astype(np.int64) // 1_000
    last_seen = int(bins.max()) + 1 if bins.size else 0
    title_seconds = math.ceil(duration_ms / 1_000)
    count = min(max(title_seconds, last_seen), BINS_MAX)
    values = np.concatenate(
        [
            trace.probabilities[inside] / 255.0,
            trace.confidence[inside, None] / 255.0,
            trace.attention[inside, None] / 255.0,
        ],
        axis=1,
    )
    flags = trace.flags[inside]
    frames = _count(bins, count)
    expected = np.round(captured_per_second(trace, gaps, seconds=count)).astype(np.int64)
    valid = (frames > 0) & (frames >= VALID_SHARE * expected)
    medians = _medians(values, bins, count)
    medians[~valid] = np.nan
    for i, expression in enumerate(EXPRESSIONS):
        if expression in opted_out:
            medians[:, i] = np.nan
    six = len(EXPRESSIONS)
    return SecondBins(
        probabilities=medians[:, :six],
        confidence=medians[:, six],
        attention=medians[:, six + 1],
        frames=frames,
        certain=_count(bins[(flags & FLAG_UNCERTAIN) == 0], count),
        out_of_scope=_count(bins[(flags & FLAG_OUT_OF_SCOPE) != 0], count),
        expected=expected,
        valid=valid,
        title_seconds=title_seconds,
    )


def smooth(series: Float64Array) -> Float64Array:
    """Smooth along the first axis with the fixed kernel (rule S3).

    Args:
        series: float64 (n,) or (n, m); NaN is missing.

    Returns:
        The same shape, NaN exactly where `series` is.
    """
    offsets = np.arange(-_KERNEL_REACH_BINS, _KERNEL_REACH_BINS + 1)
    kernel = np.exp(-0.5 * (offsets / SMOOTHING_SIGMA_BINS) ** 2)
    present = ~np.isnan(series)
    filled = np.where(present, series, 0.0)
    total = np.zeros_like(filled)
    weight = np.zeros_like(filled)
    length = series.shape[0]
    for offset, share in zip(offsets, kernel, strict=True):
        to = slice(max(0, -offset), min(length, length - offset))
        source = slice(max(0, offset), min(length, length + offset))
        if to.start >= to.stop:
            continue
        total[to] += share * filled[source]
        weight[to] += share * present[source]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(present, total / weight, np.nan)


def coverage(bins: SecondBins) -> float:
    """Give the share of the title's seconds that are valid; 0 for an empty title."""
    return float(bins.valid[: bins.title_seconds].mean()) if bins.title_seconds and len(bins) else 0.0


def _count(bins: Int64Array, count: int) -> Int64Array:
    return np.bincount(bins[bins < count], minlength=count).astype(np.int64)


def _medians(values: Float64Array, bins: Int64Array, count: int) -> Float64Array:
    medians = np.full((count, values.shape[1]), np.nan)
    order = np.argsort(bins, kind="stable")
    sorted_bins = bins[order]
    edges = np.searchsorted(sorted_bins, np.arange(count + 1))
    for second in range(count):
        low, high = edges[second], edges[second + 1]
        if high > low:
            medians[second] = np.median(values[order[low:high]], axis=0)
    return medians
