"""Quantise the rebuilt network to int8: measure ranges, mark tensors, convert.

Weights are int8 per output channel, activations int8 per tensor with ranges that minimise the squared
rounding error over the calibration pictures (the extremes of this network are hundreds of times its
typical values: min-max ranges would leave a few steps for everything that matters).

What stays float, and why, was found by restoring one block at a time: the two prediction heads, whose
raw scores reach -10,000 while the decision lies within +-5, and the blocks on the 8x8 grid, which hold
the widest activations and a tenth of the arithmetic (docs/adr/0020).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.face_detector.decoding import INPUT_PX
from models.face_detector.equalise import ChannelPeaks, equalise, head_outputs
from models.face_detector.flatbuffer import SourceNetwork
from models.face_detector.graph import Ranges, build_keras_network, build_probe
from models.face_detector.level import level_scores
from models.face_detector.recover import recover

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

FIRST_FLOAT_BLOCK = 12
"""Blocks from this one on (the five on the 8x8 grid) stay float."""

CALIBRATION_PICTURES = 200
LEVEL_PICTURES = 2000
RECOVERY_SEED = 1
PIXEL_STEP = 1 / 127.5
PIXEL_RANGE = (-128 * PIXEL_STEP, 127 * PIXEL_STEP)
"""What 8-bit pixels stand for inside the int8 network: (pixel - 128) / 127.5, exact in int8.

