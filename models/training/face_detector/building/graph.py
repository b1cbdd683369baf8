"""Rebuild the source network as a Keras model, so that the project's own pipeline can quantise it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import tensorflow as tf

from models.errors import DatasetError
from models.face_detector.decoding import INPUT_PX
from models.training.face_detector.building.flatbuffer import Operation, SourceNetwork

_PADDINGS = ("same", "valid")
"""Indexed by TFLite's Padding enum."""

Ranges = Mapping[int, tuple[float, float]]
"""Lowest and highest value of a tensor, by tensor index."""

WEIGHT_STEPS = 127
"""int8 weights are symmetric: -127..127 times a step per output channel."""

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
    drawing = _draw(network, ranges or {}, batch=1)
    outputs = {network.names[i]: drawing.values[i] for i in network.outputs}
    if set(outputs) != {BOXES_OUTPUT, SCORES_OUTPUT}:
        raise DatasetError(f"the network's outputs are {sorted(outputs)}")
    return drawing.model([outputs[BOXES_OUTPUT], outputs[SCORES_OUTPUT]])


def build_probe(
    network: SourceNetwork, tensors: Sequence[int], *, ranges: Ranges | None = None
) -> keras.Model:
    """Return a model from a free batch of pixels to the named tensors, for calibration and training.

    With `ranges`, activations and weights behave as if they were int8 but can still be trained: rounding
    passes gradients straight through.
    """
    drawing = _draw(network, ranges or {}, batch=None, round_weights=ranges is not None)
    return drawing.model([drawing.values[i] for i in tensors])


def read_weights(model: keras.Model, network: SourceNetwork) -> SourceNetwork:
    """Return `network` with the weights that `model`, built from it or from a part of it, now has."""
    constants = dict(network.constants)
    built = {layer.name for layer in model.layers}
    for operation in network.operations:
        if operation.kind in ("CONV_2D", "DEPTHWISE_CONV_2D") and _layer_name(network, operation) in built:
            kernel, bias = model.get_layer(_layer_name(network, operation)).get_weights()
            constants[operation.inputs[1]] = kernel.transpose(3, 0, 1, 2)
            constants[operation.inputs[2]] = bias
    return replace(network, constants=constants)


class _RoundedConv2D(keras.layers.Conv2D):  # type: ignore[misc]
    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        return super().convolution_op(inputs, _round_per_channel(kernel, (0, 1, 2)))


class _RoundedDepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    def call(self, inputs: Any) -> Any:
        strides = [1, *self.strides, 1]
        kernel = _round_per_channel(tf.convert_to_tensor(self.kernel), (0, 1, 3))
        outputs = tf.nn.depthwise_conv2d(inputs, kernel, strides, self.padding.upper())
        return outputs + tf.convert_to_tensor(self.bias)


def _round_per_channel(kernel: Any, axes: tuple[int, ...]) -> Any:
    peak = tf.reduce_max(tf.abs(kernel), axis=axes, keepdims=True)
    step = tf.stop_gradient(tf.maximum(peak, 1e-9) / WEIGHT_STEPS)
    return kernel + tf.stop_gradient(tf.round(kernel / step) * step - kernel)


@dataclass(slots=True, kw_only=True)
class _Drawing:
    """A Keras graph under construction: tensors by index, weights by layer name.

    `rounded` holds the outputs whose weights are rounded while training: exactly those that become int8.
    """

    network: SourceNetwork
    pixels: Any
    values: dict[int, Any]
    rounded: frozenset[int]
    weights: dict[str, list[Any]] = field(default_factory=dict)

    def first_input(self, operation: Operation) -> Any:
        return self.values[operation.inputs[0]]

    def model(self, outputs: list[Any]) -> keras.Model:
        model = keras.Model(self.pixels, outputs)
        for layer in model.layers:
            if layer.name in self.weights:
                layer.set_weights(self.weights[layer.name])
        return model


