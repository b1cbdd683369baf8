"""Tests and intervals for many groups at once, on numpy alone.

References:
    Benjamini & Hochberg (1995), J. R. Stat. Soc. B 57:289-300.
    Fisher (1922), J. R. Stat. Soc. 85:87-94.
    Mann & Whitney (1947), Ann. Math. Stat. 18:50-60.
    Romano & Wolf (2005), J. Am. Stat. Assoc. 100:94-108 (max-type simultaneous inference).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import erfc, lgamma, sqrt

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

ROUNDS = 10_000
_MORE_EXTREME = 1 + 1e-7
"""Tables as probable as the one seen count as extreme; equal ones must not be lost to rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group of an attribute, with whether each of its members was a hit (abstained, was found)."""

    attribute: str
    name: str
    hits: BoolArray


def adjust_fdr(p_values: Sequence[float]) -> list[float]:
    """Return Benjamini-Hochberg adjusted p values, in the order given."""
    count = len(p_values)
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values, np.float64)[order] * count / np.arange(1, count + 1)
    smallest_after = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1.0)
    adjusted = np.empty(count)
    adjusted[order] = smallest_after
    return [float(p) for p in adjusted]


def fisher_exact(hits: int, total: int, other_hits: int, other_total: int) -> float:
    """Return the two-sided p value of Fisher's exact test that two shares are one."""
    marked, everyone = hits + other_hits, total + other_total
    lowest, highest = max(0, marked - other_total), min(marked, total)
    logs = np.array(
        [_log_choose(total, k) + _log_choose(other_total, marked - k) for k in range(lowest, highest + 1)]
    )
    chances = np.exp(logs - _log_choose(everyone, marked))
    seen = chances[hits - lowest]
    return float(min(1.0, chances[chances <= seen * _MORE_EXTREME].sum()))


def rank_sum(first: Float64Array, second: Float64Array) -> float:
    """Return the two-sided p value of the Mann-Whitney test, normal approximation, corrected for ties."""
    n, m = len(first), len(second)
    if not n or not m:
        return 1.0
    _, place, counts = np.unique(np.concatenate([first, second]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    u = ranks[:n].sum() - n * (n + 1) / 2
    ties = float((counts.astype(np.float64) ** 3 - counts).sum())
    variance = n * m / 12 * (n + m + 1 - ties / ((n + m) * (n + m - 1)))
    if variance <= 0:
        return 1.0
    return erfc(max(0.0, abs(u - n * m / 2) - 0.5) / sqrt(2 * variance))


def simultaneous_gaps(
    groups: Sequence[Group], *, rounds: int = ROUNDS, seed: int = 0
) -> list[dict[str, object]]:
    """Compare every two groups of the same attribute, with intervals that hold for all gaps together.

    The hits of each group are resampled (a binomial draw of its own share, which is what a bootstrap of a
    share is). Each gap is studentised by its standard error, and the 95 % quantile of the largest absolute
    deviation over *all* gaps is the one multiplier of every interval (max-type bootstrap). Standard errors come
    from (hits + 1) / (n + 2), so that a share of 0 or 1 does not claim to be certain.

    Args:
        groups: groups of one or more attributes.
        rounds: bootstrap rounds.
        seed: for the draws.

    Returns:
        One object per pair, the widest gap first: attribute, groups (the higher share first), points (of the
        gap, at least 0), lower95_points and upper95_points (simultaneous; `lower95_points` is at least 0).
    """
    pairs = [
        (i, j) for i, j in combinations(range(len(groups)), 2) if groups[i].attribute == groups[j].attribute
    ]
    if not pairs:
        return []
    sizes = np.array([len(g.hits) for g in groups])
    shares = np.array([g.hits.mean() for g in groups])
    eased = np.array([(g.hits.sum() + 1) / (len(g.hits) + 2) for g in groups])
    variances = eased * (1 - eased) / sizes
    left, right = (np.array(side) for side in zip(*pairs, strict=True))
    errors = np.sqrt(variances[left] + variances[right])
    rng = np.random.default_rng(seed)
    drawn = rng.binomial(sizes, eased, (rounds, len(groups))) / sizes - eased
    deviations = np.abs(drawn[:, left] - drawn[:, right]) / errors
    multiplier = float(np.quantile(deviations.max(axis=1), 0.95))
    gaps = shares[left] - shares[right]
    found: list[dict[str, object]] = []
    for index in np.argsort(-np.abs(gaps), kind="stable"):
        higher, lower = (left[index], right[index]) if gaps[index] >= 0 else (right[index], left[index])
        size, half = abs(float(gaps[index])), multiplier * float(errors[index])
        found.append(
            {
                "attribute": groups[higher].attribute,
                "groups": [groups[higher].name, groups[lower].name],
                "points": 100 * size,
                "lower95_points": 100 * max(0.0, size - half),
                "upper95_points": 100 * (size + half),
            }
        )
    return found


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
