"""Read one face over time: a forward hidden-Markov filter over the six expressions, numpy alone.

Rules, cited by number:

* F1  A filtered frame depends on itself and on earlier frames, never on later ones: nothing looks ahead.
* F2  After a gap longer than `gap_reset_ms` the filter knows nothing of what was before it; a new segment is a gap.
* F3  An opted-out expression is exactly 0 before and after, and nothing depends on it (compliance G1).
* F4  A frame that shows none of the six is no evidence: the state only fades towards "any of them".

A face holds an expression for `dwell_ms` on average and then shows any other with equal probability: the forward
recursion of a hidden-Markov model, in which a frame's calibrated probability is its likelihood. Neighbouring frames
show the same face under the same light and err together, so a plain recursion grows sure of what it repeats
(measured: docs/adr/0077). What was seen is therefore forgotten with `memory_ms`, and new evidence counts as much as
was forgotten: in the long run the filter believes as if it had seen `evidence` independent frames.

References:
    Rabiner (1989), A Tutorial on Hidden Markov Models, doi:10.1109/5.18626 (the scaled forward recursion).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.errors import ManifestError, TensorShapeError
from models.expression.inference import BoolArray, Float64Array
from models.expression.taxonomy import N_LABELS

_FLOOR = 0.5 / 255.0
"""Stands for a stored probability of 0, which only means less than half a byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterSettings:
    """What the filter assumes; fitted by `countenance models smooth`, kept in the manifest as `smoothing`.

    Attributes:
        dwell_ms: how long an expression is held on average, above 0.
        memory_ms: time in which the weight of what was seen falls to 1/e, above 0.
        evidence: how many independent frames a steady view is worth, above 0; 1 keeps calibrated
            probabilities calibrated where frames only repeat each other.
        gap_reset_ms: a longer gap starts the filter anew.
    """

    dwell_ms: float
    memory_ms: float
    evidence: float = 1.0
    gap_reset_ms: float = 1_000.0

    def to_json(self) -> dict[str, float]:
        """Give the settings as a manifest and an answer name them."""
        return asdict(self)


DEFAULT_FILTER = FilterSettings(dwell_ms=8_000.0, memory_ms=33.0)
"""For artifacts whose manifest names none; fitted on the validation pictures of version 0.1.0."""


def filter_of(parameters: Mapping[str, Any]) -> FilterSettings:
    """Read the settings from a manifest's parameters; `DEFAULT_FILTER` where it names none.

    Raises:
        ManifestError: they are malformed or out of range.
    """
    raw = parameters.get("smoothing")
    if raw is None:
        return DEFAULT_FILTER
    try:
        settings = FilterSettings(**{name: float(value) for name, value in dict(raw).items()})
    except (TypeError, ValueError):
        raise ManifestError(f"the artifact's smoothing is malformed: {raw!r}") from None
    if not all(0 < value < float("inf") for value in asdict(settings).values()):
        raise ManifestError(f"the artifact's smoothing is out of range: {raw!r}")
    return settings


def filter_track(
    probabilities: Float64Array,
    elapsed_ms: Float64Array,
    settings: FilterSettings,
    *,
    opted_out: BoolArray | None = None,
    informative: BoolArray | None = None,
) -> Float64Array:
    """Filter one track of one face, forward only (F1).

    Args:
        probabilities: float64 (n, 6), calibrated, in the order of frames.
        elapsed_ms: float64 (n,), time since the frame before; infinite where there is none or a new segment
            begins. Not above 0 counts as no time.
        settings: of the filter.
        opted_out: bool (6,), True at expressions that must not be reported (F3).
        informative: bool (n,), False at frames that show none of the six (F4); None says that all are.

    Returns:
        float64 (n, 6); rows sum to 1, or are all 0 where every expression is opted out.

    Raises:
        TensorShapeError: the arrays do not fit each other.
    """
    count = len(probabilities)
    if probabilities.shape != (count, N_LABELS) or elapsed_ms.shape != (count,):
        raise TensorShapeError(f"got probabilities {probabilities.shape} and times {elapsed_ms.shape}")
    allowed = np.ones(N_LABELS, np.bool_) if opted_out is None else ~opted_out
    if not allowed.any():
        return np.zeros((count, N_LABELS))
    anew = ~(elapsed_ms <= settings.gap_reset_ms)
    step_ms = np.where(anew, 0.0, np.maximum(elapsed_ms, 0.0))
    kept = np.exp(-step_ms / settings.memory_ms)
    weight = np.where(anew, 1.0, settings.evidence * (1.0 - kept))
    if informative is not None:
        weight = np.where(informative, weight, 0.0)
    likelihood = np.where(allowed, np.maximum(probabilities, _FLOOR) ** weight[:, None], 0.0)
    stay = np.exp(-step_ms / settings.dwell_ms)
    return _forward(likelihood, stay, kept, anew, any_of=allowed / allowed.sum())


def _forward(
    likelihood: Float64Array, stay: Float64Array, kept: Float64Array, anew: BoolArray, *, any_of: Float64Array
) -> Float64Array:
    filtered = np.empty_like(likelihood)
    state = any_of
    rows = zip(likelihood, stay.tolist(), kept.tolist(), anew.tolist(), strict=True)
    for row, (seen, stays, remembered, starts) in enumerate(rows):
        moved = any_of if starts else stays * state + (1.0 - stays) * any_of
        state = seen * moved**remembered
        state = state / state.sum()
        filtered[row] = state
    return filtered
