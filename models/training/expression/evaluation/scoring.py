"""Figures of merit with their intervals, from labels and predictions alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.expression.taxonomy import N_LABELS

Int64Array = npt.NDArray[np.int64]

Z_95 = 1.959963984540054


def accuracy(labels: Int64Array, predicted: Int64Array) -> float:
    """Return the share of predictions that equal the label."""
    return float((labels == predicted).mean())


def confusion_matrix(labels: Int64Array, predicted: Int64Array) -> Int64Array:
    """Return int64 (6, 6) counts: row is the label, column the prediction."""
    cells = np.bincount(labels * N_LABELS + predicted, minlength=N_LABELS * N_LABELS)
    return cells.reshape(N_LABELS, N_LABELS).astype(np.int64)


def recalls(confusion: Int64Array) -> npt.NDArray[np.float64]:
    """Return the recall of each label, float64 (6,), NaN where the label does not occur."""
    totals = confusion.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(totals > 0, np.diag(confusion) / totals, np.nan)


def macro_recall(labels: Int64Array, predicted: Int64Array) -> float:
    """Return the mean recall over the labels that occur."""
    return float(np.nanmean(recalls(confusion_matrix(labels, predicted))))


def wilson_interval(hits: int, total: int, *, z: float = Z_95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion; (0, 1) for no trials.

    References:
        Wilson (1927), J. Am. Stat. Assoc. 22:209-212.
    """
    if total == 0:
        return 0.0, 1.0
    share = hits / total
    centre = share + z * z / (2 * total)
    half = z * float(np.sqrt(share * (1 - share) / total + z * z / (4 * total * total)))
    scale = 1 + z * z / total
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def bootstrap_interval(
    labels: Int64Array, predicted: Int64Array, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of the macro recall, resampling within each label."""
    rng = np.random.default_rng(seed)
    confusion = confusion_matrix(labels, predicted)
    draws = []
    for label, row in enumerate(confusion):
        total = int(row.sum())
        if total:
            draws.append(rng.binomial(total, row[label] / total, resamples) / total)
    means = np.mean(draws, axis=0)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def paired_difference_interval(
    first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Return mean(first) - mean(second) of paired hits, with its 95 % normal interval.

    Args:
        first: bool (n,), whether the first model was right on each picture.
        second: bool (n,), the same for the second model.

    Returns:
        difference, lower bound, upper bound, as shares.
    """
    gaps = first.astype(np.float64) - second.astype(np.float64)
    mean = float(gaps.mean())
    half = Z_95 * float(gaps.std(ddof=1)) / float(np.sqrt(len(gaps))) if len(gaps) > 1 else 0.0
    return mean, mean - half, mean + half
