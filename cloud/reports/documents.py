"""What the API answers about a session, as plain JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cloud.analytics.baseline import Baseline, changes
from cloud.analytics.gaps import frame_funnel, gap_frames_by_reason
from cloud.analytics.latency import summarise
from cloud.analytics.seconds import bin_seconds, coverage
from cloud.analytics.traces import Float64Array, is_flagged, share_of_frames
from cloud.reports.figures import nullable
from cloud.reports.model_note import model_rows
from cloud.reports.validity import VALIDITY
from cloud.reports.viewers import ViewerTimeline
from cloud.results.changes import FramesSkipped
from cloud.streams.entries import FLAG_GREY, FLAG_LATE, FLAG_OUT_OF_SCOPE, FLAG_UNCERTAIN
from privacy.protocol.expressions import EXPRESSIONS


def second_columns(
    viewer: ViewerTimeline, *, duration_ms: int, baseline: Baseline | None = None
) -> dict[str, list[Any]]:
    """Give the timeline at second resolution as parallel lists (rules S1, S2, S4).

    Args:
        viewer: whose.
        duration_ms: length of the title.
        baseline: the viewer's; adds what the six are above it (rule B2).

    Returns:
        `second`, the six expressions, `confidence`, `attention` (null where missing), `frames`, of these
        `certain` and `out_of_scope`, `uncertain_share` (null without a frame), `expected`, `valid`;
        with a baseline, `happy_change` and so on.
    """
    bins = bin_seconds(viewer.trace, viewer.gaps, duration_ms=duration_ms, opted_out=viewer.opted_out)
    return {
        "second": list(range(len(bins))),
        **{str(e): nullable(bins.probabilities[:, i], digits=4) for i, e in enumerate(EXPRESSIONS)},
        "confidence": nullable(bins.confidence, digits=4),
        "attention": nullable(bins.attention, digits=4),
        "frames": bins.frames.tolist(),
        "certain": bins.certain.tolist(),
        "out_of_scope": bins.out_of_scope.tolist(),
        "uncertain_share": nullable(bins.uncertain_share, digits=4),
        "expected": bins.expected.tolist(),
        "valid": bins.valid.tolist(),
        **_changes(bins.probabilities, baseline),
    }


def frame_columns(
    viewer: ViewerTimeline, *, duration_ms: int, baseline: Baseline | None = None
) -> dict[str, list[Any]]:
    """Give every scored frame as parallel lists.

    Args:
        viewer: whose.
        duration_ms: not needed for frames; frames beyond the title are given as well.
        baseline: the viewer's; adds what the six are above it (rule B2).

    Returns:
        `frame`, `segment`, `media_time_ms`, the six expressions (null where opted out), `confidence`,
        `attention`, and the flags `late`, `grey`, `uncertain`, `out_of_scope`; with a baseline,
        `happy_change` and so on.
    """
    trace = viewer.trace
    count = len(trace)
    shares = (trace.probabilities / 255.0).round(4)
    return {
        "frame": trace.frame.tolist(),
        "segment": trace.segment.tolist(),
        "media_time_ms": trace.media_time_ms.tolist(),
        **{
            str(e): [None] * count if e in viewer.opted_out else shares[:, i].tolist()
            for i, e in enumerate(EXPRESSIONS)
        },
        "confidence": (trace.confidence / 255.0).round(4).tolist(),
        "attention": (trace.attention / 255.0).round(4).tolist(),
        "late": is_flagged(trace, FLAG_LATE).tolist(),
        "grey": is_flagged(trace, FLAG_GREY).tolist(),
        "uncertain": is_flagged(trace, FLAG_UNCERTAIN).tolist(),
        "out_of_scope": is_flagged(trace, FLAG_OUT_OF_SCOPE).tolist(),
        **_changes(trace.probabilities / 255.0, baseline),
    }


def gap_columns(gaps: Sequence[FramesSkipped]) -> dict[str, list[Any]]:
    """Give the gaps as parallel lists, in order of frames."""
    ordered = sorted(gaps, key=lambda gap: gap.first_frame)
    return {
        "first_frame": [gap.first_frame for gap in ordered],
        "last_frame": [gap.last_frame for gap in ordered],
        "segment": [gap.segment for gap in ordered],
        "media_time_ms": [gap.media_time_ms for gap in ordered],
        "reason": [gap.reason for gap in ordered],
    }


def summary_document(viewer: ViewerTimeline, *, duration_ms: int) -> dict[str, Any]:
    """Give the figures of one session."""
    bins = bin_seconds(viewer.trace, viewer.gaps, duration_ms=duration_ms, opted_out=viewer.opted_out)
    funnel = frame_funnel(viewer.trace, gaps=viewer.gaps, counters=viewer.counters)
    return {
        "session_id": viewer.session,
        "duration_ms": duration_ms,
        "validity": VALIDITY,
        "frames": {
            "captured": funnel.captured,
            "with_face": funnel.with_face,
            "sent": funnel.sent,
            "stored": funnel.stored,
            "skipped": funnel.skipped,
            "lost_flagged": funnel.flagged_lost,
            "lost_unflagged": funnel.unflagged_lost,
            "late": int(is_flagged(viewer.trace, FLAG_LATE).sum()),
            "uncertain": int(is_flagged(viewer.trace, FLAG_UNCERTAIN).sum()),
            "out_of_scope": int(is_flagged(viewer.trace, FLAG_OUT_OF_SCOPE).sum()),
        },
        "duplicates": viewer.duplicates,
        "redelivered": viewer.redelivered,
        "models": model_rows(viewer.models),
        "gaps": {"count": len(viewer.gaps), "frames_by_reason": gap_frames_by_reason(viewer.gaps)},
        "seconds": {
            "total": bins.title_seconds,
            "valid": int(bins.valid[: bins.title_seconds].sum()),
            "coverage": round(coverage(bins), 4),
        },
        "latency_ms": {kind: _latency(histogram) for kind, histogram in viewer.latency.items()},
        "share_of_frames": _shares(viewer, certain_only=False),
        "share_of_certain_frames": _shares(viewer, certain_only=True),
        "opted_out": sorted(viewer.opted_out),
    }


def _changes(probabilities: Float64Array, baseline: Baseline | None) -> dict[str, list[Any]]:
    if baseline is None:
        return {}
    return {name: nullable(values, digits=4) for name, values in changes(probabilities, baseline).items()}


def _shares(viewer: ViewerTimeline, *, certain_only: bool) -> dict[str, float | None]:
    shares = share_of_frames(viewer.trace, opted_out=viewer.opted_out, certain_only=certain_only)
    return {str(e): None if share is None else round(share, 4) for e, share in shares.items()}


def _latency(histogram: Sequence[int]) -> dict[str, Any]:
    """Give the percentiles and the histogram of 1-ms bins up to the last that is not empty, for pooling."""
    figures = summarise(histogram)
    filled = max((index + 1 for index, count in enumerate(histogram) if count), default=0)
    return {
        "p50": figures.p50_ms,
        "p95": figures.p95_ms,
        "p99": figures.p99_ms,
        "count": figures.count,
        "histogram": list(histogram[:filled]),
    }
