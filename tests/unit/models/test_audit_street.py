from __future__ import annotations

import numpy as np
import pytest

from models.audit import street
from models.audit.answers import AnswerRule
from models.audit.headline import make_headline
from models.audit.street import Arrivals, send_pictures
from models.audit.street_loss import street_loss, worst_loss
from models.errors import DatasetError
from models.expression.loading import EXPRESSION_DIR
from models.training.expression.evaluation.framing import frame_picture

RULE = AnswerRule(temperature=1.0, confident_above=0.5)


def one_hot(labels: list[int]) -> np.ndarray:
    return (np.eye(6)[labels] * 9).astype(np.float32)


def arrivals(labels: list[int], sent: list[bool]) -> Arrivals:
    logits = one_hot(labels)
    logits[~np.array(sent)] = np.nan
    return Arrivals(
        sent=np.array(sent),
        logits=logits,
        skips={"no_face": sent.count(False)},
        steps={"rgb96_q75": sent.count(True)},
        envelope_bytes=np.where(sent, 2128, 0),
    )


def test_the_loss_is_paired_over_the_pictures_that_were_sent() -> None:
    truth = [0, 1, 2, 3]
    figures = street_loss(
        one_hot([0, 1, 2, 0]), arrivals([0, 1, 0, 3], [True, True, True, False]), np.array(truth), RULE
    )
    assert figures["direct_accuracy"] == 1.0
    assert figures["accuracy"] == pytest.approx(2 / 3)
    assert figures["loss_points"][0] == pytest.approx(100 / 3)
    assert figures["accuracy_unsent_wrong"] == 0.5
    assert figures["sent"] == 0.75
    assert figures["envelope_bytes_median"] == 2128


def test_the_headline_takes_the_worse_of_the_two_clean_sets() -> None:
    figures = {
        "rafdb": {"loss_points": [0.4, 0, 1]},
        "ferplus": {"loss_points": [0.9, 0, 1]},
        "muxspace": {"loss_points": [5.0, 0, 9]},
    }
    assert worst_loss(figures) == 0.9
    assert worst_loss({}) is None


def test_a_picture_gets_a_grey_border_of_half_its_side() -> None:
    framed = frame_picture(np.full((40, 60), 9, np.uint8))
    assert framed.shape == (100, 120, 3)
    assert (framed[:30] == 128).all() and (framed[30:70, 30:90] == 9).all()
    red = frame_picture(np.full((10, 10, 3), (255, 0, 0), np.uint8), share=0.0)
    assert red[0, 0].tolist() == [0, 0, 255]


@pytest.mark.parametrize("silent_or_babbling", ["abc", "this"])
def test_a_street_that_ends_early_is_said_to(
    monkeypatch: pytest.MonkeyPatch, silent_or_babbling: str
) -> None:
    monkeypatch.setattr(street, "COMMAND_MODULE", silent_or_babbling)
    with pytest.raises(DatasetError, match="ended early"):
        send_pictures([np.zeros((40, 40), np.uint8)], artifact=EXPRESSION_DIR)


def test_a_street_that_is_not_installed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert street.is_street_here()
    monkeypatch.setattr(street, "COMMAND_MODULE", "no_such_package.cli")
    assert not street.is_street_here()


def test_what_was_not_measured_is_none_in_the_headline() -> None:
    headline = make_headline({"sets": {}}, digest="d")
    assert headline.pop("artifact_digest") == "d"
    assert set(headline.values()) == {None}
    assert {"street_loss_points", "group_gap_lower_points", "largest_group_gap_points", "ece_max"} < set(
        headline
    )


GAPS = [
    {"attribute": "abstention, race", "points": 8.0, "lower95_points": 1.0},
    {"attribute": "detector recall, fairface gender", "points": 7.0, "lower95_points": 2.0},
]


@pytest.mark.parametrize("measured", [GAPS[:1], GAPS[1:], []])
def test_the_widest_gap_is_not_claimed_where_only_a_part_was_compared(measured: list[object]) -> None:
    headline = make_headline({"sets": {}, "gaps": measured}, digest="d")
    assert headline["largest_group_gap_points"] is headline["group_gap_lower_points"] is None


@pytest.mark.parametrize(("accuracy", "coverage"), [(0.976, 0.6), (0.974, 0.0)])
def test_coverage_counts_only_where_the_accuracy_holds(accuracy: float, coverage: float) -> None:
    shipped = {"coverage_at_threshold": 0.6, "accuracy_at_threshold": accuracy, "ece_15": 0.02}
    body = {
        "sets": {"rafdb": {"int8": shipped, "int8_loss_points": [0.1, 0, 1]}},
        "gaps": GAPS,
        "detectors": {"paired": {"mediapipe": {"points": -0.5, "lower95_points": -1.1}}},
    }
    headline = make_headline(body, digest="d")
    assert headline["coverage_at_98_rafdb"] == coverage
    assert headline["largest_group_gap_points"] == 8.0
    assert headline["group_gap_lower_points"] == 2.0
    assert headline["detector_recall_delta_points"] == -0.5
