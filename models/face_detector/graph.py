"""Rebuild the source network as a Keras model, so that the project's own pipeline can quantise it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from models.errors import DatasetError
from models.face_detector.decoding import INPUT_PX
from models.face_detector.flatbuffer import Operation, SourceNetwork

_PADDINGS = ("same", "valid")
"""Indexed by TFLite's Padding enum."""

Ranges = Mapping[int, tuple[float, float]]
"""Lowest and highest value of a tensor, by tensor index."""

BOXES_OUTPUT = "regressors"
SCORES_OUTPUT = "classificators"


def build_keras_network(network: SourceNetwork, *, ranges: Ranges | None = None) -> keras.Model:
    """Translate every operation into the Keras layer that computes the same numbers.

    Args:
        network: what `read_network` returned.
        ranges: value range of each tensor that is to be int8, by tensor index; tensors without one stay
            float. None builds the float network.

    Returns:
        Model from float32 (1, 128, 128, 3), RGB in [-1, 1], to the list of float32 (1, 896, 16) box
        values and float32 (1, 896, 1) score logits.

    Raises:
        DatasetError: the network holds an operation that this translation does not know, or its outputs
            are not the two expected ones.
    """
    pixels, values, weights = _connect(network, ranges or {}, batch=1)
    outputs = {network.names[i]: values[i] for i in network.outputs}
    if set(outputs) != {BOXES_OUTPUT, SCORES_OUTPUT}:
        raise DatasetError(f"the network's outputs are {sorted(outputs)}")
    model = keras.Model(pixels, [outputs[BOXES_OUTPUT], outputs[SCORES_OUTPUT]], name="blazeface_short_range")
    return _with_weights(model, weights)


def build_probe(network: SourceNetwork, tensors: Sequence[int]) -> keras.Model:
    """Return a model from pixels to the named inner tensors, for calibration; the batch is free."""
    pixels, values, weights = _connect(network, {}, batch=None)
    return _with_weights(keras.Model(pixels, [values[i] for i in tensors], name="probe"), weights)


def _connect(
    network: SourceNetwork, ranges: Ranges, *, batch: int | None
) -> tuple[Any, dict[int, Any], dict[str, Any]]:
    pixels = keras.Input((INPUT_PX, INPUT_PX, 3), batch_size=batch, name="pixels")
    values: dict[int, Any] = {network.input: pixels}
    if network.input in ranges:
        values[network.input] = Rounded(*ranges[network.input], name="pixels_int8")(pixels)
    weights: dict[str, Any] = {}
    for operation in network.operations:
        translate = _TRANSLATIONS.get(operation.kind)
        if translate is None:
            raise DatasetError(f"the network uses {operation.kind}, which the rebuild does not know")
        name = network.names[operation.output].replace("/", "_")
        value = translate(operation, network, values, name, weights)
        if operation.output in ranges:
            value = Rounded(*ranges[operation.output], name=f"{name}_int8")(value)
        values[operation.output] = value
    return pixels, values, weights


def _with_weights(model: keras.Model, weights: dict[str, Any]) -> keras.Model:
    present = {layer.name for layer in model.layers}
    for name in present & weights.keys():
        model.get_layer(name).set_weights(weights[name])
    return model


def _convolution(
    operation: Operation, network: SourceNetwork, values: dict[int, Any], name: str, weights: dict[str, Any]
) -> Any:
    kernel, bias = (network.constants[i] for i in operation.inputs[1:3])
    layer = keras.layers.Conv2D(
        kernel.shape[0],
        kernel.shape[1:3],
        strides=(operation.options["strideH"], operation.options["strideW"]),
        padding=_PADDINGS[operation.options["padding"]],
        name=name,
    )
    weights[name] = [kernel.transpose(1, 2, 3, 0), bias]
    return layer(values[operation.inputs[0]])


def _depthwise(
    operation: Operation, network: SourceNetwork, values: dict[int, Any], name: str, weights: dict[str, Any]
) -> Any:
    kernel, bias = (network.constants[i] for i in operation.inputs[1:3])
    layer = keras.layers.DepthwiseConv2D(
        kernel.shape[1:3],
        strides=(operation.options["strideH"], operation.options["strideW"]),
        padding=_PADDINGS[operation.options["padding"]],
        name=name,
    )
    weights[name] = [kernel.transpose(1, 2, 3, 0), bias]
    return layer(values[operation.inputs[0]])


def _add(
    operation: Operation, _: SourceNetwork, values: dict[int, Any], name: str, __: dict[str, Any]
) -> Any:
    return keras.layers.Add(name=name)([values[i] for i in operation.inputs])


def _relu(
    operation: Operation, _: SourceNetwork, values: dict[int, Any], name: str, __: dict[str, Any]
) -> Any:
    return keras.layers.ReLU(name=name)(values[operation.inputs[0]])


def _pool(
    operation: Operation, _: SourceNetwork, values: dict[int, Any], name: str, __: dict[str, Any]
) -> Any:
    options = operation.options
    layer = keras.layers.MaxPooling2D(
        (options["filterHeight"], options["filterWidth"]),
        strides=(options["strideH"], options["strideW"]),
        padding=_PADDINGS[options["padding"]],
        name=name,
    )
    return layer(values[operation.inputs[0]])


def _pad(
    operation: Operation, network: SourceNetwork, values: dict[int, Any], name: str, _: dict[str, Any]
) -> Any:
    pads = network.constants[operation.inputs[1]].tolist()
    return ZeroChannels(pads[-1][1], name=name)(values[operation.inputs[0]])


def _reshape(
    operation: Operation, _: SourceNetwork, values: dict[int, Any], name: str, __: dict[str, Any]
) -> Any:
    shape = tuple(int(n) for n in operation.options["newShape"][1:])
    return keras.layers.Reshape(shape, name=name)(values[operation.inputs[0]])


def _concatenate(
    operation: Operation, _: SourceNetwork, values: dict[int, Any], name: str, __: dict[str, Any]
) -> Any:
    layer = keras.layers.Concatenate(axis=operation.options["axis"], name=name)
    return layer([values[i] for i in operation.inputs])


class ZeroChannels(keras.layers.Layer):  # type: ignore[misc]
    """Append channels of zeros, so that a residual can be added to a wider layer."""

    def __init__(self, count: int, **options: Any) -> None:
        super().__init__(**options)
        self.count = count

    def call(self, inputs: Any) -> Any:
        """Return float32 (batch, h, w, channels + count)."""
        return keras.ops.pad(inputs, [[0, 0], [0, 0], [0, 0], [0, self.count]])

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "count": self.count}


class Rounded(keras.layers.Layer):  # type: ignore[misc]
    """Round values to the 256 steps of a fixed range; the converter turns the mark into real int8."""

    def __init__(self, low: float, high: float, **options: Any) -> None:
        super().__init__(**options)
        self.low = low
        self.high = high

    def call(self, inputs: Any) -> Any:
        """Return float32 of the same shape, clipped to the range."""
        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high, num_bits=8)

    def get_config(self) -> dict[str, Any]:
        """Return what rebuilds the layer."""
        return {**super().get_config(), "low": self.low, "high": self.high}


_Translation = Callable[[Operation, SourceNetwork, dict[int, Any], str, dict[str, Any]], Any]
_TRANSLATIONS: dict[str, _Translation] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "ADD": _add,
    "RELU": _relu,
    "MAX_POOL_2D": _pool,
    "PAD": _pad,
    "RESHAPE": _reshape,
    "CONCATENATION": _concatenate,
}
