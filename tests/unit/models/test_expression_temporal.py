from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.errors import DatasetError, ManifestError, TensorShapeError
from models.expression.inference import opt_out_mask, score_logits
from models.expression.taxonomy import LABELS
from models.expression.temporal import DEFAULT_FILTER, FilterSettings, filter_of, filter_track
from models.training.expression.calibration.temporal_fit import (
    exponential,
    fit_exponential,
    fit_filter,
    fit_on_pictures,
    hmm,
    raw,
    track_figures,
)
from models.training.expression.data.synthetic_tracks import FRAME_MS, Track, make_tracks, unrestful_frames

any_logits = hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.just(6)), elements=st.floats(-20, 20))
any_mask = hnp.arrays(np.bool_, 6)
SETTINGS = FilterSettings(dwell_ms=2_000, memory_ms=100)


def evenly(count: int, step_ms: float = FRAME_MS) -> np.ndarray:
    elapsed = np.full(count, step_ms)
    if count:
        elapsed[0] = np.inf
    return elapsed


def sure_of(label: int, count: int, *, sure: float = 0.9) -> np.ndarray:
    rows = np.full((count, 6), (1 - sure) / 5)
    rows[:, label] = sure
    return rows


@given(any_logits, any_mask)
def test_rows_sum_to_one_and_what_is_opted_out_stays_zero(logits: np.ndarray, mask: np.ndarray) -> None:
    rows = score_logits(logits, temperature=1.0, opted_out=mask).probabilities
    filtered = filter_track(rows, evenly(len(rows)), SETTINGS, opted_out=mask)
    assert not filtered[:, mask].any()
    np.testing.assert_allclose(filtered.sum(axis=1), 0.0 if mask.all() else 1.0, atol=1e-9)


@given(any_logits, any_mask, st.data())
def test_no_bit_depends_on_an_opted_out_probability(
    logits: np.ndarray, mask: np.ndarray, data: st.DataObject
) -> None:
    rows = score_logits(logits, temperature=1.0).probabilities
    other = rows.copy()
    other[:, mask] = data.draw(st.floats(0, 1))
    first, second = (
        filter_track(table, evenly(len(rows)), SETTINGS, opted_out=mask) for table in (rows, other)
    )
    assert first.tobytes() == second.tobytes()


@given(any_logits, st.integers(0, 11), any_logits)
def test_a_filtered_frame_does_not_depend_on_later_ones(
    logits: np.ndarray, at: int, later: np.ndarray
) -> None:
    rows = score_logits(logits, temperature=1.0).probabilities
    at = min(at, len(rows) - 1)
    longer = np.concatenate([rows[: at + 1], score_logits(later, temperature=1.0).probabilities])
    short = filter_track(rows, evenly(len(rows)), SETTINGS)[: at + 1]
    assert short.tobytes() == filter_track(longer, evenly(len(longer)), SETTINGS)[: at + 1].tobytes()


@pytest.mark.parametrize("gap_ms", [1_001.0, np.inf, np.nan])
def test_nothing_survives_a_gap(gap_ms: float) -> None:
    rows = np.concatenate([sure_of(0, 30), sure_of(3, 10)])
    elapsed = evenly(40)
    elapsed[30] = gap_ms
    filtered = filter_track(rows, elapsed, SETTINGS)
    np.testing.assert_array_equal(filtered[30:], filter_track(rows[30:], evenly(10), SETTINGS))
    held = evenly(40)
    held[30] = 1_000.0
    assert filter_track(rows, held, SETTINGS)[30, 0] > filtered[30, 0]


def test_a_single_slip_changes_nothing_and_a_real_change_is_followed() -> None:
    slip = np.concatenate([sure_of(0, 30), sure_of(2, 1), sure_of(0, 30)])
    assert (filter_track(slip, evenly(61), SETTINGS).argmax(axis=1) == 0).all()
    change = filter_track(np.concatenate([sure_of(0, 30), sure_of(2, 30)]), evenly(60), SETTINGS)
    follows = int(np.flatnonzero(change.argmax(axis=1) == 2)[0]) - 30
    assert 0 < follows * FRAME_MS <= SETTINGS.memory_ms


