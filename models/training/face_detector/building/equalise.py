"""Rescale channels so that one int8 range fits a whole tensor, without changing what the network computes.

A tensor has one int8 range; a channel that is fifty times smaller than its neighbour is left with five
of the 256 steps. Two exact rewrites remove that spread, because scaling by a positive factor commutes
with convolution per channel, ReLU, maximum, addition and zero padding:

* the *residual stream*: channel c of every block is divided by one factor, its producers' weights are
  divided and its consumers' multiplied;
* inside a block: the depthwise output, which no activation follows, is divided per channel and the
  pointwise weights multiplied. The factor balances activation against weight spread.

References:
    Nagel et al. (2019), Data-Free Quantization Through Weight Equalization, arXiv:1906.04721.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from models.training.face_detector.building.flatbuffer import Array, Operation, SourceNetwork

Float32Array = npt.NDArray[np.float32]
ChannelPeaks = Mapping[int, Float32Array]
"""Largest absolute value of each channel, by tensor index."""

FLOOR = 1e-3
"""A channel is rescaled by at most this much of the largest: dead channels must not divide by zero."""


def equalise(network: SourceNetwork, measure: Callable[[SourceNetwork], ChannelPeaks]) -> SourceNetwork:
    """Return a network with the same outputs and evener channels.

    Args:
        network: the source network.
        measure: runs a network on the calibration pictures and returns its channels' peaks.
    """
    evened = rescale_stream(network, stream_factors(network, measure(network)))
    return balance_blocks(evened, measure(evened))


def stream_factors(network: SourceNetwork, peaks: ChannelPeaks) -> Float32Array:
    """Return each stream channel's size relative to its neighbours, averaged (log) over the blocks."""
    tensors = [peaks[o.output] for o in network.operations if o.kind == "RELU"]
    width = max(len(t) for t in tensors)
    total, count = np.zeros(width), np.zeros(width)
    for peak in tensors:
        size = np.log(np.maximum(peak, peak.max() * FLOOR))
        total[: len(peak)] += size - size.mean()
        count[: len(peak)] += 1
    return np.exp(total / count).astype(np.float32)


def rescale_stream(network: SourceNetwork, factors: Float32Array) -> SourceNetwork:
    """Divide channel c of the residual stream by `factors[c]` in every block."""
    constants = dict(network.constants)
    heads = head_outputs(network)
    depthwise = {o.output for o in network.operations if o.kind == "DEPTHWISE_CONV_2D"}
    for operation in network.operations:
        if operation.kind == "DEPTHWISE_CONV_2D":
            _scale_inputs(constants, operation, factors)
        elif operation.kind == "CONV_2D":
            reads_stream = operation.inputs[0] != network.input and operation.inputs[0] not in depthwise
            if reads_stream:
                _scale_inputs(constants, operation, factors)
            if operation.output not in heads:
                _scale_outputs(constants, operation, 1.0 / factors)
    return replace(network, constants=constants)


def balance_blocks(network: SourceNetwork, peaks: ChannelPeaks) -> SourceNetwork:
    """Share the channel spread of each depthwise output between it and the pointwise weights."""
    constants = dict(network.constants)
    depthwise = {o.output: o for o in network.operations if o.kind == "DEPTHWISE_CONV_2D"}
    for pointwise in network.operations:
        producer = depthwise.get(pointwise.inputs[0])
        if pointwise.kind != "CONV_2D" or producer is None:
            continue
        weight_peaks = np.abs(constants[pointwise.inputs[1]]).max(axis=(0, 1, 2))
        factors = np.sqrt(peaks[producer.output] / np.maximum(weight_peaks, 1e-6))
        factors = np.maximum(factors, factors.max() * FLOOR)
        factors = (factors / np.exp(np.log(factors).mean())).astype(np.float32)
        _scale_outputs(constants, producer, 1.0 / factors)
        _scale_inputs(constants, pointwise, factors)
    return replace(network, constants=constants)


def head_outputs(network: SourceNetwork) -> frozenset[int]:
    """Return the outputs of the prediction heads: the convolutions that are only reshaped."""
    return frozenset(o.inputs[0] for o in network.operations if o.kind == "RESHAPE")


def _scale_inputs(constants: dict[int, Array], operation: Operation, factors: Float32Array) -> None:
    # The last axis is the input channel of CONV_2D and the one channel axis of DEPTHWISE_CONV_2D.
    kernel = constants[operation.inputs[1]]
    constants[operation.inputs[1]] = (kernel * factors[: kernel.shape[-1]]).astype(np.float32)


def _scale_outputs(constants: dict[int, Array], operation: Operation, factors: Float32Array) -> None:
    kernel, bias = constants[operation.inputs[1]], constants[operation.inputs[2]]
    own = factors[: len(bias)]
    shaped = own if operation.kind == "DEPTHWISE_CONV_2D" else own[:, None, None, None]
    constants[operation.inputs[1]] = (kernel * shaped).astype(np.float32)
    constants[operation.inputs[2]] = (bias * own).astype(np.float32)
