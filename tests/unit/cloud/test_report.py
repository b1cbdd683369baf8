from __future__ import annotations

import csv
import io
import json
import math
import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.analytics.gaps import REASON_TEXT, frame_funnel, gap_bands, gap_frames_by_reason, silent_bands
from cloud.analytics.latency import percentile_ms, summarise
from cloud.analytics.seconds import bin_seconds, coverage, smooth
from cloud.analytics.traces import FrameTrace, frame_step_ms, share_of_frames
from cloud.reports.documents import summary_document
from cloud.reports.figures import ScheduledExpression, timeline_figure
from cloud.reports.model_note import RecordedModel, model_label, model_rows, models_of_rows, note_of
from cloud.reports.page import TimelinePage, ViewerTimeline, content_security_policy, render_timeline_page
from cloud.reports.panels import percent
from cloud.reports.sections import duration_text, method
from cloud.reports.tables import frames_csv, seconds_csv
from cloud.results.changes import Counted, FramesSkipped
from cloud.streams.entries import FLAG_LATE, FLAG_OUT_OF_SCOPE, FLAG_UNCERTAIN
from cloud.streams.scoring import ON_DEVICE, ScoredFrames, ScoringModel
from models.runtime.manifest import ARTIFACTS_DIR, Manifest, load_manifest
from privacy.protocol.expressions import EXPRESSIONS, Expression
from privacy.protocol.messages import SkipReason


def make_trace(frames: list[int], *, fps: float = 30.0, leading: int = 0, value: int = 200) -> FrameTrace:
    n = len(frames)
    probabilities = np.zeros((n, 6), np.uint8)
    probabilities[:, leading] = value
    probabilities[:, (leading + 1) % 6] = 255 - value
    frame = np.array(frames, np.int64)
    return FrameTrace(
        frame=frame,
        segment=np.zeros(n, np.int32),
        media_time_ms=(frame * 1000 / fps).astype(np.int32),
        probabilities=probabilities,
        confidence=np.full(n, value, np.uint8),
        attention=np.zeros(n, np.uint8),
        flags=np.zeros(n, np.uint8),
    )


def reorder(trace: FrameTrace, order: np.ndarray) -> FrameTrace:
    return FrameTrace(**{name: getattr(trace, name)[order] for name in FrameTrace.__slots__})


def test_a_second_with_half_of_its_frames_is_valid_and_one_with_fewer_is_missing() -> None:
    trace = make_trace([*range(30), *range(30, 45), *range(60, 74), *range(90, 120)])
    bins = bin_seconds(trace, duration_ms=4000)
    assert bins.valid.tolist() == [True, True, False, True]
    assert bins.frames.tolist() == [30, 15, 14, 30]
    assert np.isnan(bins.probabilities[2]).all() and np.isnan(bins.confidence[2])
    assert coverage(bins) == 0.75


def test_a_second_without_frames_is_missing_and_never_zero() -> None:
    bins = bin_seconds(make_trace([]), duration_ms=3000)
    assert len(bins) == 3
    assert np.isnan(bins.probabilities).all()


def test_a_bin_holds_the_median_of_its_frames() -> None:
    trace = make_trace(list(range(30)))
    trace.probabilities[:5] = (0, 0, 0, 0, 0, 255)
    bins = bin_seconds(trace, duration_ms=1000)
    assert bins.probabilities[0, 0] == pytest.approx(200 / 255)
    assert bins.probabilities[0, 5] == 0


def flagged(trace: FrameTrace, flags: dict[int, int]) -> FrameTrace:
    marks = trace.flags.copy()
    for index, flag in flags.items():
        marks[index] = flag
    return replace(trace, flags=marks)


def test_uncertain_frames_are_counted_beside_the_medians_and_left_in_them() -> None:
    strange = FLAG_UNCERTAIN | FLAG_OUT_OF_SCOPE
    plain = make_trace([*range(30), *range(60, 90)])
    trace = flagged(plain, {0: strange, 1: FLAG_UNCERTAIN, 2: FLAG_LATE, 45: FLAG_UNCERTAIN})
    bins = bin_seconds(trace, duration_ms=3000)
    assert bins.frames.tolist() == [30, 0, 30]
    assert bins.certain.tolist() == [28, 0, 29]
    assert bins.out_of_scope.tolist() == [1, 0, 0]
    np.testing.assert_allclose(bins.uncertain_share, [2 / 30, np.nan, 1 / 30])
    np.testing.assert_array_equal(bins.probabilities, bin_seconds(plain, duration_ms=3000).probabilities)