def test_a_steady_view_stays_as_sure_as_one_frame_is() -> None:
    patient = FilterSettings(dwell_ms=1e9, memory_ms=100)
    rows = sure_of(4, 300, sure=0.7)
    np.testing.assert_allclose(filter_track(rows, evenly(300), patient), rows, atol=1e-6)
    # with a finite dwell the face may have changed meanwhile: a little less sure, never more
    doubtful = filter_track(rows, evenly(300), SETTINGS)
    assert 0.6 < doubtful[-1, 4] < 0.7


def test_the_time_that_passes_counts_and_not_the_number_of_frames() -> None:
    at_30 = filter_track(np.concatenate([sure_of(0, 30), sure_of(2, 6)]), evenly(36, 1_000 / 30), SETTINGS)
    at_15 = filter_track(np.concatenate([sure_of(0, 15), sure_of(2, 3)]), evenly(18, 1_000 / 15), SETTINGS)
    np.testing.assert_allclose(at_30[-1], at_15[-1], atol=0.02)


def test_frames_of_none_of_the_six_only_let_the_state_fade() -> None:
    rows = np.concatenate([sure_of(0, 30), sure_of(2, 30)])
    informative = np.arange(60) < 30
    filtered = filter_track(rows, evenly(60), SETTINGS, informative=informative)
    happy = filtered[29:, 0]
    assert (np.diff(happy) < 0).all() and happy[-1] < 0.2
    np.testing.assert_allclose(filtered[-1, 1:], filtered[-1, 1], atol=1e-9)
    alone = filter_track(rows[:1], evenly(1), SETTINGS, informative=np.array([False]))
    np.testing.assert_allclose(alone, 1 / 6)


def test_arrays_that_do_not_fit_are_refused() -> None:
    for rows, elapsed in ((np.ones((3, 5)), evenly(3)), (np.ones((3, 6)), evenly(2))):
        with pytest.raises(TensorShapeError):
            filter_track(rows, elapsed, SETTINGS)
    assert filter_track(np.empty((0, 6)), evenly(0), SETTINGS).shape == (0, 6)


def test_a_manifest_may_bring_the_filter() -> None:
    assert filter_of({"smoothing": SETTINGS.to_json()}) == SETTINGS
    assert filter_of({}) == DEFAULT_FILTER


@pytest.mark.parametrize(
    "smoothing", [{"dwell_ms": 1.0}, {"dwell_ms": 0, "memory_ms": 1}, {"dwell_ms": 1, "memory_ms": "x"}, 3]
)
def test_a_malformed_filter_is_refused(smoothing: object) -> None:
    with pytest.raises(ManifestError):
        filter_of({"smoothing": smoothing})


def noisy_tracks(count: int, *, seed: int) -> list[Track]:
    """Held expressions read with errors that are new in every frame: there a long memory helps."""
    rng = np.random.default_rng(seed)
    tracks = []
    for _ in range(count):
        labels = np.repeat(rng.permutation(6)[:3], 60)
        logits = rng.normal(0, 1.5, (180, 6))
        logits[np.arange(180), labels] += 1.5
        rows = score_logits(logits, temperature=1.5).probabilities
        tracks.append(Track(probabilities=rows, elapsed_ms=evenly(180), labels=labels))
    return tracks


def test_the_fit_finds_a_filter_that_helps_on_other_tracks() -> None:
    tracks = noisy_tracks(8, seed=1)
    settings = fit_filter(tracks[::2])
    plain, filtered = (track_figures(tracks[1::2], f) for f in (raw, hmm(settings)))
    assert settings.memory_ms >= 70
    assert filtered["frame_accuracy"] > plain["frame_accuracy"] + 0.1
    assert filtered["nll"] < plain["nll"] - 0.1
    assert filtered["changes_per_s"] < plain["changes_per_s"] / 2
    assert plain["delay_ms_p50"] <= filtered["delay_ms_p50"]
    averaged = track_figures(tracks[1::2], exponential(fit_exponential(tracks[::2])))
    assert averaged["frame_accuracy"] > plain["frame_accuracy"]


def test_delays_are_counted_from_the_change() -> None:
    labels = np.repeat([0, 1, 2], 10)
    read = np.repeat([0, 1, 0], [13, 10, 7])
    track = Track(probabilities=np.eye(6)[read], elapsed_ms=evenly(30), labels=labels)
    figures = track_figures([track], raw)
    assert figures["delay_ms_p50"] == pytest.approx(3 * FRAME_MS)
    assert figures["unread_share"] == 0.5
    assert figures["frame_accuracy"] == pytest.approx(17 / 30)


