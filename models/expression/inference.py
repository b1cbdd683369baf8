"""From logits to what a score record holds: numpy alone, no model runtime.

1. An opted-out expression is removed *before* anything is computed, by putting minus infinity in place of its
   logit, so that no stored value depends on it, not even in its last bit (compliance G1).
2. Probabilities are calibrated by one temperature, then renormalised over what is left.
3. Stored probabilities are bytes that sum to 255, by largest remainder; an opted-out one is always 0.
4. Confidence, sentiment and engagement come from the renormalised vector alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.errors import TensorShapeError
from models.expression.taxonomy import LABELS, LOGIT_WIDTHS, N_LABELS, VALENCE

UInt8Array = npt.NDArray[np.uint8]
Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

FULL_SCALE = 255
"""What the six stored bytes sum to."""

_NEUTRAL = LABELS.index("neutral")
_VALENCE = np.asarray(VALENCE, np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What is known about n faces after opt-outs; labels are in the order of `taxonomy.LABELS`.

    Attributes:
        probabilities: float64 (n, 6); rows sum to 1, or are all 0 where every label is opted out.
        stored: uint8 (n, 6); rows sum to 255, or are all 0 where every label is opted out.
        confidence: float64 (n,), the largest probability, in [0, 1].
        sentiment: float64 (n,), expected valence, in [-1, 1].
        engagement: float64 (n,), probability of any expression but neutral, in [0, 1]; NaN where neutral is
            opted out, because then it would say nothing.
    """

    probabilities: Float64Array
    stored: UInt8Array
    confidence: Float64Array
    sentiment: Float64Array
    engagement: Float64Array


def opt_out_mask(labels: Iterable[str]) -> BoolArray:
    """Return bool (6,), True at each opted-out label.

    Raises:
        TensorShapeError: a name is not one of `taxonomy.LABELS`.
    """
    mask = np.zeros(N_LABELS, np.bool_)
    for label in labels:
        if label not in LABELS:
            raise TensorShapeError(f"cannot opt out of {label!r}; the expressions are: {', '.join(LABELS)}")
        mask[LABELS.index(label)] = True
    return mask


def masked_probabilities(
    logits: npt.ArrayLike, *, temperature: float | Float64Array, opted_out: BoolArray | None = None
) -> Float64Array:
    """Turn logits into calibrated probabilities over the labels that may be scored.

    Args:
        logits: (n, 6), in the order of `taxonomy.LABELS`, or (n, 7) with "other" last, which is not looked at.
        temperature: calibration temperature, above 0; one for all faces, or float64 (n,) for each.
        opted_out: bool (6,) for all faces or (n, 6) for each; None opts out of nothing.

    Returns:
        float64 (n, 6); opted-out columns are exactly 0. Bit-identical for any values of opted-out logits.

    Raises:
        TensorShapeError: logits, temperature or mask have another shape, or a logit that counts is not finite.
    """
    table = np.asarray(logits, np.float64)
    if table.ndim != 2 or table.shape[1] not in LOGIT_WIDTHS:
        raise TensorShapeError(f"logits must have shape (n, 6) or (n, 7), got {table.shape}")
    divisor = np.asarray(temperature, np.float64)
    if divisor.shape not in ((), (len(table),)):
        raise TensorShapeError(f"temperature must be one or have shape ({len(table)},), got {divisor.shape}")
    six = without_opted_out(table[:, :N_LABELS], opted_out)
    return softmax_rows(six / (divisor[:, None] if divisor.ndim else divisor))


def without_opted_out(six: Float64Array, opted_out: BoolArray | None) -> Float64Array:
    """Put minus infinity in place of opted-out logits (rule 1), so that nothing can depend on them.

    Args:
        six: float64 (n, 6).
        opted_out: bool (6,) for all faces or (n, 6) for each; None opts out of nothing.

    Raises:
        TensorShapeError: the mask has another shape, or a logit that counts is not finite.
    """
    allowed = np.ones(six.shape, np.bool_)
    if opted_out is not None:
        if opted_out.shape not in ((N_LABELS,), six.shape):
            raise TensorShapeError(f"opt-out mask must have shape (6,) or {six.shape}, got {opted_out.shape}")
        allowed &= ~opted_out
    if not np.isfinite(six[allowed]).all():
        raise TensorShapeError("logits must be finite")
    return np.where(allowed, six, -np.inf)


def softmax_rows(scaled: Float64Array) -> Float64Array:
    """Return the softmax of each row; a row of minus infinity alone becomes zeros."""
    top = scaled.max(axis=1, keepdims=True, initial=-np.inf)
    powers = np.exp(scaled - np.where(np.isneginf(top), 0.0, top))
    totals = powers.sum(axis=1, keepdims=True)
    return np.asarray(np.divide(powers, totals, out=np.zeros_like(powers), where=totals > 0))


def store_probabilities(probabilities: Float64Array) -> UInt8Array:
    """Round probabilities to bytes that sum to 255, by largest remainder (ties go to the earlier label).

    Args:
        probabilities: float64 (n, 6), rows sum to 1 or are all 0.

    Returns:
        uint8 (n, 6); zero stays zero, and an all-zero row stays all zero.
    """
    scaled = probabilities * FULL_SCALE
    floors = np.floor(scaled)
    missing = np.where(probabilities.any(axis=1), FULL_SCALE - floors.sum(axis=1), 0).astype(np.int64)
    remainders = np.where(probabilities > 0, scaled - floors, -1.0)
    order = np.argsort(-remainders, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.broadcast_to(np.arange(N_LABELS), order.shape), axis=1)
    return (floors + (rank < missing[:, None])).astype(np.uint8)


def score_logits(
    logits: npt.ArrayLike, *, temperature: float | Float64Array, opted_out: BoolArray | None = None
) -> Scores:
    """Turn a batch of logits into everything that a score record needs.

    Args and errors are those of `masked_probabilities`.
    """
    probabilities = masked_probabilities(logits, temperature=temperature, opted_out=opted_out)
    return Scores(
        probabilities=probabilities,
        stored=store_probabilities(probabilities),
        confidence=probabilities.max(axis=1, initial=0.0),
        sentiment=probabilities @ _VALENCE,
        engagement=_engagement(probabilities, opted_out),
    )


def _engagement(probabilities: Float64Array, opted_out: BoolArray | None) -> Float64Array:
    engagement: Float64Array = probabilities.sum(axis=1) - probabilities[:, _NEUTRAL]
    if opted_out is None:
        return engagement
    return np.where(np.broadcast_to(opted_out, probabilities.shape)[:, _NEUTRAL], np.nan, engagement)
