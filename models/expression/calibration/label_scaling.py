"""Give each label a scale and an offset of its own, fitted on validation pictures and folded into the last layer.

References:
    Guo et al. (2017), On Calibration of Modern Neural Networks, arXiv:1706.04599: vector scaling.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from models.expression.calibration.temperature import Float64Array, Int64Array, softmax
from models.expression.data.datasets import PackedFaces
from models.expression.preprocessing import resize_grey, standardise
from models.expression.taxonomy import N_LABELS

LABEL_PENALTY = 0.05
"""Weight of the squared distance from equal labels: by five-fold validation, where coverage at 98 % is best."""

NEWTON_STEPS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelScaling:
    """Vector scaling: logit k becomes `scales[k] * logit + offsets[k]`; float64 (6,) each, scales have mean 1.

    The mean is 1 so that one temperature still says how sure the network is as a whole.
    """

    scales: Float64Array
    offsets: Float64Array

    def apply(self, logits: npt.ArrayLike) -> Float64Array:
        """Scale logits (n, 6)."""
        return np.asarray(logits, np.float64) * self.scales + self.offsets

    def to_json(self) -> dict[str, list[float]]:
        """Return what the manifest says of it."""
        return {
            "label_scales": [round(float(v), 4) for v in self.scales],
            "label_offsets": [round(float(v), 4) for v in self.offsets],
        }


def fit_label_scaling(
    logits: npt.ArrayLike, labels: Int64Array, weights: Float64Array, *, penalty: float = LABEL_PENALTY
) -> LabelScaling:
    """Fit vector scaling by penalised maximum likelihood; convex, solved by Newton's method.

    Training draws rare labels more often than they occur, so the network is too sure of them and not sure enough of
    frequent ones. The penalty draws all scales towards their mean, and all offsets towards 0.

    Args:
        logits: (n, k) of validation pictures; never of a test split.
        labels: int64 (n,) in [0, k).
        weights: float64 (n,), how much each picture counts; any scale.
        penalty: weight of the squared distances.
    """
    table = np.asarray(logits, np.float64)
    count, width = table.shape
    shares = weights / weights.sum()
    hit = np.eye(width)[labels]
    # Distance of each scale from the mean of all, and each offset from 0, as one quadratic form.
    distance = np.zeros((2 * width, 2 * width))
    distance[:width, :width] = np.eye(width) - 1.0 / width
    distance[width:, width:] = np.eye(width)
    theta = np.concatenate([np.ones(width), np.zeros(width)])

    def loss(theta: Float64Array) -> float:
        scaled = table * theta[:width] + theta[width:]
        picked = softmax(scaled)[np.arange(count), labels]
        return float(-shares @ np.log(np.maximum(picked, 1e-12)) + penalty * theta @ distance @ theta)

    for _ in range(NEWTON_STEPS):
        probabilities = softmax(table * theta[:width] + theta[width:])
        wrong = (probabilities - hit) * shares[:, None]
        slopes = np.concatenate([(wrong * table).sum(axis=0), wrong.sum(axis=0)])
        slopes += 2 * penalty * distance @ theta
        inputs = np.concatenate([table, np.ones_like(table)], axis=1)
        spread = np.tile(probabilities, 2) * inputs
        curvature = -(spread * shares[:, None]).T @ spread + 2 * penalty * distance
        same_label = np.arange(2 * width)[:, None] % width == np.arange(2 * width) % width
        curvature += same_label * ((inputs * shares[:, None] * np.tile(probabilities, 2)).T @ inputs)
        step = np.linalg.lstsq(curvature, slopes, rcond=None)[0]
        before, size = loss(theta), 1.0
        while loss(theta - size * step) > before and size > 1e-4:
            size /= 2
        theta = theta - size * step
        if np.abs(step).max() < 1e-9:
            break
    mean = theta[:width].mean()
    return LabelScaling(scales=theta[:width] / mean, offsets=theta[width:] / mean)


def scale_labels(model: keras.Model, validation: PackedFaces) -> LabelScaling:
    """Fit each label's scale and offset on validation pictures, and fold them into the last layer.

    Folding keeps serving simple: every runtime and every opt-out sees logits that are already scaled. "Other"
    stays as it is.

    Args:
        model: float32 network with a dense layer named "logits", changed in place.
        validation: pictures of the six; each source counts equally.
    """
    side_px = int(model.input_shape[1])
    crops = standardise(np.stack([resize_grey(grey, side_px) for grey in validation.grey]))
    logits = np.asarray(model.predict(crops, batch_size=256, verbose=0), np.float64)[:, :N_LABELS]
    names = np.asarray(validation.sources)
    weights = np.array([1.0 / (names == source).sum() for source in validation.sources])
    scaling = fit_label_scaling(logits, validation.labels, weights)
    kernel, bias = model.get_layer("logits").get_weights()
    kernel[:, :N_LABELS] *= scaling.scales
    bias[:N_LABELS] = scaling.apply(bias[:N_LABELS])
    model.get_layer("logits").set_weights([kernel, bias])
    return scaling


def unfold_scales(model: keras.Model, parameters: Mapping[str, Any]) -> None:
    """Take out of the last layer what `scale_labels` once folded in, as an artifact's manifest states it.

    Args:
        model: network with a dense layer named "logits", changed in place.
        parameters: of the manifest; without `label_scales` nothing is done.
    """
    if "label_scales" not in parameters:
        return
    scales, offsets = (np.asarray(parameters[name], np.float64) for name in ("label_scales", "label_offsets"))
    kernel, bias = model.get_layer("logits").get_weights()
    kernel[:, :N_LABELS] /= scales
    bias[:N_LABELS] = (bias[:N_LABELS] - offsets) / scales
    model.get_layer("logits").set_weights([kernel, bias])