def test_shares_of_certain_frames_leave_the_uncertain_out() -> None:
    trace = make_trace(list(range(10)))
    trace.probabilities[:4] = (0, 0, 0, 0, 0, 255)
    marked = flagged(trace, dict.fromkeys(range(3), FLAG_UNCERTAIN))
    shares = share_of_frames(marked, opted_out=frozenset(), certain_only=True)
    assert shares[Expression.NEUTRAL] == pytest.approx(1 / 7)
    assert shares[Expression.HAPPY] == pytest.approx(6 / 7)
    nothing = flagged(trace, dict.fromkeys(range(10), FLAG_UNCERTAIN))
    assert set(share_of_frames(nothing, opted_out=frozenset(), certain_only=True).values()) == {None}


def test_the_page_shows_how_much_is_uncertain() -> None:
    strange = FLAG_UNCERTAIN | FLAG_OUT_OF_SCOPE
    shown = viewer()
    marks = dict.fromkeys(range(45), FLAG_UNCERTAIN) | dict.fromkeys(range(9), strange)
    html = page_of(replace(shown, trace=flagged(shown.trace, marks)))
    assert "50 % of the scored frames are uncertain, 10 % show none of the six." in html
    bins = bin_seconds(flagged(shown.trace, marks), duration_ms=4000)
    figure = timeline_figure(shown.trace, bins, bands=(), duration_ms=4000)
    (bars,) = [trace for trace in figure["data"] if trace["type"] == "bar"]
    assert bars["y"][0] == 1.0 and bars["y"][3] == 0.0


def test_an_opted_out_expression_has_no_value_anywhere() -> None:
    bins = bin_seconds(make_trace(list(range(60))), duration_ms=2000, opted_out=frozenset({Expression.SAD}))
    assert np.isnan(bins.probabilities[:, 1]).all()
    assert not np.isnan(bins.probabilities[:, 0]).any()


def test_a_camera_of_fifteen_frames_per_second_gives_valid_seconds() -> None:
    bins = bin_seconds(make_trace(list(range(45)), fps=15), duration_ms=3000)
    assert bins.expected.tolist() == [15, 15, 15]
    assert bins.valid.all()


def dark_room(*, bright_s: int = 20, dark_s: int = 20) -> FrameTrace:
    """A camera that falls from 30 to 10 frames a second when the light goes."""
    times = [round(n * 1000 / 30) for n in range(30 * bright_s)]
    times += [1_000 * bright_s + 100 * n for n in range(10 * dark_s)]
    trace = make_trace(list(range(len(times))))
    return replace(trace, media_time_ms=np.array(times, np.int32))


def test_a_camera_that_slows_down_in_the_dark_loses_no_second() -> None:
    bins = bin_seconds(dark_room(), duration_ms=40_000)
    assert bins.valid.all()
    assert set(bins.expected[:20].tolist()) == {30} and set(bins.expected[20:].tolist()) == {10}


def test_missing_frames_count_at_the_rate_of_their_own_second() -> None:
    whole = dark_room()
    kept = np.ones(len(whole), bool)
    kept[600 + 50 : 600 + 56] = False  # six of ten frames of second 25
    kept[150:164] = False  # fourteen of thirty of second 5
    bins = bin_seconds(reorder(whole, np.flatnonzero(kept)), duration_ms=40_000)
    assert (bins.frames[25], bins.expected[25], bool(bins.valid[25])) == (4, 10, False)
    assert (bins.frames[5], bins.expected[5], bool(bins.valid[5])) == (16, 30, True)
    assert bins.valid.sum() == 39


@pytest.mark.parametrize("fps", [1.0, 2.0, 7.5, 12.0, 240.0])
def test_a_second_without_a_gap_is_valid_at_any_rate(fps: float) -> None:
    bins = bin_seconds(make_trace(list(range(int(6 * fps))), fps=fps), duration_ms=6_000)
    assert bins.valid.all()


def test_frames_that_are_missing_at_either_end_are_known_from_their_gaps() -> None:
    trace = make_trace(list(range(45, 75)))
    bins = bin_seconds(trace, [gap(0, 44, "no_face"), gap(75, 149, "lost")], duration_ms=5_000)
    assert bins.expected.tolist() == [30, 30, 30, 30, 30]
    assert bins.frames.tolist() == [0, 15, 15, 0, 0]
    assert bins.valid.tolist() == [False, True, True, False, False]


