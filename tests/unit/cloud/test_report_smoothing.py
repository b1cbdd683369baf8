from __future__ import annotations

import csv
import io

import numpy as np

from cloud.analytics.traces import FrameTrace
from cloud.reports.smoothing import (
    Smoothing,
    elapsed_ms,
    installed_filter,
    kernel_document,
    smooth_viewer,
)
from cloud.reports.tables import frames_csv
from cloud.reports.viewers import ViewerTimeline
from cloud.streams.entries import FLAG_OUT_OF_SCOPE, FLAG_UNCERTAIN
from models.expression.temporal import FilterSettings
from privacy.protocol.expressions import Expression

SETTINGS = FilterSettings(dwell_ms=2_000, memory_ms=100)


def trace_of(
    leading: list[int], *, frame: list[int] | None = None, segment: list[int] | None = None
) -> FrameTrace:
    count = len(leading)
    probabilities = np.full((count, 6), 5, np.uint8)
    probabilities[np.arange(count), leading] = 230
    frames = np.array(frame if frame is not None else range(count), np.int64)
    return FrameTrace(
        frame=frames,
        segment=np.array(segment or [0] * count, np.int32),
        media_time_ms=(frames * 1000 // 30).astype(np.int32),
        probabilities=probabilities,
        confidence=np.full(count, 230, np.uint8),
        attention=np.zeros(count, np.uint8),
        flags=np.zeros(count, np.uint8),
    )


def viewer_of(trace: FrameTrace, *opted_out: Expression) -> ViewerTimeline:
    return ViewerTimeline(pseudonym="v", session="s", trace=trace, opted_out=frozenset(opted_out))


def test_raw_is_what_is_stored() -> None:
    viewer = viewer_of(trace_of([0, 2, 0]))
    assert smooth_viewer(viewer, Smoothing.RAW, SETTINGS) is viewer


def test_a_slip_of_one_frame_is_gone_and_the_stored_bytes_are_as_they_were() -> None:
    viewer = viewer_of(trace_of([0] * 20 + [2] + [0] * 20))
    before = viewer.trace.probabilities.tobytes()
    smoothed = smooth_viewer(viewer, Smoothing.HMM, SETTINGS).trace
    assert (smoothed.probabilities.argmax(axis=1) == 0).all()
    assert (smoothed.probabilities.sum(axis=1, dtype=int) == 255).all()
    leading = smoothed.probabilities.max(axis=1).astype(int)
    assert np.abs(smoothed.confidence - leading).max() <= 1
    assert viewer.trace.probabilities.tobytes() == before


def test_time_runs_by_the_film_or_by_frames_where_it_stands_and_segments_begin_anew() -> None:
    trace = trace_of([0] * 6, frame=[0, 1, 4, 5, 6, 7], segment=[0, 0, 0, 1, 1, 1])
    trace.media_time_ms[:] = [0, 33, 133, 500, 500, 400]
    elapsed = elapsed_ms(trace)
    np.testing.assert_allclose(elapsed, [np.inf, 33, 100, np.inf, 1000 / 30, np.inf])


def test_an_expression_that_was_opted_out_stays_out() -> None:
    trace = trace_of([0] * 10)
    trace.probabilities[:, 1] = 0
    trace.probabilities[:, 0] += 5
    smoothed = smooth_viewer(viewer_of(trace, Expression.SAD), Smoothing.HMM, SETTINGS).trace
    assert not smoothed.probabilities[:, 1].any()
    assert (smoothed.probabilities.sum(axis=1, dtype=int) == 255).all()


def test_frames_of_none_of_the_six_do_not_pull_the_filter() -> None:
    trace = trace_of([0] * 10 + [2] * 5)
    trace.flags[10:] = FLAG_OUT_OF_SCOPE | FLAG_UNCERTAIN
    smoothed = smooth_viewer(viewer_of(trace), Smoothing.HMM, SETTINGS).trace
    assert (smoothed.probabilities[:, 2] < 60).all()
    assert (smoothed.flags == trace.flags).all()


def test_an_answer_names_the_kernel_and_what_it_waits_for() -> None:
    assert kernel_document(Smoothing.RAW, SETTINGS) == {"kernel": "raw"}
    named = kernel_document(Smoothing.HMM, SETTINGS)
    assert named["kernel"] == "hmm" and named["look_ahead_ms"] == 0
    assert (named["dwell_ms"], named["memory_ms"]) == (2_000, 100)
    assert installed_filter().memory_ms > 0


def test_a_session_without_frames_is_smoothed_to_nothing() -> None:
    viewer = smooth_viewer(viewer_of(trace_of([])), Smoothing.HMM, SETTINGS)
    assert list(csv.reader(io.StringIO(frames_csv(viewer, duration_ms=1000))))[1:] == []
