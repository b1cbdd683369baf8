from __future__ import annotations

import numpy as np
import pytest

from models.audit.answers import AnswerRule, answer
from models.audit.selective import (
    area_under_risk_coverage,
    brier_score,
    curve_points,
    excess_area,
    reliability,
    risk_coverage,
)
from models.expression.scope import ScopeRule

CONFIDENCE = np.array([0.9, 0.8, 0.7, 0.6])
CORRECT = np.array([True, False, True, False])


def test_risk_is_the_error_rate_among_the_most_confident() -> None:
    np.testing.assert_allclose(risk_coverage(CONFIDENCE, CORRECT), [0, 1 / 2, 1 / 3, 1 / 2])
    assert area_under_risk_coverage(CONFIDENCE, CORRECT) == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_the_best_ordering_has_no_excess_area() -> None:
    assert excess_area(np.array([0.9, 0.2, 0.8, 0.1]), CORRECT) == pytest.approx(0.0)
    assert excess_area(np.array([0.1, 0.8, 0.2, 0.9]), CORRECT) > 0.3


def test_curve_points_end_at_the_accuracy_of_all() -> None:
    points = curve_points(CONFIDENCE, CORRECT)
    assert points[-1] == {"coverage": 1.0, "accuracy": 0.5, "confidence": 0.6}
    assert points[0]["confidence"] == 0.9


def test_the_brier_score_of_a_hand_made_case() -> None:
    assert brier_score(np.array([[0.8, 0.2], [0.5, 0.5]]), np.array([0, 1])) == pytest.approx(
        (0.08 + 0.5) / 2
    )


def test_reliability_bins_hold_every_answer_once() -> None:
    bins = reliability(np.array([0.0, 0.5, 0.51, 1.0]), CORRECT, bins=2)
    assert [b["n"] for b in bins] == [1, 3]
    assert bins[1]["accuracy"] == pytest.approx(1 / 3)


def test_answers_abstain_below_the_confidence_that_was_fixed() -> None:
    rule = AnswerRule(temperature=1.0, confident_above=0.9)
    answers = answer(np.array([[9.0, 0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0, 0]]), rule)
    assert answers.abstains.tolist() == [False, True]
    assert answers.in_scope is None
    assert answers.predicted.tolist() == [0, 0]


def test_answers_abstain_out_of_scope_however_sure_the_six_are() -> None:
    rule = AnswerRule(
        temperature=1.0, confident_above=0.9, scope=ScopeRule(temperature=1.0, in_scope_above=0.5)
    )
    answers = answer(np.array([[9.0, 0, 0, 0, 0, 0, 12.0], [9.0, 0, 0, 0, 0, 0, 0.0]]), rule)
    assert answers.abstains.tolist() == [True, False]
    assert answers.in_scope is not None
    assert answers.in_scope[0] < 0.1 < 0.9 < answers.in_scope[1]
