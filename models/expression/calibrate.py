"""Make probabilities mean what they say: one temperature, fitted on validation pictures.

References:
    Guo et al. (2017), On Calibration of Modern Neural Networks, arXiv:1706.04599.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

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
    """Find the temperature with the least negative log-likelihood by golden-section search in log space.

    Args:
        logits: (n, 6) of validation pictures; never of a test split.
        labels: int64 (n,) in [0, 6).
        steps: narrowing steps; 60 leave an interval far below a float's worth.

    Returns:
        A temperature in `TEMPERATURE_RANGE`.
    """
    golden = (5**0.5 - 1) / 2
    low, high = np.log(TEMPERATURE_RANGE[0]), np.log(TEMPERATURE_RANGE[1])

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(logits, labels, temperature=float(np.exp(log_temperature)))

    left, right = high - golden * (high - low), low + golden * (high - low)
    left_loss, right_loss = loss(left), loss(right)
    for _ in range(steps):
        if left_loss < right_loss:
            high, right, right_loss = right, left, left_loss
            left = high - golden * (high - low)
            left_loss = loss(left)
        else:
            low, left, left_loss = left, right, right_loss
            right = low + golden * (high - low)
            right_loss = loss(right)
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
