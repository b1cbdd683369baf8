"""Know when to say nothing: the thresholds above which an answer is given, chosen on validation pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


LEAST_OF_A_SOURCE = 400
"""Pictures on which a source's own 98 % can be told from 96 %."""


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


def choose_scope_threshold(in_scope: Float64Array, *, kept_share: float = 0.95) -> float:
    """Return the threshold at which a given share of pictures that do show one of the six stays in scope.

    Args:
        in_scope: float64 (n,), in-scope probabilities of such validation pictures.
        kept_share: share of them to keep at least, in (0, 1].

    Returns:
        A threshold to use with `>=`.
    """
    return float(np.quantile(in_scope, 1.0 - kept_share, method="lower"))


def choose_threshold_for_all(
    confidence: Float64Array, correct: BoolArray, sources: Sequence[str], *, wanted_accuracy: float
) -> float:
    """Return the lowest threshold at which validation accuracy reaches the wanted one in *every* source.

    An average over sources would let easy pictures pay for hard ones, and whoever sends the hard ones would get
    less than was promised. Sources with fewer pictures than `LEAST_OF_A_SOURCE` are taken together.

    Args:
        confidence: float64 (n,) of validation pictures.
        correct: bool (n,).
        sources: source of each picture.
        wanted_accuracy: share of right answers among those kept.
    """
    names = np.asarray(sources)
    large = [n for n in sorted(set(sources)) if (names == n).sum() >= LEAST_OF_A_SOURCE]
    groups = [names == n for n in large]
    rest = ~np.isin(names, large)
    if rest.any():
        groups.append(rest)
    return max(choose_threshold(confidence[g], correct[g], wanted_accuracy=wanted_accuracy) for g in groups)


def coverage_and_accuracy(
    confidence: Float64Array, correct: BoolArray, *, threshold: float
) -> tuple[float, float]:
    """Return the share of pictures kept at a threshold, and the accuracy among them (NaN if none)."""
    kept = confidence >= threshold
    return float(kept.mean()), float(correct[kept].mean()) if kept.any() else float("nan")


def area_under_roc(kept: Float64Array, refused: Float64Array) -> float:
    """Return the probability that a picture to keep scores above one to refuse, ties counting half.

    Args:
        kept: float64 (n,), scores of pictures that should be kept.
        refused: float64 (m,), scores of pictures that should not be.

    Returns:
        A share in [0, 1]; NaN if either is empty.
    """
    if not len(kept) or not len(refused):
        return float("nan")
    ordered = np.sort(refused)
    below = np.searchsorted(ordered, kept, side="left")
    not_above = np.searchsorted(ordered, kept, side="right")
    return float((below + not_above).mean() / (2 * len(refused)))