def _draw(
    network: SourceNetwork, ranges: Ranges, *, batch: int | None, round_weights: bool = False
) -> _Drawing:
    pixels = keras.Input((INPUT_PX, INPUT_PX, 3), batch_size=batch, name="pixels")
    drawing = _Drawing(
        network=network,
        pixels=pixels,
        values={network.input: pixels},
        rounded=_int8_outputs(network, ranges) if round_weights else frozenset(),
    )
    for operation in network.operations:
        translate = _TRANSLATIONS.get(operation.kind)
        if translate is None:
            raise DatasetError(f"the network uses {operation.kind}, which the rebuild does not know")
        name = _layer_name(network, operation)
        value = translate(drawing, operation, name)
        if operation.output in ranges:
            value = Rounded(*ranges[operation.output], name=f"{name}_int8")(value)
        drawing.values[operation.output] = value
    return drawing


def _int8_outputs(network: SourceNetwork, ranges: Ranges) -> frozenset[int]:
    # Only an operation that also reads int8 becomes int8: the one that feeds the first int8 block does not.
    fused = {o.inputs[0] for o in network.operations if o.kind == "RELU" and o.output in ranges}
    return frozenset(
        o.output
        for o in network.operations
        if o.inputs[0] in ranges and (o.output in ranges or o.output in fused)
    )


def _layer_name(network: SourceNetwork, operation: Operation) -> str:
    return network.names[operation.output].replace("/", "_")


def _convolution(drawing: _Drawing, operation: Operation, name: str) -> Any:
    kernel, bias = (drawing.network.constants[i] for i in operation.inputs[1:3])
    kind = _RoundedConv2D if operation.output in drawing.rounded else keras.layers.Conv2D
    layer = kind(kernel.shape[0], kernel.shape[1:3], **_window(operation), name=name)
    drawing.weights[name] = [kernel.transpose(1, 2, 3, 0), bias]
    return layer(drawing.first_input(operation))


def _depthwise(drawing: _Drawing, operation: Operation, name: str) -> Any:
    kernel, bias = (drawing.network.constants[i] for i in operation.inputs[1:3])
    kind = _RoundedDepthwiseConv2D if operation.output in drawing.rounded else keras.layers.DepthwiseConv2D
    layer = kind(kernel.shape[1:3], **_window(operation), name=name)
    drawing.weights[name] = [kernel.transpose(1, 2, 3, 0), bias]
    return layer(drawing.first_input(operation))


def _add(drawing: _Drawing, operation: Operation, name: str) -> Any:
    return keras.layers.Add(name=name)([drawing.values[i] for i in operation.inputs])


def _relu(drawing: _Drawing, operation: Operation, name: str) -> Any:
    return keras.layers.ReLU(name=name)(drawing.first_input(operation))


def _pool(drawing: _Drawing, operation: Operation, name: str) -> Any:
    size = (operation.options["filterHeight"], operation.options["filterWidth"])
    return keras.layers.MaxPooling2D(size, **_window(operation), name=name)(drawing.first_input(operation))


def _pad(drawing: _Drawing, operation: Operation, name: str) -> Any:
    pads = drawing.network.constants[operation.inputs[1]].tolist()
    return ZeroChannels(pads[-1][1], name=name)(drawing.first_input(operation))


def _reshape(drawing: _Drawing, operation: Operation, name: str) -> Any:
    shape = tuple(int(n) for n in operation.options["newShape"][1:])
    return keras.layers.Reshape(shape, name=name)(drawing.first_input(operation))


def _concatenate(drawing: _Drawing, operation: Operation, name: str) -> Any:
    layer = keras.layers.Concatenate(axis=operation.options["axis"], name=name)
    return layer([drawing.values[i] for i in operation.inputs])


def _window(operation: Operation) -> dict[str, Any]:
    options = operation.options
    return {"strides": (options["strideH"], options["strideW"]), "padding": _PADDINGS[options["padding"]]}


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


_Translation = Callable[[_Drawing, Operation, str], Any]
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
