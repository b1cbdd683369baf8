from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.analytics.baseline import (
    Baseline,
    BaselineWindow,
    baseline_document,
    changes,
    viewer_baseline,
)
from cloud.analytics.seconds import bin_seconds
from cloud.analytics.traces import FrameTrace
from cloud.reports.documents import frame_columns, second_columns
from cloud.reports.panels import baseline_table
from cloud.reports.tables import frames_csv, seconds_csv
from cloud.reports.viewers import ViewerTimeline
from privacy.protocol.expressions import Expression

STEP_MS = 1_000 / 30


def trace_of(seconds: dict[int, int], *, missing: frozenset[int] = frozenset()) -> FrameTrace:
    """Frames at 30 a second; `seconds` says how happy (0..255) each second of media time is."""
    frames, times, happy = [], [], []
    for second, value in seconds.items():
        for frame in range(30):
            if second * 30 + frame not in missing:
                frames.append(second * 30 + frame - 30 * min(seconds))
                times.append(second * 1_000 + round(frame * STEP_MS))
                happy.append(value)
    probabilities = np.zeros((len(times), 6), np.uint8)
    probabilities[:, 0] = happy
    probabilities[:, 5] = 255 - np.array(happy)
    count = len(times)
    return FrameTrace(
        frame=np.array(frames, np.int64),
        segment=np.zeros(count, np.int32),
        media_time_ms=np.array(times, np.int32),
        probabilities=probabilities,
        confidence=np.full(count, 255, np.uint8),
        attention=np.zeros(count, np.uint8),
        flags=np.zeros(count, np.uint8),
    )


PREROLL_AND_TITLE = dict.fromkeys(range(-6, 0), 51) | {0: 51, 1: 255, 2: 0}


def test_the_baseline_is_the_mean_of_the_seconds_before_the_title() -> None:
    baseline = viewer_baseline(trace_of(PREROLL_AND_TITLE))
    assert (baseline.valid_seconds, baseline.is_sufficient) == (6, True)
    np.testing.assert_allclose(baseline.mean, [0.2, 0, 0, 0, 0, 0.8])


def test_what_is_above_the_baseline_stands_beside_the_raw_values() -> None:
    viewer = ViewerTimeline(
        pseudonym="v", session="s", trace=trace_of(PREROLL_AND_TITLE), opted_out=frozenset({Expression.SAD})
    )
    baseline = viewer_baseline(viewer.trace, opted_out=viewer.opted_out)
    seconds = second_columns(viewer, duration_ms=4000, baseline=baseline)
    assert seconds["happy"] == [0.2, 1.0, 0.0, None]
    assert seconds["happy_change"] == [0.0, 0.8, -0.2, None]
    assert seconds["sad_change"] == [None] * 4
    assert "happy_change" not in second_columns(viewer, duration_ms=4000)
    frames = frame_columns(viewer, duration_ms=4000, baseline=baseline)
    assert frames["happy_change"][-1] == -0.2 and set(frames["sad_change"]) == {None}
    rows = list(csv.DictReader(io.StringIO(seconds_csv(viewer, duration_ms=4000, baseline=baseline))))
    assert [row["happy_change"] for row in rows] == ["0.0", "0.8", "-0.2", ""]
    rows = list(csv.DictReader(io.StringIO(frames_csv(viewer, duration_ms=4000, baseline=baseline))))
    assert rows[-1]["happy_change"] == "-0.2"


def test_fewer_than_five_valid_seconds_are_flagged_and_none_gives_none() -> None:
    # of the five seconds before the title one has too few frames
    thin = viewer_baseline(trace_of(dict.fromkeys(range(-5, 1), 51), missing=frozenset(range(-60, -40))))
    assert (thin.valid_seconds, thin.is_sufficient) == (4, False)
    assert baseline_document(thin)["is_sufficient"] is False
    nothing = viewer_baseline(trace_of({0: 100, 1: 100}))
    assert nothing.valid_seconds == 0 and np.isnan(nothing.mean).all()
    assert baseline_document(nothing)["mean"]["happy"] is None
    assert baseline_document(None) == {"kind": "none"}


def test_a_title_may_have_a_neutral_leader_of_its_own() -> None:
    trace = trace_of(dict.fromkeys(range(5), 51) | dict.fromkeys(range(5, 9), 255))
    baseline = viewer_baseline(trace, BaselineWindow(start_ms=0, end_ms=5_000))
    assert baseline.is_sufficient and baseline.mean[0] == pytest.approx(0.2)
    assert baseline_document(baseline)["window_ms"] == [0, 5_000]


@pytest.mark.parametrize("window", [(0, 0), (1_000, 0), (-700_000, 0)])
def test_a_window_that_makes_no_sense_is_refused(window: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="window"):
        BaselineWindow(start_ms=window[0], end_ms=window[1])


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6), st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_a_change_added_to_the_baseline_is_the_raw_value(raw: list[float], mean: list[float]) -> None:
    baseline = Baseline(window=BaselineWindow(), valid_seconds=9, mean=np.array(mean))
    differences = changes(np.array([raw]), baseline)
    for index, values in enumerate(differences.values()):
        assert values[0] + mean[index] == pytest.approx(raw[index], abs=1e-12)


def test_the_page_tells_the_change_or_why_there_is_none() -> None:
    trace = trace_of(PREROLL_AND_TITLE)
    bins = bin_seconds(trace, duration_ms=3_000)
    table = baseline_table(viewer_baseline(trace), bins)
    assert "<th scope=row>happy</th><td>0.40</td><td>0.20</td><td>+0.20</td>" in table
    assert "From 6 valid seconds" in table and "Too few" not in table
    thin = baseline_table(viewer_baseline(trace, BaselineWindow(start_ms=-3_000, end_ms=0)), bins)
    assert "Too few: at least 5" in thin
    assert "None: no second before the title" in baseline_table(viewer_baseline(trace_of({0: 9})), bins)