def test_a_gap_before_the_first_frame_is_counted_at_the_rate_of_its_own_time() -> None:
    times = [3_000 + 100 * n for n in range(20)] + [round(5_000 + n * 1000 / 30) for n in range(60)]
    trace = make_trace(list(range(30, 110)))
    trace = replace(trace, media_time_ms=np.array(times, np.int32))
    bins = bin_seconds(trace, [replace(gap(0, 29, "no_face"), media_time_ms=0)], duration_ms=7_000)
    assert bins.expected.tolist() == [10, 10, 10, 10, 10, 30, 30]


def test_a_gap_that_is_stored_all_the_same_counts_once() -> None:
    bins = bin_seconds(make_trace(list(range(60))), [gap(10, 40, "lost")], duration_ms=2_000)
    assert bins.expected.tolist() == [30, 30]


def test_a_segment_of_which_nothing_is_stored_is_counted_from_its_gaps() -> None:
    elsewhere = replace(gap(60, 89, "dark"), segment=3, media_time_ms=3_000)
    bins = bin_seconds(make_trace(list(range(60))), [elsewhere], duration_ms=4_000)
    assert bins.expected.tolist() == [30, 30, 0, 30]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**32 - 1),
            st.integers(0, 2**32 - 1),
            st.integers(0, 3),
            st.integers(-(2**31), 2**31 - 1),
        ),
        max_size=40,
    )
)
@settings(max_examples=60, deadline=None)
def test_no_report_of_gaps_makes_the_count_negative_or_unbounded(
    reported: list[tuple[int, int, int, int]],
) -> None:
    gaps = [
        FramesSkipped(
            first_frame=min(a, b), last_frame=max(a, b), segment=segment, media_time_ms=at, reason="lost"
        )
        for a, b, segment, at in reported
    ]
    bins = bin_seconds(make_trace(list(range(90))), gaps, duration_ms=5_000)
    assert (bins.expected >= bins.frames).all()


def test_frames_beyond_the_title_have_bins_but_take_no_part_in_its_coverage() -> None:
    bins = bin_seconds(make_trace(list(range(61))), duration_ms=2000)
    assert bins.frames.tolist() == [30, 30, 1]
    assert bins.title_seconds == 2 and coverage(bins) == 1.0


def test_the_last_part_of_a_second_expects_only_its_part() -> None:
    bins = bin_seconds(make_trace(list(range(75))), duration_ms=2500)
    assert bins.expected.tolist() == [30, 30, 15]
    assert bins.valid.all()


