"""How many frames a camera gave in each second of media time, whatever its rate was.

An agent numbers every frame that it captures and accounts for each, so the numbers that lie between two stored frames
of a segment were captured and are missing. Where they lie in time is taken from the stored frames beside them; before
the first and after the last of these, from the gaps that were reported.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cloud.analytics.traces import Float64Array, FrameTrace, Int64Array, frame_step_ms
from cloud.results.changes import FramesSkipped


def captured_per_second(trace: FrameTrace, gaps: Sequence[FramesSkipped], *, seconds: int) -> Float64Array:
    """Count captured frames by second, stored or missing.

    Args:
        trace: stored frames; their order does not matter.
        gaps: what is known of frames that are not stored.
        seconds: how many seconds from media time 0 on.

    Returns:
        float64 (seconds,). Missing frames lie evenly between their neighbours, so a bin may hold a part of one.
    """
    stored = np.bincount(_bins(trace.media_time_ms.astype(np.int64), seconds), minlength=seconds).astype(
        np.float64
    )
    step_ms = frame_step_ms(trace)
    runs = [_between(trace)]
    if gaps:
        runs.append(_outside(trace, gaps, step_ms=step_ms))
    frames, start_ms, end_ms = (np.concatenate(column) for column in zip(*runs, strict=True))
    return np.asarray(stored + _spread(frames, start_ms, end_ms, seconds=seconds))


_NONE = np.iinfo(np.int64).max

Runs = tuple[Float64Array, Float64Array, Float64Array]
"""Runs of missing frames: how many, and the media time [start, end) in ms in which they lie; each float64 (n,)."""


def _between(trace: FrameTrace) -> Runs:
    """Find the missing frames between stored ones of the same segment."""
    order = np.lexsort((trace.frame, trace.segment))
    frame, at_ms = trace.frame[order], trace.media_time_ms[order].astype(np.float64)
    jump = np.diff(frame)
    missing = (np.diff(trace.segment[order]) == 0) & (jump > 1) & (np.diff(at_ms) >= 0)
    half_ms = np.diff(at_ms)[missing] / jump[missing] / 2
    return (
        (jump[missing] - 1).astype(np.float64),
        at_ms[:-1][missing] + half_ms,
        at_ms[1:][missing] - half_ms,
    )


def _outside(trace: FrameTrace, gaps: Sequence[FramesSkipped], *, step_ms: float) -> Runs:
    """Take from the gaps what lies before the first and after the last stored frame of its segment."""
    segment = np.array([gap.segment for gap in gaps], np.int64)
    first = np.array([gap.first_frame for gap in gaps], np.int64)
    last = np.array([gap.last_frame for gap in gaps], np.int64)
    at_ms = np.array([gap.media_time_ms for gap in gaps], np.float64)
    lowest, highest, lowest_ms = _extent(trace, segment)
    until = np.where(first < lowest, np.minimum(last, lowest - 1), last)
    since = np.where(last > highest, np.maximum(first, highest + 1), first)
    before, after = first < lowest, last > highest
    leading = (until - first + 1)[before]
    # up to the first stored frame, where there is one: a camera may have been slower or faster at its start
    led_ms = np.where(lowest < _NONE, (lowest_ms - at_ms) / np.maximum(lowest - first, 1), step_ms)[before]
    frames = np.concatenate([leading, (last - since + 1)[after & ~before]])
    start_ms = np.concatenate([at_ms[before], (at_ms + (since - first) * step_ms)[after & ~before]])
    steps_ms = np.concatenate([np.maximum(led_ms, 0.0), np.full((after & ~before).sum(), step_ms)])
    return frames.astype(np.float64), start_ms, start_ms + frames * steps_ms


def _extent(trace: FrameTrace, segment: Int64Array) -> tuple[Int64Array, Int64Array, Float64Array]:
    """Return, for each of these segments, its lowest and highest stored frame, with the media time of the lowest.

    A segment without a stored frame has an empty range: from `_NONE` to -1.
    """
    known, place = np.unique(trace.segment, return_inverse=True)
    low = np.full(len(known) + 1, _NONE)
    high = np.full(len(known) + 1, -1)
    np.minimum.at(low, place, trace.frame)
    np.maximum.at(high, place, trace.frame)
    low_ms = np.zeros(len(known) + 1)
    is_lowest = trace.frame == low[place]
    low_ms[place[is_lowest]] = trace.media_time_ms[is_lowest]
    at = np.searchsorted(known, segment)
    at = np.where((at < len(known)) & (np.append(known, -1)[at] == segment), at, len(known))
    return low[at], high[at], low_ms[at]


def _spread(
    frames: Float64Array, start_ms: Float64Array, end_ms: Float64Array, *, seconds: int
) -> Float64Array:
    """Spread each run evenly over its time and add up by second; cost grows with runs and seconds, not their product."""
    lasts = end_ms > start_ms
    at_once = np.bincount(
        _bins(start_ms[~lasts], seconds),
        weights=_inside(frames[~lasts], start_ms[~lasts], seconds),
        minlength=seconds,
    )
    per_ms = frames[lasts] / (end_ms[lasts] - start_ms[lasts])
    times = np.concatenate([start_ms[lasts], end_ms[lasts]])
    slopes = np.concatenate([per_ms, -per_ms])
    order = np.argsort(times, kind="stable")
    times, slope = times[order], np.cumsum(slopes[order])
    if len(times) == 0:
        return np.asarray(at_once, np.float64)
    total = np.concatenate([[0.0], np.cumsum(slope[:-1] * np.diff(times))])
    edges = np.interp(np.arange(seconds + 1) * 1_000.0, times, total, left=0.0, right=total[-1])
    return np.asarray(at_once + np.diff(edges))


def _bins(at_ms: Float64Array | Int64Array, seconds: int) -> Int64Array:
    bins = at_ms.astype(np.int64) // 1_000
    return bins[(bins >= 0) & (bins < seconds)]


def _inside(values: Float64Array, at_ms: Float64Array, seconds: int) -> Float64Array:
    bins = at_ms.astype(np.int64) // 1_000
    return values[(bins >= 0) & (bins < seconds)]
