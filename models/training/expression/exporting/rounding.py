"""Quantisation-aware training: let a trained network feel int8 rounding, and learn to live with it.

Batch normalisation is folded first, so that what is rounded in training is what the runtime will round: weights
per output channel, activations per tensor. Rounding passes gradients straight through.

References:
    Jacob et al. (2018), Quantization and Training of Neural Networks, arXiv:1712.05877.
    Bengio et al. (2013), Estimating or Propagating Gradients Through Stochastic Neurons, arXiv:1308.3432.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from models.expression.taxonomy import N_OUTPUTS
from models.training.expression.networks.architectures import NetworkSettings, block_shapes

Float32Array = npt.NDArray[np.float32]

WEIGHT_LEVELS = 127
ACTIVATION_LEVELS = 255
LEAST_RANGE = 1e-6


@keras.saving.register_keras_serializable("countenance")
class RoundedConv2D(layers.Conv2D):  # type: ignore[misc]
    """A convolution with bias whose kernel is rounded to int8 per output channel on every use."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolve (n, h, w, c) with the rounded kernel."""
        largest = ops.max(ops.abs(kernel), axis=(0, 1, 2), keepdims=True)
        step = ops.maximum(largest, LEAST_RANGE) / WEIGHT_LEVELS
        return super().convolution_op(inputs, straight_through(kernel, ops.round(kernel / step) * step))


@keras.saving.register_keras_serializable("countenance")
class RoundedActivation(layers.Layer):  # type: ignore[misc]
    """Round a tensor to 256 levels of a fixed range [low, high]."""

    def __init__(self, *, low: float, high: float, **options: Any) -> None:
        super().__init__(**options)
        self._low, self._high = low, max(high, low + LEAST_RANGE)

    def get_config(self) -> dict[str, Any]:
        """Return what the constructor needs."""
        return {**super().get_config(), "low": self._low, "high": self._high}

    def call(self, inputs: Any) -> Any:
        """Return the rounded tensor; gradients pass inside the range and stop outside."""
        step = (self._high - self._low) / ACTIVATION_LEVELS
        clipped = ops.clip(inputs, self._low, self._high)
        return straight_through(clipped, ops.round((clipped - self._low) / step) * step + self._low)


def straight_through(value: Any, rounded: Any) -> Any:
    """Return `rounded` forwards, with the gradient of `value` backwards."""
    return value + ops.stop_gradient(rounded - value)


def fold_network(trained: keras.Model, settings: NetworkSettings) -> keras.Model:
    """Return the float32 network without batch normalisation: the same function, convolutions with biases.

    Args:
        trained: from `architectures.build_network`.
        settings: what it was built from.
    """
    folded = _build(settings, layers.Conv2D, {})
    _load_folded(folded, folded_weights(trained))
    return folded


def build_rounded(folded: keras.Model, settings: NetworkSettings, crops: Float32Array) -> keras.Model:
    """Return a network that computes as int8 would, starting from a folded one.

    Args:
        folded: from `fold_network`.
        settings: what it was built from.
        crops: float32 (n, side, side, 1), training pictures that show which ranges activations take.
    """
    names = [
        layer.name for layer in folded.layers if isinstance(layer, layers.ReLU | layers.Add | layers.Conv2D)
    ]
    watched = keras.Model(folded.input, [folded.get_layer(name).output for name in names])
    seen = watched.predict(crops, batch_size=64, verbose=0)
    ranges = {n: (min(float(v.min()), 0.0), float(v.max())) for n, v in zip(names, seen, strict=True)}
    rounded = _build(settings, RoundedConv2D, ranges)
    _load_folded(rounded, _weights_by_layer(folded))
    return rounded


def unround(rounded: keras.Model, settings: NetworkSettings) -> keras.Model:
    """Return the plain folded network with the weights that rounding taught, for conversion."""
    plain = _build(settings, layers.Conv2D, {})
    _load_folded(plain, _weights_by_layer(rounded))
    return plain


def recover_rounded(
    rounded: keras.Model, batches: Iterable[tuple[Float32Array, Float32Array]], *, peak: float, steps: int
) -> list[float]:
    """Train the rounded network for a number of steps at a falling rate; returns the loss of each step.

    Args:
        rounded: from `build_rounded`, changed in place.
        batches: prepared crops (n, side, side, 1) and targets (n, 7).
        peak: learning rate at the start; falls linearly to zero.
        steps: batches to learn from.
    """
    rounded.compile(
        optimizer=keras.optimizers.SGD(peak, momentum=0.9, nesterov=True),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    losses = []
    for step, (crops, targets) in zip(range(steps), batches, strict=False):
        rounded.optimizer.learning_rate = peak * (1 - step / steps)
        losses.append(float(rounded.train_on_batch(crops, targets)))
    return losses


def folded_weights(trained: keras.Model) -> dict[str, list[Float32Array]]:
    """Return kernel and bias of every convolution and of the dense layer, batch normalisation folded in."""
    weights: dict[str, list[Float32Array]] = {}
    for layer in trained.layers:
        if isinstance(layer, layers.Conv2D):
            stem = layer.name.removesuffix("_conv")
            normalisation = trained.get_layer(f"{stem}_bn")
            gamma, beta, mean, variance = normalisation.get_weights()
            gain = gamma / np.sqrt(variance + normalisation.epsilon)
            weights[layer.name] = [layer.get_weights()[0] * gain, beta - mean * gain]
        elif isinstance(layer, layers.Dense):
            weights[layer.name] = layer.get_weights()
    return weights


def _weights_by_layer(model: keras.Model) -> dict[str, list[Float32Array]]:
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def _load_folded(model: keras.Model, weights: Mapping[str, list[Float32Array]]) -> None:
    for layer in model.layers:
        if layer.weights:
            layer.set_weights(weights[layer.name])


def _build(
    settings: NetworkSettings, convolution: type[layers.Conv2D], ranges: Mapping[str, tuple[float, float]]
) -> keras.Model:
    def rounded(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        if name not in ranges:
            return x
        low, high = ranges[name]
        return RoundedActivation(low=low, high=high, name=f"{name}_rounded")(x)

    def convolve(
        x: keras.KerasTensor, channels: int, *, kernel: int = 3, stride: int = 1, name: str, activate: bool
    ) -> keras.KerasTensor:
        x = convolution(channels, kernel, stride, padding="same", name=f"{name}_conv")(x)
        if activate:
            return rounded(layers.ReLU(name=f"{name}_act")(x), f"{name}_act")
        return rounded(x, f"{name}_conv")

    side = settings.input_side_px
    crop = keras.Input((side, side, 1), name="crop")
    x = convolve(crop, settings.stem_channels, stride=2, name="stem", activate=True)
    for name, channels, inner, stride in block_shapes(settings):
        y = convolve(x, inner, stride=stride, name=f"{name}_a", activate=True)
        y = convolve(y, channels, name=f"{name}_b", activate=False)
        if stride != 1 or x.shape[-1] != channels:
            x = convolve(x, channels, kernel=1, stride=stride, name=f"{name}_skip", activate=False)
        x = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))
        x = rounded(x, f"{name}_relu")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(crop, layers.Dense(N_OUTPUTS, dtype="float32", name="logits")(x), name="expression")
