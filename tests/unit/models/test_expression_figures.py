import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.training.expression.calibration.abstention import (
    choose_threshold,
    choose_threshold_for_all,
    coverage_and_accuracy,
)
from models.training.expression.calibration.temperature import (
    expected_calibration_error,
    fit_temperature,
    softmax,
)
from models.training.expression.evaluation.evaluate import measure
from models.training.expression.evaluation.scoring import (
    accuracy,
    bootstrap_interval,
    confusion_matrix,
    macro_recall,
    paired_difference_interval,
    wilson_interval,
)


def drawn_labels(logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    cumulative = softmax(logits).cumsum(axis=1)
    return (rng.random((len(logits), 1)) > cumulative).sum(axis=1).clip(0, 5).astype(np.int64)


def test_the_fitted_temperature_undoes_a_known_over_confidence() -> None:
    rng = np.random.default_rng(1)
    true_logits = rng.normal(0, 2, (20_000, 6))
    labels = drawn_labels(true_logits, rng)
    assert fit_temperature(true_logits * 1.8, labels) == pytest.approx(1.8, abs=0.06)


def test_calibrated_answers_have_next_to_no_calibration_error() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (20_000, 6))
    labels = drawn_labels(logits, rng)
    assert expected_calibration_error(softmax(logits), labels) < 0.012
    assert expected_calibration_error(softmax(logits, temperature=0.3), labels) > 0.08


def test_calibration_error_of_a_hand_made_case() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1]])
    assert expected_calibration_error(probabilities, np.array([0, 1])) == pytest.approx(0.4)


def test_wilson_intervals_are_those_of_the_formula() -> None:
    low, high = wilson_interval(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(0, 500), st.integers(1, 500))
def test_wilson_intervals_hold_the_share_and_stay_in_the_unit_interval(hits: int, total: int) -> None:
    hits = min(hits, total)
    low, high = wilson_interval(hits, total)
    assert 0 <= low <= hits / total + 1e-12
    assert hits / total - 1e-12 <= high <= 1


def test_macro_recall_weighs_labels_alike_and_skips_absent_ones() -> None:
    labels = np.array([0, 0, 0, 0, 1])
    predicted = np.array([0, 0, 0, 0, 2])
    assert accuracy(labels, predicted) == 0.8
    assert macro_recall(labels, predicted) == 0.5


def test_confusion_rows_are_labels() -> None:
    table = confusion_matrix(np.array([0, 0, 5]), np.array([1, 0, 5]))
    assert table[0].tolist() == [1, 1, 0, 0, 0, 0]
    assert table[5, 5] == 1


def test_the_bootstrap_interval_holds_the_macro_recall_and_repeats() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 6, 600)
    predicted = np.where(rng.random(600) < 0.7, labels, (labels + 1) % 6)
    low, high = bootstrap_interval(labels, predicted)
    assert low < macro_recall(labels, predicted) < high
    assert high - low < 0.12
    assert bootstrap_interval(labels, predicted) == (low, high)


def test_a_paired_difference_is_tighter_than_the_models_apart() -> None:
    rng = np.random.default_rng(4)
    first = rng.random(1000) < 0.8
    second = first.copy()
    second[np.flatnonzero(first)[:5]] = False
    mean, low, high = paired_difference_interval(first, second)
    assert mean == pytest.approx(0.005)
    assert -0.001 < low < high < 0.01


def test_the_threshold_is_the_lowest_that_is_right_often_enough() -> None:
    confidence = np.linspace(0, 1, 1000)
    correct = confidence > 0.5
    threshold = choose_threshold(confidence, correct, wanted_accuracy=0.98)
    coverage, kept_accuracy = coverage_and_accuracy(confidence, correct, threshold=threshold)
    assert kept_accuracy >= 0.98
    assert coverage == pytest.approx(0.51, abs=0.01)


def test_tied_confidences_stand_or_fall_together() -> None:
    confidence = np.full(200, 0.9)
    correct = np.arange(200) < 100
    assert choose_threshold(confidence, correct, wanted_accuracy=0.98) == 1.0


def test_an_unreachable_accuracy_keeps_nothing() -> None:
    threshold = choose_threshold(np.linspace(0, 0.99, 100), np.zeros(100, np.bool_), wanted_accuracy=0.98)
    coverage, kept_accuracy = coverage_and_accuracy(
        np.full(10, 0.99), np.ones(10, np.bool_), threshold=threshold
    )
    assert coverage == 0.0
    assert np.isnan(kept_accuracy)


def test_measured_figures_agree_with_each_other() -> None:
    logits = np.eye(6)[[0, 0, 1, 5]] * 9
    figures = measure(logits, np.array([0, 1, 1, 5]), temperature=1.0, threshold=0.5)
    assert figures["accuracy"] == 0.75
    assert figures["recall"]["sad"] == 0.5
    assert figures["recall"]["disgust"] is None
    assert figures["coverage_at_threshold"] == 1.0
    assert sum(map(sum, figures["confusion"])) == figures["n"] == 4


def test_a_threshold_holds_for_the_hardest_source_not_on_average() -> None:
    confidence = np.tile(np.linspace(0.5, 1.0, 1000), 2)
    easy, hard = np.ones(1000, np.bool_), np.linspace(0.5, 1.0, 1000) > 0.9
    correct = np.concatenate([easy, hard])
    sources = ("easy",) * 1000 + ("hard",) * 1000
    together = choose_threshold(confidence, correct, wanted_accuracy=0.98)
    for_all = choose_threshold_for_all(confidence, correct, sources, wanted_accuracy=0.98)
    assert together < 0.897 < for_all < 0.9
    few = ("easy",) * 1000 + ("hard", "rare") * 500
    assert choose_threshold_for_all(confidence, correct, few, wanted_accuracy=0.98) == pytest.approx(
        for_all, abs=2e-3
    )
