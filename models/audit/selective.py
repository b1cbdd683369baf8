"""How good answers are when the least certain ones may be left out: risk-coverage, Brier score.

References:
    Geifman & El-Yaniv (2017), Selective Classification for Deep Neural Networks, arXiv:1705.08500.
    Brier (1950), Monthly Weather Review 78:1-3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]

COVERAGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def risk_coverage(confidence: Float64Array, correct: BoolArray) -> Float64Array:
    """Return the error rate among the k most confident answers, float64 (n,), for k = 1..n."""
    order = np.argsort(-confidence, kind="stable")
    wrong = ~correct[order]
    return np.asarray(np.cumsum(wrong) / np.arange(1, len(order) + 1), np.float64)


def area_under_risk_coverage(confidence: Float64Array, correct: BoolArray) -> float:
    """Return the mean of the risk-coverage curve (AURC): 0 is best, the error rate is what chance ordering gives."""
    return float(risk_coverage(confidence, correct).mean())


def excess_area(confidence: Float64Array, correct: BoolArray) -> float:
    """Return AURC minus that of the best possible ordering of the same answers (E-AURC)."""
    best = area_under_risk_coverage(correct.astype(np.float64), correct)
    return area_under_risk_coverage(confidence, correct) - best


def curve_points(confidence: Float64Array, correct: BoolArray) -> list[dict[str, float]]:
    """Return the curve at `COVERAGES`: coverage, accuracy among those kept, and the least confidence kept."""
    risks = risk_coverage(confidence, correct)
    ranked = np.sort(confidence)[::-1]
    points = []
    for coverage in COVERAGES:
        last = max(1, round(coverage * len(risks))) - 1
        points.append(
            {"coverage": coverage, "accuracy": 1.0 - float(risks[last]), "confidence": float(ranked[last])}
        )
    return points


def brier_score(probabilities: Float64Array, labels: Int64Array) -> float:
    """Return the mean squared distance from the one-hot truth, summed over labels, in [0, 2]."""
    truth = np.zeros_like(probabilities)
    truth[np.arange(len(labels)), labels] = 1.0
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def reliability(confidence: Float64Array, correct: BoolArray, *, bins: int = 15) -> list[dict[str, float]]:
    """Return each occupied confidence bin: how many answers, their mean confidence, their accuracy."""
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    return [
        {
            "n": int(inside.sum()),
            "confidence": float(confidence[inside].mean()),
            "accuracy": float(correct[inside].mean()),
        }
        for inside in (bin_of == index for index in range(bins))
        if inside.any()
    ]
