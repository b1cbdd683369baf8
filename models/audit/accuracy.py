"""Accuracy, calibration and selective figures of both variants and the peers, on every labelled test set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.audit.answers import AnswerRule, Answers, AtHome, answer
from models.audit.selective import (
    area_under_risk_coverage,
    brier_score,
    curve_points,
    excess_area,
    reliability,
)
from models.expression.taxonomy import N_LABELS
from models.training.expression.evaluation.engines import Predictor
from models.training.expression.evaluation.evaluate import TestSet, measure
from models.training.expression.evaluation.scoring import paired_difference_interval, wilson_interval

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """What is compared: the shipped variant, the float one, and other models by name."""

    int8: Predictor
    float32: Predictor
    peers: Mapping[str, Predictor]


def measure_sets(
    sets: Iterable[TestSet], engines: Engines, rule: AnswerRule, *, home: AtHome | None = None
) -> tuple[dict[str, Any], dict[str, Float32Array]]:
    """Measure everything on every test set.

    Args:
        sets: test sets.
        engines: peers are measured as they come: temperature 1, no threshold.
        rule: the artifact's.
        home: reads the sets that the network learned from at their training shares; `as_it_comes` is then said beside.

    Returns:
        Figures by set, and the int8 logits of each set as they come, float32 (n, k).
    """
    figures: dict[str, Any] = {}
    logits: dict[str, Float32Array] = {}
    for test_set in sets:
        crops, labels = list(test_set.crops), test_set.labels
        quantised, full = engines.int8(crops), engines.float32(crops)
        logits[test_set.name] = quantised
        own = rule
        beside: dict[str, Any] = {}
        if home is not None and test_set.name in home.shares:
            plain = measure(quantised, labels, temperature=rule.temperature)
            beside["as_it_comes"] = {key: plain[key] for key in ("accuracy", "macro_recall", "ece_15")}
            beside["shares"] = [float(v) for v in home.shares[test_set.name]]
            own = home.rule
            quantised, full = (home.move(test_set.name, given) for given in (quantised, full))
        figures[test_set.name] = {
            **beside,
            "int8": measure_answers(quantised, labels, own),
            "float32": measure_answers(full, labels, own),
            "int8_loss_points": [
                100 * bound
                for bound in paired_difference_interval(hits(full, labels), hits(quantised, labels))
            ],
            **{name: measure(peer(crops), labels, temperature=1.0) for name, peer in engines.peers.items()},
        }
    return figures, logits


def hits(logits: Float32Array, labels: Int64Array) -> npt.NDArray[np.bool_]:
    """Tell of each row whether the leading one of its six logits is the label."""
    return np.asarray(logits[:, :N_LABELS].argmax(axis=1) == labels, np.bool_)


def measure_answers(logits: Float32Array, labels: Int64Array, rule: AnswerRule) -> dict[str, Any]:
    """Return the figures of `models.training.expression.evaluation.evaluate.measure`, with what abstaining does to them."""
    answers = answer(logits, rule)
    correct = answers.predicted == labels
    return {
        **measure(logits, labels, temperature=rule.temperature, threshold=rule.confident_above),
        "brier": brier_score(answers.probabilities, labels),
        "aurc": area_under_risk_coverage(answers.confidence, correct),
        "e_aurc": excess_area(answers.confidence, correct),
        "risk_coverage": curve_points(answers.confidence, correct),
        "reliability": reliability(answers.confidence, correct),
        "answered": _answered(answers, correct),
        "abstention_by_label": _abstention_by_label(answers, labels),
    }


def _answered(answers: Answers, correct: npt.NDArray[np.bool_]) -> dict[str, Any]:
    given = ~answers.abstains
    return {
        "share": float(given.mean()),
        "share_95": wilson_interval(int(given.sum()), len(given)),
        "accuracy": float(correct[given].mean()) if given.any() else None,
        "accuracy_95": wilson_interval(int(correct[given].sum()), int(given.sum())),
    }


def _abstention_by_label(answers: Answers, labels: Int64Array) -> list[dict[str, Any]]:
    rows = []
    for label in range(N_LABELS):
        mine = answers.abstains[labels == label]
        rows.append(
            {
                "n": len(mine),
                "share": float(mine.mean()) if len(mine) else None,
                "share_95": wilson_interval(int(mine.sum()), len(mine)),
            }
        )
    return rows