The source scales to [-1, 1], whose middle lies between two pixel values: rounding it would darken or
brighten every frame by half a grey level. `centre_pixels` puts that half level into the first bias.
"""

BATCH = 25
SAMPLES_PER_PICTURE = 4096
CLIP_SHARES = tuple(np.linspace(0.15, 1.0, 35).tolist())
INT8_STEPS = 255


def quantise(
    network: SourceNetwork,
    pictures: UInt8Array,
    *,
    first_float_block: int = FIRST_FLOAT_BLOCK,
    recovery_steps: int,
    progress: Callable[[int, float], None],
) -> tuple[bytes, float]:
    """Return the int8 TFLite file, and the shift of its scores in logits (see `level_scores`).

    Args:
        network: the source network.
        pictures: uint8 (n, 128, 128, 3), RGB: the representative set; the first `CALIBRATION_PICTURES`
            set the ranges, all of them serve the recovery.
        first_float_block: blocks from this one on, and the heads, keep float arithmetic.
        recovery_steps: batches of training against the float network (see `recover`); 0 leaves it out.
        progress: told each recovery step and its loss.

    Returns:
        A flatbuffer that takes uint8 (1, 128, 128, 3) RGB and gives the two float32 outputs.
    """
    calibration = scale_pixels(pictures[:CALIBRATION_PICTURES])
    evened = equalise(network, lambda candidate: channel_peaks(candidate, calibration))
    ranges = value_ranges(evened, int8_tensors(evened, first_float_block), calibration)
    student = centre_pixels(evened)
    if recovery_steps:
        student = recover(
            evened, student, ranges, pictures, steps=recovery_steps, seed=RECOVERY_SEED, progress=progress
        )
    student, shift = level_scores(evened, student, ranges, pictures[:LEVEL_PICTURES])
    converter = tf.lite.TFLiteConverter.from_keras_model(build_keras_network(student, ranges=ranges))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.uint8
    return bytes(converter.convert()), shift


def centre_pixels(network: SourceNetwork) -> SourceNetwork:
    """Return the network that takes (pixel - 128) / 127.5 where the given one takes pixel / 127.5 - 1."""
    constants = dict(network.constants)
    for operation in network.operations:
        if operation.kind == "CONV_2D" and operation.inputs[0] == network.input:
            kernel, bias = (constants[i] for i in operation.inputs[1:3])
            constants[operation.inputs[2]] = (bias + kernel.sum(axis=(1, 2, 3)) * PIXEL_STEP / 2).astype(
                np.float32
            )
    return replace(network, constants=constants)


def scale_pixels(pictures: UInt8Array) -> Float32Array:
    """Return pictures as the source network takes them: float32 in [-1, 1]."""
    return (pictures.astype(np.float32) / 127.5 - 1.0).astype(np.float32)


def convert_float(network: SourceNetwork) -> bytes:
    """Return the float32 TFLite file: the same interface, uint8 pixels in, float32 out."""
    core = build_keras_network(network)
    pixels = keras.Input((INPUT_PX, INPUT_PX, 3), batch_size=1, dtype="uint8", name="pixels")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    model = keras.Model(pixels, core(scaled), name="blazeface_short_range_float")
    return bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())


def blocks(network: SourceNetwork) -> dict[int, int]:
    """Return the block that computes each tensor: the number of activations before it."""
    found, current = {network.input: 0}, 0
    for operation in network.operations:
        found[operation.output] = current
        current += operation.kind == "RELU"
    return found


def int8_tensors(network: SourceNetwork, first_float_block: int) -> tuple[int, ...]:
    """Return the tensors that become int8, in order.

    Left out: what an activation directly follows (both become one fused operation), the heads and all
    that comes after them, and the blocks that stay float.
    """
    fused = {o.inputs[0] for o in network.operations if o.kind == "RELU"}
    heads = head_outputs(network)
    after_heads = {o.output for o in network.operations if o.kind in ("RESHAPE", "CONCATENATION")}
    block_of = blocks(network)
    produced = [network.input, *(o.output for o in network.operations)]
    return tuple(
        t for t in produced if t not in fused | heads | after_heads and block_of[t] < first_float_block
    )


def channel_peaks(network: SourceNetwork, pictures: Float32Array) -> ChannelPeaks:
    """Return the largest absolute value of each channel of every inner tensor."""
    tensors = [o.output for o in network.operations if o.kind in ("RELU", "DEPTHWISE_CONV_2D")]
    peaks: dict[int, Float32Array] = {}
    for values in _activations(network, tensors, pictures):
        for tensor, value in zip(tensors, values, strict=True):
            peak = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
            peaks[tensor] = np.maximum(peaks.get(tensor, peak), peak)
    return peaks


def value_ranges(network: SourceNetwork, tensors: Sequence[int], pictures: Float32Array) -> Ranges:
    """Return the int8 range of each tensor: the one with the least squared rounding error.

    Padding and pooling hand their input's int8 values through, so they take its range.
    """
    passed = {o.output: o.inputs[0] for o in network.operations if o.kind in ("MAX_POOL_2D", "PAD")}
    measured = [t for t in tensors if t not in passed and t != network.input]
    samples: dict[int, list[Float32Array]] = {t: [] for t in measured}
    extremes: dict[int, tuple[float, float]] = dict.fromkeys(measured, (0.0, 0.0))
    rng = np.random.default_rng(0)
    for values in _activations(network, measured, pictures):
        for tensor, value in zip(measured, values, strict=True):
            low, high = extremes[tensor]
            extremes[tensor] = (min(low, float(value.min())), max(high, float(value.max())))
            samples[tensor].append(rng.choice(value.ravel(), SAMPLES_PER_PICTURE * len(value)))
    ranges: dict[int, tuple[float, float]] = {network.input: PIXEL_RANGE}
    for tensor in tensors:
        if tensor in passed:
            ranges[tensor] = ranges[passed[tensor]]
        elif tensor != network.input:
            ranges[tensor] = best_range(np.concatenate(samples[tensor]), *extremes[tensor])
    return ranges


def best_range(values: Float32Array, low: float, high: float) -> tuple[float, float]:
    """Return the share of [low, high] whose 256 steps represent `values` with the least squared error."""
    errors = []
    for share in CLIP_SHARES:
        step = max((high - low) * share / INT8_STEPS, 1e-12)
        zero = np.round(-low * share / step)
        rounded = (np.clip(np.round(values / step) + zero, 0, INT8_STEPS) - zero) * step
        errors.append(float(np.mean((values - rounded) ** 2)))
    share = CLIP_SHARES[int(np.argmin(errors))]
    return low * share, high * share


def _activations(
    network: SourceNetwork, tensors: Sequence[int], pictures: Float32Array
) -> Iterable[list[Float32Array]]:
    probe: Callable[..., Any] = build_probe(network, tensors)
    for start in range(0, len(pictures), BATCH):
        outputs = probe(pictures[start : start + BATCH], training=False)
        yield [np.asarray(o) for o in outputs]
