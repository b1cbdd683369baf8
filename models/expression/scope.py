"""Know what the network was never asked about: fear, contempt, an unknown expression, or no face at all.

A network may give a seventh logit, "other". Its probability is taken under a softmax over the six expressions
and "other" together, with a temperature of its own, because the six alone cannot say that none of them fits.

1. The six probabilities of a record never depend on "other" (`models.expression.inference`): it only decides
   whether the record is marked.
2. An opted-out expression leaves before anything is computed here too (compliance G1): minus infinity in place
   of its logit, so that no bit of the answer depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.errors import TensorShapeError
from models.expression.inference import BoolArray, Float64Array, softmax_rows, without_opted_out
from models.expression.taxonomy import N_LABELS, OTHER_COLUMN


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeRule:
    """When a face shows none of the six; fitted on validation pictures, kept in the manifest.

    Attributes:
        temperature: divides all seven logits, above 0 (`parameters.scope_temperature`).
        in_scope_above: a face is in scope from this probability of any of the six on, in [0, 1]
            (`parameters.in_scope_above`).
    """

    temperature: float
    in_scope_above: float


def in_scope_probability(
    logits: npt.ArrayLike, *, temperature: float, opted_out: BoolArray | None = None
) -> Float64Array:
    """Return how probable it is that a face shows one of the expressions that may be scored.

    Args:
        logits: (n, 7), the six in the order of `taxonomy.LABELS`, then "other".
        temperature: of the rule, above 0.
        opted_out: bool (6,) for all faces or (n, 6) for each; None opts out of nothing.

    Returns:
        float64 (n,) in [0, 1]; bit-identical for any values of opted-out logits.

    Raises:
        TensorShapeError: another shape, or a logit that counts is not finite.
    """
    table = np.asarray(logits, np.float64)
    if table.ndim != 2 or table.shape[1] != N_LABELS + 1:
        raise TensorShapeError(f"logits must have shape (n, {N_LABELS + 1}), got {table.shape}")
    if not np.isfinite(table[:, OTHER_COLUMN]).all():
        raise TensorShapeError("logits must be finite")
    six = without_opted_out(table[:, :N_LABELS], opted_out)
    shares = softmax_rows(np.concatenate([six, table[:, OTHER_COLUMN:]], axis=1) / temperature)
    return np.asarray(shares[:, :N_LABELS].sum(axis=1).clip(0.0, 1.0))


def out_of_scope(
    logits: npt.ArrayLike, rule: ScopeRule | None, *, opted_out: BoolArray | None = None
) -> BoolArray:
    """Say of each face whether it shows none of the six.

    Args:
        logits: (n, 7); with no rule, (n, 6) or (n, 7).
        rule: the artifact's; None where the network cannot tell, and then no face is out of scope.
        opted_out: as for `in_scope_probability`.

    Returns:
        bool (n,).

    Raises:
        TensorShapeError: as for `in_scope_probability`.
    """
    if rule is None:
        return np.zeros(len(np.asarray(logits)), np.bool_)
    return (
        in_scope_probability(logits, temperature=rule.temperature, opted_out=opted_out) < rule.in_scope_above
    )