def test_an_unsteady_camera_moves_a_still_picture_a_little_and_repeats_by_its_seed() -> None:
    picture = np.kron(np.random.default_rng(0).integers(0, 256, (8, 8)), np.ones((6, 6))).astype(np.uint8)
    frames = unrestful_frames(picture, frames=40, rng=np.random.default_rng(3))
    again = unrestful_frames(picture, frames=40, rng=np.random.default_rng(3))
    assert [f.shape for f in frames] == [(48, 48)] * 40
    assert all((a == b).all() for a, b in zip(frames, again, strict=True))
    differences = [np.abs(f.astype(int) - picture).mean() for f in frames]
    assert 0 < np.median(differences) < 50


def shades(count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Pictures whose right half is brighter by what their label says."""
    labels = np.arange(count) % 6
    pictures = [np.full((32, 32), 40, np.uint8) for _ in labels]
    for picture, label in zip(pictures, labels, strict=True):
        picture[:, 16:] += np.uint8(30 * label)
    return pictures, labels


def reads_shades(crops) -> np.ndarray:
    contrast = np.array([c[:, 20:].mean() - c[:, :12].mean() for c in crops])
    return score_logits(-np.abs(contrast[:, None] - 30 * np.arange(6)) / 10, temperature=1.0).probabilities


def test_tracks_hold_other_pictures_and_know_what_each_frame_shows() -> None:
    pictures, labels = shades(60)
    tracks = make_tracks(pictures, labels, reads_shades, tracks=4, holds=3, hold_ms=400, seed=1)
    assert len(tracks) == 4
    for track in tracks:
        assert len(track.labels) == len(track.probabilities) == len(track.elapsed_ms)
        assert len(np.flatnonzero(np.diff(track.labels))) == 2
        assert np.isinf(track.elapsed_ms[0]) and (track.elapsed_ms[1:] == FRAME_MS).all()
    assert track_figures(tracks, raw)["frame_accuracy"] > 0.5
    few = make_tracks(pictures[:6], labels[:6], reads_shades, tracks=4, holds=3, hold_ms=400, seed=1)
    assert len(few) == 2


def test_fitting_on_pictures_measures_on_tracks_it_did_not_see() -> None:
    pictures, labels = shades(36)
    settings, figures = fit_on_pictures(pictures, labels, reads_shades, tracks=4)
    assert isinstance(settings, FilterSettings)
    assert {"raw", "hmm", "exponential"} == set(figures)
    with pytest.raises(DatasetError):
        fit_on_pictures(pictures[:6], labels[:6], reads_shades, tracks=4)


def test_clips_of_several_faces_are_read_better_than_their_last_frame() -> None:
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT")
    from models.training.expression.evaluation.clips import clip_figures, reader_of

    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(6), 60)
    crops = [np.full((24, 24), label * 40, np.uint8) for label in labels]

    def predictor(pictures) -> np.ndarray:
        shown = np.rint([p.mean() / 40 for p in pictures]).astype(int).clip(0, 5)
        logits = rng.normal(0, 1.5, (len(pictures), 7))
        logits[np.arange(len(pictures)), shown] += 1.5
        return logits.astype(np.float32)

    figures = clip_figures(crops, labels, reader_of(predictor, temperature=1.0), SETTINGS, clips=50)
    faces = figures["faces"]
    assert (faces["clips"], faces["frames"]) == (50, 5)
    assert faces["mean"] > faces["last_frame"]
    assert faces["filtered"] > faces["last_frame"]
    assert faces["filtered_95"][0] <= faces["filtered"] <= faces["filtered_95"][1]
    assert (figures["unrest"]["clips"], figures["unrest"]["frames"]) == (50, 15)
    few = clip_figures(crops[:3], labels[:3], reader_of(predictor, temperature=1.0), SETTINGS)
    assert few["faces"] == {"clips": 0}


def test_the_six_labels_are_in_the_order_that_opt_outs_name() -> None:
    assert opt_out_mask([LABELS[2]]).tolist() == [False, False, True, False, False, False]