@given(
    frames=st.lists(st.integers(0, 200), unique=True, max_size=120),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_permuting_frames_changes_no_bin(frames: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    trace = make_trace(sorted(frames))
    raw = rng.integers(0, 255, (len(frames), 6)).astype(np.uint8)
    trace.probabilities[:] = raw
    straight = bin_seconds(trace, duration_ms=7000)
    mixed = bin_seconds(reorder(trace, rng.permutation(len(frames))), duration_ms=7000)
    np.testing.assert_array_equal(straight.probabilities, mixed.probabilities)
    np.testing.assert_array_equal(straight.valid, mixed.valid)


@given(
    values=st.lists(st.one_of(st.just(math.nan), st.floats(0, 1)), max_size=60),
)
@settings(max_examples=80, deadline=None)
def test_smoothing_keeps_missing_bins_missing_and_values_within_range(values: list[float]) -> None:
    series = np.array(values, np.float64)
    smoothed = smooth(series)
    np.testing.assert_array_equal(np.isnan(series), np.isnan(smoothed))
    present = series[~np.isnan(series)]
    if present.size:
        kept = smoothed[~np.isnan(smoothed)]
        assert kept.min() >= present.min() - 1e-12 and kept.max() <= present.max() + 1e-12


def test_smoothing_leaves_a_constant_alone_beside_a_hole() -> None:
    series = np.array([0.4, 0.4, np.nan, 0.4, 0.4])
    np.testing.assert_allclose(smooth(series)[[0, 1, 3, 4]], 0.4)


@pytest.mark.parametrize("fps", [10.0, 15.0, 24.0, 29.97, 30.0, 60.0])
def test_the_frame_step_is_estimated_from_media_times_in_whole_milliseconds(fps: float) -> None:
    assert frame_step_ms(make_trace(list(range(200)), fps=fps)) == pytest.approx(1000 / fps, rel=0.02)


def test_the_frame_step_survives_missing_frames() -> None:
    frames = [f for f in range(300) if f % 7 and not 100 <= f < 160]
    assert frame_step_ms(make_trace(frames)) == pytest.approx(1000 / 30, rel=0.02)


def test_shares_count_leading_expressions_and_leave_opted_out_ones_without_a_value() -> None:
    trace = make_trace(list(range(10)))
    trace.probabilities[:3] = (0, 0, 0, 0, 0, 255)
    shares = share_of_frames(trace, opted_out=frozenset({Expression.ANGRY}))
    assert shares[Expression.HAPPY] == pytest.approx(0.7)
    assert shares[Expression.NEUTRAL] == pytest.approx(0.3)
    assert shares[Expression.ANGRY] is None
    assert sum(share for share in shares.values() if share is not None) == pytest.approx(1)


def test_shares_without_a_frame_have_no_value() -> None:
    assert set(share_of_frames(make_trace([]), opted_out=frozenset()).values()) == {None}


def gap(first: int, last: int, reason: str) -> FramesSkipped:
    return FramesSkipped(
        first_frame=first, last_frame=last, segment=0, media_time_ms=first * 1000 // 30, reason=reason
    )


def test_neighbouring_gaps_of_one_reason_become_one_band() -> None:
    bands = gap_bands([gap(0, 2, "dark"), gap(4, 5, "dark"), gap(8, 9, "no_face")], step_ms=1000 / 30)
    assert [(band.reason, band.frames) for band in bands] == [("dark", 5), ("no_face", 2)]
    assert bands[0].start_ms == 0 and bands[0].end_ms == 200


def test_gap_frames_are_counted_by_reason() -> None:
    gaps = [gap(0, 2, "dark"), gap(4, 5, "no_face"), gap(7, 7, "dark")]
    assert gap_frames_by_reason(gaps) == {"dark": 4, "no_face": 2}


@given(
    stored=st.integers(0, 50),
    lost=st.integers(0, 50),
    skipped=st.dictionaries(st.sampled_from(["no_face", "dark", "busy_channel"]), st.integers(0, 50)),
    unreported=st.integers(0, 20),
    flagged=st.integers(0, 60),
)
def test_the_funnel_accounts_for_every_captured_frame(
    stored: int, lost: int, skipped: dict[str, int], unreported: int, flagged: int
) -> None:
    sent = stored + lost
    counters = Counted(
        captured=sent + sum(skipped.values()) + unreported, with_face=sent, sent=sent, skipped=skipped
    )
    gaps = [gap(0, flagged - 1, "no_face")] if flagged else []
    funnel = frame_funnel(make_trace(list(range(stored))), gaps=gaps, counters=counters)
    assert funnel.captured == counters.captured
    assert funnel.stored + funnel.flagged_lost + funnel.unflagged_lost == funnel.sent
    assert funnel.sent + sum(funnel.skipped.values()) == funnel.captured
    assert funnel.flagged_lost >= 0 and funnel.unflagged_lost >= 0


def test_percentiles_are_never_below_the_true_ones() -> None:
    samples = np.random.default_rng(3).gamma(4, 10, 500)
    histogram = np.bincount(samples.astype(int), minlength=2001).tolist()
    for share in (0.5, 0.95, 0.99):
        read = percentile_ms(histogram, share)
        true = np.sort(samples)[math.ceil(share * 500) - 1]
        assert read is not None and true <= read <= true + 1


def test_an_empty_histogram_has_no_percentiles() -> None:
    assert summarise([0] * 2001).p99_ms is None


def page_of(viewer: ViewerTimeline, *, title: str = "Harbour Lights") -> str:
    return render_timeline_page(
        TimelinePage(
            title=title,
            study="A study",
            duration_ms=4000,
            viewers=[viewer],
            made_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        )
    )


def viewer(pseudonym: str = "viewer-1") -> ViewerTimeline:
    return ViewerTimeline(
        pseudonym=pseudonym,
        session="s",
        trace=make_trace([*range(40), *range(70, 120)]),
        gaps=[gap(40, 69, "no_face")],
        latency={"classified": [0] * 30 + [7]},
        opted_out=frozenset({Expression.DISGUST}),
        schedule=[ScheduledExpression(start_ms=0, end_ms=2000, expression=Expression.HAPPY)],
    )


def test_the_page_carries_everything_and_fetches_nothing() -> None:
    html = page_of(viewer())
    without_plotly = re.sub(r"<script>/\*\*.*?</script>", "", html, flags=re.S)
    assert "Plotly.react" in html and len(html) > 1_000_000
    assert not re.search(r"""(src|href)\s*=\s*["'](https?:)?//""", without_plotly)
    assert "default-src &#x27;none&#x27;" in html or "default-src 'none'" in html
    assert "unsafe-eval" not in content_security_policy()


def test_the_page_says_what_expressions_are_not() -> None:
    html = page_of(viewer())
    assert "not what people felt" in html and "Barrett" in html
    assert "no face in view" in html
    assert "sigma 1 s" in html


def test_names_from_outside_cannot_become_markup() -> None:
    html = page_of(viewer("<img src=x onerror=alert(1)>"), title="</title><script>alert(1)</script>")
    assert "<img src=x" not in html
    assert "<script>alert(1)" not in html


def test_the_figure_breaks_at_missing_values_and_shades_gaps() -> None:
    shown = viewer()
    bins = bin_seconds(shown.trace, duration_ms=4000)
    bands = gap_bands(shown.gaps, step_ms=1000 / 30)
    figure = timeline_figure(shown.trace, bins, bands=bands, duration_ms=4000, opted_out=shown.opted_out)
    json.dumps(figure, allow_nan=False)
    shapes = [shape for shape in figure["layout"]["shapes"] if shape["meta"] == "gap"]
    assert shapes[0]["x0"] == pytest.approx(1.333, abs=0.01)
    raw = next(trace for trace in figure["data"] if trace["meta"] == {"colour": "happy", "kind": "raw"})
    assert None in raw["y"]
    assert not any(trace["meta"]["colour"] == "disgust" for trace in figure["data"])
    assert len([a for a in figure["layout"]["annotations"] if "opted out" in a["text"]]) == 1
    (reason,) = [a["text"] for a in figure["layout"]["annotations"] if a["meta"] == "gap"]
    assert reason == "no face in view"
    assert len(figure["layout"]["annotations"]) == len(EXPRESSIONS) + 2


def test_a_narrow_gap_has_no_room_for_its_reason_but_tells_it_on_hovering() -> None:
    bands = gap_bands([gap(30, 32, "dark"), gap(60, 119, "lost")], step_ms=1000 / 30)
    trace = make_trace(list(range(30)))
    bins = bin_seconds(trace, duration_ms=60_000)
    figure = timeline_figure(trace, bins, bands=bands, duration_ms=60_000)
    assert not [a for a in figure["layout"]["annotations"] if a["text"] == "too dark"]
    hovers = figure["data"][-1]
    assert hovers["text"] == ["too dark, 3 frames", *["lost on the way, 60 frames"] * 2]
    assert hovers["x"] == [1.05, 2.5, 3.5]


def test_seconds_without_a_frame_or_a_reason_are_shown_as_silent() -> None:
    bins = bin_seconds(make_trace(list(range(90, 150))), duration_ms=8500)
    bands = gap_bands([gap(40, 59, "dark")], step_ms=1000 / 30)
    silent = silent_bands(bins.frames, bands, title_seconds=bins.title_seconds, duration_ms=8500)
    assert [(band.start_ms, band.end_ms) for band in silent] == [(0, 1000), (2000, 3000), (5000, 8500)]
    assert {band.reason for band in silent} == {"nothing_received"}


def test_every_reason_that_a_gap_can_have_is_in_plain_words() -> None:
    told = {*SkipReason, "not_reported", "nothing_received"}
    assert told <= set(REASON_TEXT)
    assert not [text for text in REASON_TEXT.values() if "_" in text]


def test_a_share_that_is_something_does_not_read_as_nothing() -> None:
    assert [percent(share) for share in (0.0, 0.001, 0.5, 0.999, 1.0)] == [
        "0 %", "&lt;1 %", "50 %", "&gt;99 %", "100 %",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("millis", "text"), [(60_000, "60 s"), (260_000, "4 min 20 s"), (6_720_000, "1 h 52 min")]
)
def test_lengths_are_written_as_people_say_them(millis: int, text: str) -> None:
    assert duration_text(millis) == text


def manifest(metrics: dict[str, object]) -> Manifest:
    return replace(load_manifest(ARTIFACTS_DIR / "expression"), metrics=metrics, version="9")


def test_a_model_is_shown_with_its_test_figures_or_else_says_that_there_are_none() -> None:
    validation = {"n": 3913.0, "accuracy_int8": 0.8441, "ece_after": 0.0138}
    untested = note_of(manifest({"validation": validation}))
    assert untested.figures[0] == (
        "right on 3,913 validation pictures (not yet measured on test pictures)", "84.4%",
    )  # fmt: skip
    tested = note_of(manifest({"validation": validation, "test": {"rafdb_accuracy": 0.86, "ece_max": None}}))
    assert tested.figures == (("right on RAF-DB test", "86.0%"),)
    bare = RecordedModel(label="expression 9 int8", frames=4, note=note_of(manifest({})), measured=None)
    shown = method(sigma_bins=1, models=[bare], frames=4)
    assert "No figures were measured" in shown and "not measured on this very file" in shown


def test_the_models_confusion_matrix_is_on_the_page_and_in_every_answer() -> None:
    shown = replace(viewer(), models=[ScoredFrames(model=installed(), frames=90)])
    assert "What this model takes for what" in page_of(shown)
    (row,) = summary_document(shown, duration_ms=4000)["models"]
    rafdb = row["measured"]["test_sets"]["rafdb"]
    assert len(rafdb["confusion"]) == 6 and sum(map(sum, rafdb["confusion"])) == rafdb["pictures"]
    assert models_of_rows([row]) == list(shown.models)


def recorded(**values: object) -> ScoringModel:
    known = {"name": "expression", "version": "0.0.1-gone", "variant": "int8", "sha256": bytes(range(32))}
    return ScoringModel(**{**known, **values})  # type: ignore[arg-type]


def installed() -> ScoringModel:
    found = load_manifest(ARTIFACTS_DIR / "expression")
    sha256 = bytes.fromhex(found.variant("int8").sha256)
    return recorded(version=found.version, sha256=sha256)


def test_the_page_names_the_models_that_scored_the_frames_and_not_the_installed_one() -> None:
    scored = [ScoredFrames(model=recorded(), frames=80), ScoredFrames(model=ON_DEVICE, frames=4)]
    html = page_of(replace(viewer(), models=scored))
    assert "expression 0.0.1-gone int8 000102030405: 80 frames. Its figures are not installed" in html
    assert "a model on the viewer&#x27;s device, which it did not name: 4 frames" in html
    assert "Which model scored 6 of the frames was not recorded." in html
    assert installed().sha256.hex()[:12] not in html
    assert "Which model scored 90 of the frames was not recorded." in page_of(viewer())


def test_the_installed_model_lends_its_figures_where_it_is_the_very_file_that_scored() -> None:
    html = page_of(replace(viewer(), models=[ScoredFrames(model=installed(), frames=90)]))
    assert f"int8 {installed().sha256.hex()[:12]}: 90 frames." in html
    assert "not recorded" not in html and "Its figures are not installed" not in html
    forged = replace(installed(), sha256=bytes(32))
    html = page_of(replace(viewer(), models=[ScoredFrames(model=forged, frames=90)]))
    assert "Its figures are not installed" in html


def test_models_travel_as_rows_and_stand_in_every_row_of_a_table() -> None:
    models = [ScoredFrames(model=installed(), frames=3), ScoredFrames(model=ON_DEVICE, frames=1)]
    assert models_of_rows(model_rows(models)) == models
    shown = replace(viewer(), models=models)
    for text in (seconds_csv(shown, duration_ms=4000), frames_csv(shown, duration_ms=4000)):
        cells = {row["models"] for row in csv.DictReader(io.StringIO(text))}
        assert cells == {f"{model_label(installed())}; {model_label(ON_DEVICE)}"}


def test_the_page_says_what_the_viewer_did_not_allow() -> None:
    assert "Opted out of disgust: not read." in page_of(viewer())


def test_a_session_without_a_frame_has_a_page_that_says_so() -> None:
    html = page_of(ViewerTimeline(pseudonym="viewer-2", session="s", trace=make_trace([])))
    assert "No frame was scored." in html and "nothing received" in html and "not measured" in html
