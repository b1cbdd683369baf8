"""Make probabilities mean what they say: one temperature, fitted on validation pictures.

References:
    Guo et al. (2017), On Calibration of Modern Neural Networks, arXiv:1706.04599.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from models.expression.scope import in_scope_probability

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

TEMPERATURE_RANGE = (0.2, 5.0)


def softmax(logits: npt.ArrayLike, *, temperature: float = 1.0) -> Float64Array:
    """Return float64 probabilities of shape (n, k) for logits of that shape, divided by `temperature` first."""
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def negative_log_likelihood(logits: npt.ArrayLike, labels: Int64Array, *, temperature: float) -> float:
    """Return the mean of -log p(label) in nats."""
    probabilities = softmax(logits, temperature=temperature)
    picked = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(picked, 1e-12)).mean())


def fit_temperature(logits: npt.ArrayLike, labels: Int64Array, *, steps: int = 60) -> float:
    """Find the temperature with the least negative log-likelihood.

    Args:
        logits: (n, 6) of validation pictures; never of a test split.
        labels: int64 (n,) in [0, 6).
        steps: narrowing steps; 60 leave an interval far below a float's worth.

    Returns:
        A temperature in `TEMPERATURE_RANGE`.
    """
    return _search_temperature(
        lambda temperature: negative_log_likelihood(logits, labels, temperature=temperature), steps
    )


def fit_scope_temperature(logits: npt.ArrayLike, is_other: BoolArray, *, steps: int = 60) -> float:
    """Find the temperature under which the probability of "other" means what it says.

    Args:
        logits: (n, 7) of validation pictures, "other" last; the mix of pictures is the prevalence that the
            probability will be calibrated for.
        is_other: bool (n,), True where a picture shows none of the six.
        steps: narrowing steps.

    Returns:
        The temperature in `TEMPERATURE_RANGE` with the least binary negative log-likelihood.
    """

    def loss(temperature: float) -> float:
        in_scope = in_scope_probability(logits, temperature=temperature)
        right = np.where(is_other, 1.0 - in_scope, in_scope)
        return float(-np.log(np.maximum(right, 1e-12)).mean())

    return _search_temperature(loss, steps)


def _search_temperature(loss: Callable[[float], float], steps: int) -> float:
    """Narrow `TEMPERATURE_RANGE` down by golden-section search in log space."""
    golden = (5**0.5 - 1) / 2
    low, high = np.log(TEMPERATURE_RANGE[0]), np.log(TEMPERATURE_RANGE[1])
    left, right = high - golden * (high - low), low + golden * (high - low)
    left_loss, right_loss = loss(float(np.exp(left))), loss(float(np.exp(right)))
    for _ in range(steps):
        if left_loss < right_loss:
            high, right, right_loss = right, left, left_loss
            left = high - golden * (high - low)
            left_loss = loss(float(np.exp(left)))
        else:
            low, left, left_loss = left, right, right_loss
            right = low + golden * (high - low)
            right_loss = loss(float(np.exp(right)))
    return float(np.exp((low + high) / 2))


def expected_calibration_error(probabilities: npt.ArrayLike, labels: Int64Array, *, bins: int = 15) -> float:
    """Return the top-label calibration error over equally wide confidence bins.

    Args:
        probabilities: (n, k), rows summing to 1.
        labels: int64 (n,).
        bins: number of bins over [0, 1].
    """
    table = np.asarray(probabilities, np.float64)
    confidence = table.max(axis=1)
    correct = table.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    error = 0.0
    for index in range(bins):
        inside = bin_of == index
        if inside.any():
            error += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return float(error)
