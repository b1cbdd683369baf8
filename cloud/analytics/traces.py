"""What a report is made of: one viewer's frames, gaps, counters and latencies as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud.streams.entries import FLAG_UNCERTAIN
from privacy.protocol.expressions import EXPRESSIONS, Expression

Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
UInt8Array = NDArray[np.uint8]
Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

DEFAULT_STEP_MS = 1_000.0 / 30.0
_STEP_MIN_MS = 1_000.0 / 120.0
_STEP_MAX_MS = 1_000.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameTrace:
    """One viewer's classified frames, ordered by frame number.

    Attributes:
        frame: int64 (n,); number of the captured frame since the session began.
        segment: int32 (n,); playback segment.
        media_time_ms: int32 (n,); position in the title.
        probabilities: uint8 (n, 6); in `EXPRESSIONS` order, each row sums to 255.
        confidence: uint8 (n,); probability of the leading expression x 255.
        attention: uint8 (n,); x 255, 0 where the agent sent none.
        flags: uint8 (n,); bits of `cloud.streams.entries.FLAG_*`.
    """

    frame: Int64Array
    segment: Int32Array
    media_time_ms: Int32Array
    probabilities: UInt8Array
    confidence: UInt8Array
    attention: UInt8Array
    flags: UInt8Array

    @classmethod
    def from_records(cls, records: NDArray[Any]) -> FrameTrace:
        """Take the columns of a structured array whose fields have this class's names."""
        records = records[np.argsort(records["frame"], kind="stable")]
        return cls(
            frame=records["frame"].astype(np.int64),
            segment=records["segment"].astype(np.int32),
            media_time_ms=records["media_time_ms"].astype(np.int32),
            probabilities=records["probabilities"].astype(np.uint8).reshape(-1, len(EXPRESSIONS)),
            confidence=records["confidence"].astype(np.uint8),
            attention=records["attention"].astype(np.uint8),
            flags=records["flags"].astype(np.uint8),
        )

    def __len__(self) -> int:
        return int(self.frame.shape[0])


def is_flagged(trace: FrameTrace, flag: int) -> BoolArray:
    """Say of each frame whether it carries a flag of `cloud.streams.entries.FLAG_*`."""
    return np.asarray((trace.flags & np.uint8(flag)) != 0)


def frame_step_ms(trace: FrameTrace) -> float:
    """Estimate how much media time passes from one captured frame to the next.

    Returns:
        The median over neighbours within a segment, in ms; 1000 / 30 where there are too few. Playing
        at double speed doubles it. Stored frames may be missing between neighbours: their media-time
        difference is divided by their frame difference.
    """
    if len(trace) < 2:
        return DEFAULT_STEP_MS
    order = np.lexsort((trace.frame, trace.segment))
    frames = np.diff(trace.frame[order])
    millis = np.diff(trace.media_time_ms[order].astype(np.int64))
    usable = (np.diff(trace.segment[order]) == 0) & (frames > 0) & (millis > 0)
    if not usable.any():
        return DEFAULT_STEP_MS
    # Neighbours more than a frame apart carry less rounding noise (media time is stored in whole ms).
    weights = frames[usable]
    steps = np.repeat(millis[usable] / weights, np.minimum(weights, 30))
    return float(np.clip(_trimmed_mean(steps), _STEP_MIN_MS, _STEP_MAX_MS))


def share_of_frames(
    trace: FrameTrace, *, opted_out: frozenset[Expression], certain_only: bool = False
) -> dict[Expression, float | None]:
    """Say which share of the classified frames each expression leads.

    Args:
        trace: the frames.
        opted_out: expressions that the viewer did not allow.
        certain_only: count the frames that are not flagged uncertain, and those alone.

    Returns:
        Shares that sum to 1; None for an opted-out expression, and for all where there is no frame.
    """
    counted = trace.probabilities[~is_flagged(trace, FLAG_UNCERTAIN)] if certain_only else trace.probabilities
    if len(counted) == 0:
        return dict.fromkeys(EXPRESSIONS)
    leading = np.bincount(counted.argmax(axis=1), minlength=len(EXPRESSIONS))
    return {
        expression: None if expression in opted_out else float(leading[i]) / len(counted)
        for i, expression in enumerate(EXPRESSIONS)
    }


def _trimmed_mean(values: Float64Array) -> float:
    # quantiles that are values, not mixtures of two: the middle half is never empty
    low, high = np.quantile(values, (0.25, 0.75), method="inverted_cdf")
    return float(values[(values >= low) & (values <= high)].mean())
