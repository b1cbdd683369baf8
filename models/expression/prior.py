"""How frequent each expression is expected to be: a stated prior, put in place of the one that logits carry.

A network that learned from pictures drawn in some shares answers for a world with those shares. Its manifest says which
(`logit_prior`), so that at reading another prior can be asked for: logits gain the difference of the logarithms (Menon et al. 2021,
Long-tail learning via logit adjustment, arXiv:2007.07314). Values are fixed by use, never chosen on a labelled set.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import ManifestError
from models.expression.taxonomy import LABELS, N_LABELS

Float64Array = npt.NDArray[np.float64]

LOGIT_PRIOR = "logit_prior"
"""Parameter of a manifest: six shares, in the order of the labels, that the artifact's logits carry at its temperature."""

HOME_SHARES = "home_shares"
"""Parameter of a manifest: by data set that the network learned from, the six shares of its training part."""

CONFIDENT_AT_HOME = "confident_at_home"
"""Parameter of a manifest: as `confident_above`, for answers at the home sets' own shares."""

CONFIDENT_AT = "confident_at"
"""Parameter of a manifest: by named prior, the confidence from which a single picture's answer is called certain."""

CERTAIN_HOME, CERTAIN_SHIFT = 0.95, 0.9
"""Shares of such answers that are right, at least: of each home set's validation pictures, and of muxspace."""

UNIFORM, AUDIENCE, CARRIED = "uniform", "audience", "carried"

PRIORS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        UNIFORM: (1 / 6,) * N_LABELS,
        AUDIENCE: (0.2, 0.1, 0.1, 0.1, 0.1, 0.4),
    }
)
"""Named priors, in the order of the labels. `audience`: people who watch something are mostly at rest, else smile."""

_LEAST = 1e-4


def read_prior(parameters: Mapping[str, Any]) -> Float64Array:
    """Return the prior that an artifact's logits carry, float64 (6,), sum 1; uniform where its manifest states none.

    Raises:
        ManifestError: what is stated is no six shares above 0.
    """
    stated = parameters.get(LOGIT_PRIOR, [1 / N_LABELS] * N_LABELS)
    if not isinstance(stated, list | tuple) or len(stated) != N_LABELS:
        raise ManifestError(f"the artifact's {LOGIT_PRIOR} is no table of {N_LABELS} shares: {stated!r}")
    if not all(isinstance(v, float | int) and _LEAST <= v <= 1 for v in stated):
        raise ManifestError(f"the artifact's {LOGIT_PRIOR} has a share outside [{_LEAST}, 1]: {stated!r}")
    shares = np.asarray(stated, np.float64)
    return np.asarray(shares / shares.sum())


def read_home_shares(parameters: Mapping[str, Any]) -> dict[str, Float64Array]:
    """Return the six shares of each set that an artifact's network learned from, by its name; none where none are stated.

    Raises:
        ManifestError: an entry is no six shares above 0.
    """
    stated = parameters.get(HOME_SHARES, {})
    if not isinstance(stated, Mapping):
        raise ManifestError(f"the artifact's {HOME_SHARES} is no table: {stated!r}")
    return {str(name): read_prior({LOGIT_PRIOR: shares}) for name, shares in stated.items()}


def confident_from(parameters: Mapping[str, Any], prior: str, otherwise: float) -> float:
    """Return the confidence from which an answer for a named prior is certain; `otherwise` where none is stated.

    Raises:
        ManifestError: what is stated is no figure of 0 or more.
    """
    stated = parameters.get(CONFIDENT_AT, {})
    value = stated.get(prior, otherwise) if isinstance(stated, Mapping) else None
    if not isinstance(value, float | int) or not value >= 0:
        raise ManifestError(f"the artifact's {CONFIDENT_AT} is no table of confidences: {stated!r}")
    return float(value)


def named_prior(name: str, carried: Float64Array) -> Float64Array:
    """Return a prior by its name, float64 (6,); `carried` is what the artifact's logits carry anyway.

    Raises:
        ManifestError: there is no such prior.
    """
    if name == CARRIED:
        return carried
    if name not in PRIORS:
        raise ManifestError(f"no prior is called {name!r}; there are: {', '.join((*PRIORS, CARRIED))}")
    return np.asarray(PRIORS[name], np.float64)


def without_scales(logits: npt.ArrayLike, parameters: Mapping[str, Any]) -> Float64Array:
    """Return logits without the label scales that artifacts up to 0.4.0 have folded in (ADR 0096); others as they come.

    Args:
        logits: (n, 6) or (n, 7); a seventh stays as it is.
        parameters: of the manifest.

    Raises:
        ManifestError: the scales stated are no six figures above 0, or their offsets no six figures.
    """
    plain = np.array(logits, np.float64)
    if "label_scales" not in parameters:
        return plain
    stated = parameters["label_scales"], parameters.get("label_offsets")
    if not all(
        isinstance(row, list | tuple)
        and len(row) == N_LABELS
        and all(isinstance(v, float | int) and np.isfinite(v) for v in row)
        for row in stated
    ) or not all(v > 0 for v in stated[0]):
        raise ManifestError(
            f"the artifact's label_scales or label_offsets are no {N_LABELS} figures: {stated!r}"
        )
    plain[:, :N_LABELS] = (plain[:, :N_LABELS] - np.asarray(stated[1])) / np.asarray(stated[0])
    return plain


def at_prior(
    logits: npt.ArrayLike, *, carried: Float64Array, wanted: Float64Array, temperature: float
) -> Float64Array:
    """Return logits that answer for another prior; a seventh logit stays as it is.

    Args:
        logits: (n, 6) or (n, 7), not yet divided by the temperature.
        carried: prior that they carry, float64 (6,).
        wanted: prior to answer for, float64 (6,).
        temperature: that they will be divided by.
    """
    moved = np.array(logits, np.float64)
    moved[:, :N_LABELS] += temperature * (np.log(wanted) - np.log(carried))
    return moved


def describe_prior(name: str, prior: Float64Array) -> dict[str, Any]:
    """Return what an answer says of the prior that it was given for: its name and shares by label."""
    return {
        "name": name,
        "shares": {label: round(float(v), 4) for label, v in zip(LABELS, prior, strict=True)},
    }
