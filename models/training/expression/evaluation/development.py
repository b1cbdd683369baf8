"""Score a network by what it gains on development pictures, at home and under shift: the rule networks are chosen by.

Both networks are asked at stated priors, so that none gains by expecting what happens to be frequent in a set: their own
prior is taken out of their calibrated logits, and for macro recall none is put in its place. The score is the smallest gain in macro
recall over all sets. A candidate fails where a home set's accuracy, at the shares of its training part, falls by more than half a point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.expression.prior import CERTAIN_HOME, CERTAIN_SHIFT
from models.expression.taxonomy import N_LABELS
from models.training.expression.calibration.abstention import choose_threshold
from models.training.expression.calibration.temperature import fit_temperature
from models.training.expression.data.development import MADE_SETS, DevelopmentSet

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

HOME_LOSS_POINTS = 0.5
RESAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a network says of each set: logits (n, 6) by name, their temperature, and the six shares that they carry as prior."""

    logits: Mapping[str, Float64Array]
    prior: Float64Array
    temperature: float = 1.0

    def at(self, name: str, prior: Float64Array | None = None) -> Int64Array:
        """Return the leading label of each picture of a set at a prior; None: uniform."""
        moved = self.logits[name] / self.temperature - np.log(self.prior)
        return np.asarray((moved if prior is None else moved + np.log(prior)).argmax(axis=1), np.int64)


def home_temperature(logits: Mapping[str, Float64Array], sets: Sequence[DevelopmentSet]) -> float:
    """Fit a network's temperature on each home set, and return the mean; 1 where there is none."""
    fitted = [fit_temperature(logits[s.name], s.labels) for s in sets if s.is_home]
    return float(np.mean(fitted)) if fitted else 1.0


def score_candidate(
    candidate: Asked,
    baseline: Asked,
    sets: Sequence[DevelopmentSet],
    *,
    home_shares: Mapping[str, Float64Array],
    seed: int = 0,
) -> dict[str, Any]:
    """Compare a candidate with a baseline on the same pictures.

    Args:
        candidate: what it says.
        baseline: what the network that it would replace says.
        sets: development sets, of which each has its logits in both.
        home_shares: shares of the six labels in the training part of each home set.
        seed: of the bootstrap.

    Returns:
        `score_points` (the smallest gain), `passes` (no home set lost too much), and by set: n, macro_recall of both,
        recall of both by label, gain_points with its 95 % paired bootstrap interval; home sets also accuracy of both at their
        training shares and accuracy_gain_points.

    Raises:
        DatasetError: there is no set.
    """
    if not sets:
        raise DatasetError("there is no development picture to score by")
    rows = {s.name: _compare(candidate, baseline, s, home_shares.get(s.name), seed=seed) for s in sets}
    losses = [row["accuracy_gain_points"] for row in rows.values() if "accuracy_gain_points" in row]
    return {
        "score_points": min(row["gain_points"] for row in rows.values()),
        "passes": all(loss >= -HOME_LOSS_POINTS for loss in losses),
        "sets": rows,
    }


def certain_from(probabilities: Mapping[str, Float64Array], sets: Sequence[DevelopmentSet]) -> dict[str, Any]:
    """Return the lowest confidence from which answers are right often enough in every set, and what it comes to.

    Args:
        probabilities: (n, 6) by set.
        sets: development sets; of each home set `CERTAIN_HOME` of the answers are to be right, of others `CERTAIN_SHIFT`.
            Made faces are told and bind nothing: what they show is only nearly what they are called.

    Returns:
        `confident_from`, and by set the share of answers that it keeps and the share of those that are right.
    """
    confidence = {s.name: probabilities[s.name].max(axis=1) for s in sets}
    right = {s.name: np.asarray(probabilities[s.name].argmax(axis=1) == s.labels) for s in sets}
    threshold = max(
        choose_threshold(
            confidence[s.name], right[s.name], wanted_accuracy=CERTAIN_HOME if s.is_home else CERTAIN_SHIFT
        )
        for s in sets
        if s.name not in MADE_SETS
    )
    kept = {s.name: confidence[s.name] >= threshold for s in sets}
    return {
        "confident_from": threshold,
        "sets": {
            name: {
                "coverage": float(chosen.mean()),
                "right": float(right[name][chosen].mean()) if chosen.any() else None,
            }
            for name, chosen in kept.items()
        },
    }


def paired_gain(
    labels: Int64Array, right: BoolArray, right_before: BoolArray, *, seed: int
) -> tuple[float, float, float]:
    """Return the gain in macro recall in points, with its 95 % interval, pictures resampled within each label.

    Args:
        labels: int64 (n,).
        right: whether the candidate is right.
        right_before: whether the baseline is.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    present = np.unique(labels)
    differences = [right[labels == k].astype(np.float64) - right_before[labels == k] for k in present]
    gain = float(np.mean([d.mean() for d in differences]))
    draws = np.mean(
        [d[rng.integers(len(d), size=(RESAMPLES, len(d)))].mean(axis=1) for d in differences], axis=0
    )
    low, high = np.quantile(draws, [0.025, 0.975])
    return 100 * gain, 100 * float(low), 100 * float(high)


def _compare(
    candidate: Asked, baseline: Asked, chosen: DevelopmentSet, shares: Float64Array | None, *, seed: int
) -> dict[str, Any]:
    labels = chosen.labels
    right, before = candidate.at(chosen.name) == labels, baseline.at(chosen.name) == labels
    gain, low, high = paired_gain(labels, right, before, seed=seed)
    row: dict[str, Any] = {
        "n": len(labels),
        "macro_recall": [_macro(labels, before), _macro(labels, right)],
        "recall": [_by_label(labels, before), _by_label(labels, right)],
        "gain_points": gain,
        "gain_95": [low, high],
    }
    if shares is not None:
        accuracies = [
            float((asked.at(chosen.name, shares) == labels).mean()) for asked in (baseline, candidate)
        ]
        row |= {"accuracy": accuracies, "accuracy_gain_points": 100 * (accuracies[1] - accuracies[0])}
    return row


def _by_label(labels: Int64Array, right: BoolArray) -> list[float | None]:
    return [float(right[labels == k].mean()) if (labels == k).any() else None for k in range(N_LABELS)]


def _macro(labels: Int64Array, right: BoolArray) -> float:
    return float(np.mean([value for value in _by_label(labels, right) if value is not None]))
