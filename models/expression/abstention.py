"""Know when to say nothing: the confidence above which answers were right often enough."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def choose_threshold(
    confidence: Float64Array, correct: BoolArray, *, wanted_accuracy: float, least: int = 50
) -> float:
    """Return the lowest threshold at which validation accuracy reaches the wanted one.

    Args:
        confidence: float64 (n,) of validation pictures.
        correct: bool (n,).
        wanted_accuracy: share of right answers among those kept.
        least: fewest pictures on which an accuracy is believed.

    Returns:
        A threshold to use with `>=`; 1.0 if no threshold does.
    """
    order = np.argsort(-confidence, kind="stable")
    kept = np.arange(1, len(order) + 1)
    running = np.cumsum(correct[order]) / kept
    # A threshold keeps every picture of its own confidence, so only the last of a tie may be chosen.
    last_of_tie = np.append(confidence[order][:-1] != confidence[order][1:], True)
    good = np.flatnonzero((running >= wanted_accuracy) & (kept >= least) & last_of_tie)
    return float(confidence[order][good[-1]]) if good.size else 1.0


def coverage_and_accuracy(
    confidence: Float64Array, correct: BoolArray, *, threshold: float
) -> tuple[float, float]:
    """Return the share of pictures kept at a threshold, and the accuracy among them (NaN if none)."""
    kept = confidence >= threshold
    return float(kept.mean()), float(correct[kept].mean()) if kept.any() else float("nan")
