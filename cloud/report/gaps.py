"""Gaps of a timeline, as bands of media time that a reader can see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cloud.report.traces import FrameCounters, FrameGap, FrameTrace, Int64Array

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
    "nothing_received": "nothing received (not watched yet, or the agent left)",
}
"""What a reason means to a reader; an unknown one is shown as it is."""


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


def gap_bands(gaps: Sequence[FrameGap], *, step_ms: float, join_ms: int = 250) -> list[GapBand]:
    """Turn gaps into bands; those of one reason less than `join_ms` apart become one."""
    bands: list[GapBand] = []
    for gap in sorted(gaps, key=lambda g: (g.media_time_ms, g.first_frame)):
        start = max(0, gap.media_time_ms)
        end = start + max(1, round(gap.frames * step_ms))
        last = bands[-1] if bands else None
        if last and last.reason == gap.reason and start - last.end_ms < join_ms:
            bands[-1] = GapBand(
                start_ms=last.start_ms,
                end_ms=max(last.end_ms, end),
                frames=last.frames + gap.frames,
                reason=gap.reason,
            )
        else:
            bands.append(GapBand(start_ms=start, end_ms=end, frames=gap.frames, reason=gap.reason))
    return bands


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
    for band in bands:
        is_silent[band.start_ms // 1_000 : -(-band.end_ms // 1_000)] = False
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


def gap_frames_by_reason(gaps: Sequence[FrameGap]) -> dict[str, int]:
    """Count missing frames by reason, most frequent first."""
    totals: Counter[str] = Counter()
    for gap in gaps:
        totals[gap.reason] += gap.frames
    return dict(totals.most_common())


def frame_funnel(trace: FrameTrace, *, gaps: Sequence[FrameGap], counters: FrameCounters) -> FrameFunnel:
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
