"""A person's own face at rest: what their logits owe to their features, and not to an expression.

Some faces look sad, or stern, at rest. Where pictures of a person at rest are given, the mean of their logits, less what faces at rest
give on average, is taken out of every answer about that person. Few pictures say little: the offset is shrunk towards none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ManifestError
from models.expression.taxonomy import N_LABELS

Float64Array = npt.NDArray[np.float64]

NEUTRAL_LOGITS = "neutral_logits"
"""Parameter of a manifest: mean logits of validation pictures of faces at rest, six figures."""

HALF_AT = 0.5
"""Pictures at which the offset is halved: people at rest differ about twice as much as pictures of one of them."""


def read_neutral_logits(parameters: Mapping[str, Any]) -> Float64Array | None:
    """Return the mean logits of faces at rest, float64 (6,); None where the manifest states none.

    Raises:
        ManifestError: what is stated is no six figures.
    """
    stated = parameters.get(NEUTRAL_LOGITS)
    if stated is None:
        return None
    if not isinstance(stated, list | tuple) or len(stated) != N_LABELS:
        raise ManifestError(f"the artifact's {NEUTRAL_LOGITS} is no table of {N_LABELS} figures: {stated!r}")
    if not all(isinstance(v, float | int) and abs(v) < 100 for v in stated):
        raise ManifestError(f"the artifact's {NEUTRAL_LOGITS} holds what is no logit: {stated!r}")
    return np.asarray(stated, np.float64)


def mean_neutral(logits: npt.ArrayLike) -> Float64Array:
    """Return the mean of centred logits (n, 6 or more) about faces at rest, float64 (6,)."""
    return np.asarray(_centred(logits).mean(axis=0))


def neutral_offset(logits: npt.ArrayLike, usual: Float64Array) -> Float64Array:
    """Return what to take out of a person's logits, float64 (6,).

    Args:
        logits: (n, 6 or more) about that person at rest, n >= 1.
        usual: from `read_neutral_logits`.
    """
    table = _centred(logits)
    return np.asarray((table.mean(axis=0) - usual) * len(table) / (len(table) + HALF_AT))


def _centred(logits: npt.ArrayLike) -> Float64Array:
    six = np.asarray(logits, np.float64)[:, :N_LABELS]
    return np.asarray(six - six.mean(axis=1, keepdims=True))
