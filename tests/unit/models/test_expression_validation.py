"""Choosing among networks on validation pictures: paired gains, means of answers, mirror images."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import DatasetError
from models.training.expression.data.datasets import PackedFaces
from models.training.expression.evaluation.validation import compare_answers, mean_answer, probabilities


def faces(labels: list[int], sources: list[str]) -> PackedFaces:
    count = len(labels)
    grey = np.zeros((count, 8, 8), np.uint8)
    for row, label in enumerate(labels):
        grey[row, :, label] = 255  # a bright column at the label's place: the mirror image shows another
    return PackedFaces(
        grey=grey,
        targets=np.eye(7, dtype=np.float32)[labels],
        labels=np.asarray(labels, np.int64),
        sources=tuple(sources),
        digests=tuple(f"{i:064x}" for i in range(count)),
    )


def reads_columns(crops: np.ndarray) -> np.ndarray:
    return crops.mean(axis=(1, 3))[:, :7] * 10


def test_a_network_is_asked_at_its_own_size_and_about_mirror_images_if_wanted() -> None:
    shown = faces([0, 3, 5], ["a", "a", "b"])
    plain = probabilities(reads_columns, shown, side_px=8, mirrored=False)
    assert plain.shape == (3, 6)
    np.testing.assert_allclose(plain.sum(axis=1), 1)
    assert plain.argmax(axis=1).tolist() == [0, 3, 5]
    both = probabilities(reads_columns, shown, side_px=8, mirrored=True)
    assert both[1, 3] == pytest.approx(both[1, 4])  # column 3 seen from the other side is column 4
    asked: list[tuple[int, ...]] = []

    def remembers(crops: np.ndarray) -> np.ndarray:
        asked.append(crops.shape)
        return np.zeros((len(crops), 7))

    probabilities(remembers, shown, side_px=4, mirrored=True)
    assert asked == [(3, 4, 4, 1)] * 2


def test_gains_are_paired_and_each_source_counts_equally() -> None:
    shown = faces([0, 1, 2, 3, 0, 1], ["a", "a", "a", "a", "b", "b"])
    first = np.eye(6)[[0, 1, 0, 0, 0, 0]]
    second = np.eye(6)[[0, 1, 2, 0, 0, 1]]
    table = compare_answers({"first": first, "second": second}, shown)
    assert table["first"]["mean_gain_points"] == 0
    row = table["second"]["sources"]
    assert row["a"]["n"] == 4 and row["a"]["accuracy"] == 0.75 and row["a"]["macro_recall"] == 0.75
    assert row["a"]["gain_points"] == pytest.approx(25)
    assert row["a"]["gain_standard_error"] == pytest.approx(100 * np.std([0, 0, 1, 0]) / 2)
    assert row["b"]["gain_points"] == pytest.approx(50)
    assert table["second"]["mean_gain_points"] == pytest.approx(37.5)
    assert table["second"]["sources"]["b"]["loss"] == pytest.approx(0)
    assert table["first"]["sources"]["b"]["loss"] == pytest.approx(-np.log(1e-6) / 2)


def test_the_mean_of_answers_can_be_right_where_either_is_wrong() -> None:
    shown = faces([2], ["a"])
    one, other = np.array([[0.5, 0, 0.4, 0.1, 0, 0]]), np.array([[0, 0.5, 0.4, 0.1, 0, 0]])
    table = compare_answers({"one": one, "mean": mean_answer([one, other])}, shown)
    assert table["mean"]["sources"]["a"]["gain_points"] == 100


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(DatasetError, match="at least one network"):
        compare_answers({}, faces([0], ["a"]))
