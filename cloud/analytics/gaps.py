"""Gaps of a timeline, as bands of media time that a reader can see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cloud.analytics.traces import FrameTrace, Int64Array
from cloud.results.changes import Counted, FramesSkipped

REASON_TEXT = {
    "no_face": "no face in view",
    "second_face": "a second face in view",
    "ambiguous_track": "the viewer's face could not be told apart",
    "low_quality": "face too blurred or turned away",
    "dark": "too dark",
    "too_large": "crop would not fit one message",
    "busy_channel": "network busy",
    "not_connected": "not connected",
    "camera_lost": "camera lost",
    "overload": "viewer's machine overloaded",
    "withdrawn": "consent withdrawn",
    "lost": "lost on the way",
    "stale": "too old when it arrived",
    "not_reported": "reason not reported",
    "several_reasons": "several reasons, too close together to show each",
    "nothing_received": "nothing received (not watched yet, or the agent left)",
}
"""What a reason means to a reader; an unknown one is shown as it is."""


BANDS_DRAWN_MAX = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GapBand:
    """Neighbouring gaps of one reason drawn as one band of media time [start, end).

    `frames` is 0 where nobody knows how many there would have been.
    """

    start_ms: int
    end_ms: int
    frames: int
    reason: str

    @property
    def text(self) -> str:
        """Say it to a reader."""
        return REASON_TEXT.get(self.reason, self.reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFunnel:
    """Where captured frames went; every captured frame is in exactly one of the parts.

    Attributes:
        captured: frames the camera gave.
        with_face: of these, frames that showed a face.
        sent: of these, frames sealed and handed to the network.
        stored: frames whose scores are in the store.
        skipped: captured but not sent, by reason; sums to captured - sent.
        flagged_lost: sent, not stored, and reported in a gap.
        unflagged_lost: sent, not stored, and in no gap; 0 in a sound session.
    """

    captured: int
    with_face: int
    sent: int
    stored: int
    skipped: dict[str, int]
    flagged_lost: int
    unflagged_lost: int


def gap_bands(gaps: Sequence[FramesSkipped], *, step_ms: float, join_ms: int = 250) -> list[GapBand]:
    """Turn gaps into bands; those of one reason less than `join_ms` apart become one."""
    joined: list[list[Any]] = []
    for gap in sorted(gaps, key=lambda g: (g.media_time_ms, g.first_frame)):
        start, frames, reason = max(0, gap.media_time_ms), gap.frames, gap.reason
        end = start + max(1, round(frames * step_ms))
        last = joined[-1] if joined else None
        if last and last[3] == reason and start - last[1] < join_ms:
            last[1] = max(last[1], end)
            last[2] += frames
        else:
            joined.append([start, end, frames, reason])
    return [
        GapBand(start_ms=start, end_ms=end, frames=frames, reason=reason)
        for start, end, frames, reason in joined
    ]


def drawn_bands(bands: Sequence[GapBand], *, most: int = BANDS_DRAWN_MAX) -> Sequence[GapBand]:
    """Give the bands as a figure can show them: where there are more than `most`, neighbours become one.

    Args:
        bands: in order of their beginnings.
        most: how many a reader can tell apart, and a browser can draw.

    Returns:
        The very same bands if there are few enough; else those that begin in the same one of `most` equal parts of
        the time as one band, of "several_reasons" unless all have one.
    """
    if len(bands) <= most:
        return bands
    begin_ms = bands[0].start_ms
    part_ms = (max(band.start_ms for band in bands) - begin_ms) // most + 1
    parts: dict[int, list[GapBand]] = {}
    for band in bands:
        parts.setdefault((band.start_ms - begin_ms) // part_ms, []).append(band)
    return [
        GapBand(
            start_ms=part[0].start_ms,
            end_ms=max(band.end_ms for band in part),
            frames=sum(band.frames for band in part),
            reason=part[0].reason if len({band.reason for band in part}) == 1 else "several_reasons",
        )
        for part in parts.values()
    ]


def reasons_by_second(bands: Sequence[GapBand], *, seconds: int) -> list[list[str]]:
    """Say for each second which reasons touch it, in the order of the bands.

    The cost grows with the bands and the seconds, not with their product.

    Args:
        bands: in order of their beginnings.
        seconds: how many seconds from media time 0 on.
    """
    starts = np.array([band.start_ms for band in bands], np.int64)
    ends = np.array([band.end_ms for band in bands], np.int64)
    numbers: dict[str, list[int]] = {}
    for number, band in enumerate(bands):
        numbers.setdefault(band.reason, []).append(number)
    begin_ms = np.arange(seconds, dtype=np.int64) * 1_000
    found: list[list[tuple[int, str]]] = [[] for _ in range(seconds)]
    for reason, own in numbers.items():
        of_reason = np.array(own)
        # The first of them that has not ended when a second begins touches it if any does: they are in order.
        first = np.searchsorted(np.maximum.accumulate(ends[of_reason]), begin_ms, side="right")
        open_then = np.flatnonzero(first < len(of_reason))
        first_number = of_reason[first[open_then]]
        touching = starts[first_number] < begin_ms[open_then] + 1_000
        for second, number in zip(open_then[touching].tolist(), first_number[touching].tolist(), strict=True):
            found[second].append((number, reason))
    return [[reason for _, reason in sorted(reasons)] for reasons in found]


def silent_bands(
    frames: Int64Array, bands: Sequence[GapBand], *, title_seconds: int, duration_ms: int
) -> list[GapBand]:
    """Find the parts of a title of which there is neither a frame nor a gap that says why.

    Args:
        frames: int64 (n,); frames found in each second.
        bands: gaps with a reason.
        title_seconds: how many of the seconds belong to the title.
        duration_ms: length of the title.
    """
    is_silent = frames[:title_seconds] == 0
    told = reasons_by_second(bands, seconds=len(is_silent))
    is_silent &= np.array([not reasons for reasons in told], dtype=bool)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_silent, [False]]).astype(np.int8)))
    return [
        GapBand(
            start_ms=int(first) * 1_000,
            end_ms=min(int(last) * 1_000, duration_ms),
            frames=0,
            reason="nothing_received",
        )
        for first, last in edges.reshape(-1, 2)
    ]


def gap_frames_by_reason(gaps: Sequence[FramesSkipped]) -> dict[str, int]:
    """Count missing frames by reason, most frequent first."""
    totals: Counter[str] = Counter()
    for gap in gaps:
        totals[gap.reason] += gap.frames
    return dict(totals.most_common())


def frame_funnel(trace: FrameTrace, *, gaps: Sequence[FramesSkipped], counters: Counted) -> FrameFunnel:
    """Account for every captured frame.

    Before the agent's counters arrive, what is known from frames and gaps stands in for them.
    """
    stored = len(trace)
    skipped = {reason: count for reason, count in counters.skipped.items() if count > 0}
    sent = max(counters.sent, stored)
    captured = max(counters.captured, sent + sum(skipped.values()))
    unexplained = captured - sent - sum(skipped.values())
    if unexplained > 0:
        skipped["not_reported"] = unexplained
    lost = sent - stored
    in_gaps = sum(gap.frames for gap in gaps)
    flagged = min(lost, max(0, in_gaps - (captured - sent)))
    return FrameFunnel(
        captured=captured,
        with_face=min(captured, max(counters.with_face, sent)),
        sent=sent,
        stored=stored,
        skipped=dict(sorted(skipped.items(), key=lambda item: -item[1])),
        flagged_lost=flagged,
        unflagged_lost=lost - flagged,
    )
