"""Quantise the rebuilt network to int8: measure ranges, mark tensors, convert.

Weights are int8 per output channel, activations int8 per tensor with ranges that minimise the squared
rounding error over the calibration pictures (the extremes of this network are hundreds of times its
typical values: min-max ranges would leave a few steps for everything that matters).

Only a middle part becomes int8. What stays float, and why, was found by restoring one block at a time:
the two prediction heads, whose raw scores reach -10,000 while the decision lies within +-5; the blocks on
the 8x8 grid, which hold the widest activations and a tenth of the arithmetic (docs/adr/0020); and the
first blocks, whose rounding makes most of the noise in the scores (docs/adr/0093).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.face_detector.decoding import INPUT_PX
from models.training.face_detector.building.equalise import ChannelPeaks, equalise, head_outputs
from models.training.face_detector.building.flatbuffer import SourceNetwork
from models.training.face_detector.building.graph import Ranges, build_keras_network, build_probe
from models.training.face_detector.building.level import level_scores
from models.training.face_detector.building.recover import ROUNDED_RATE, recover

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

INT8_BLOCKS = range(2, 12)
"""Blocks that become int8, the stem being block 0; those on the 8x8 grid begin at 12."""

CALIBRATION_PICTURES = 200
LEVEL_PICTURES = 2000
RECOVERY_SEED = 1
BATCH = 25
SAMPLES_PER_PICTURE = 4096
CLIP_SHARES = tuple(np.linspace(0.15, 1.0, 35).tolist())
INT8_STEPS = 255


def quantise(
    network: SourceNetwork,
    pictures: UInt8Array,
    *,
    int8_blocks: range = INT8_BLOCKS,
    recovery_steps: int,
    progress: Callable[[int, float], None],
) -> tuple[bytes, float]:
    """Return the int8 TFLite file, and the shift of its scores in logits (see `level_scores`).

    Args:
        network: the source network.
        pictures: uint8 (n, 128, 128, 3), RGB: the representative set; the first `CALIBRATION_PICTURES`
            set the ranges, all of them serve the recovery.
        int8_blocks: consecutive blocks, not the stem; all others, and the heads, keep float arithmetic.
        recovery_steps: batches of training against the float network (see `recover`); 0 leaves it out.
        progress: told each recovery step and its loss.

    Returns:
        A flatbuffer that takes uint8 (1, 128, 128, 3) RGB and gives the two float32 outputs.
    """
    calibration = scale_pixels(pictures[:CALIBRATION_PICTURES])
    evened = equalise(network, lambda candidate: channel_peaks(candidate, calibration))
    ranges = value_ranges(evened, int8_tensors(evened, int8_blocks), calibration)
    student = evened
    if recovery_steps:
        student = recover(
            evened,
            evened,
            pictures,
            ranges=ranges,
            steps=recovery_steps,
            rate=ROUNDED_RATE,
            seed=RECOVERY_SEED,
            progress=progress,
        )
    student, shift = level_scores(evened, student, ranges, pictures[:LEVEL_PICTURES])
    return convert(student, ranges=ranges), shift


def scale_pixels(pictures: UInt8Array) -> Float32Array:
    """Return pictures as the source network takes them: float32 in [-1, 1]."""
    return (pictures.astype(np.float32) / 127.5 - 1.0).astype(np.float32)


def convert(network: SourceNetwork, *, ranges: Ranges | None = None) -> bytes:
    """Return a TFLite file that takes uint8 pixels and gives float32.

    Args:
        network: its weights.
        ranges: range of each tensor that becomes int8; None converts to float32 throughout.
    """
    precision = "int8" if ranges else "float"
    core = build_keras_network(network, ranges=ranges)
    pixels = keras.Input((INPUT_PX, INPUT_PX, 3), batch_size=1, dtype="uint8", name="pixels")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    model = keras.Model(pixels, core(scaled), name=f"blazeface_short_range_{precision}")
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if ranges:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return bytes(converter.convert())


def blocks(network: SourceNetwork) -> dict[int, int]:
    """Return the block that computes each tensor: the number of activations before it."""
    found, current = {network.input: 0}, 0
    for operation in network.operations:
        found[operation.output] = current
        current += operation.kind == "RELU"
    return found


def int8_tensors(network: SourceNetwork, int8_blocks: range) -> tuple[int, ...]:
    """Return the tensors that become int8, in order: what `int8_blocks` read and what they compute.

    Left out: what an activation directly follows (both become one fused operation), the heads and all
    that comes after them.
    """
    fused = {o.inputs[0] for o in network.operations if o.kind == "RELU"}
    after_heads = {o.output for o in network.operations if o.kind in ("RESHAPE", "CONCATENATION")}
    left_out = fused | head_outputs(network) | after_heads
    block_of = blocks(network)
    activations = [o.output for o in network.operations if o.kind == "RELU"]
    entry = activations[int8_blocks.start - 1]
    produced = [o.output for o in network.operations]
    return entry, *(t for t in produced if block_of[t] in int8_blocks and t not in left_out)


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
    measured = [t for t in tensors if t not in passed]
    samples: dict[int, list[Float32Array]] = {t: [] for t in measured}
    extremes: dict[int, tuple[float, float]] = dict.fromkeys(measured, (0.0, 0.0))
    rng = np.random.default_rng(0)
    for values in _activations(network, measured, pictures):
        for tensor, value in zip(measured, values, strict=True):
            low, high = extremes[tensor]
            extremes[tensor] = (min(low, float(value.min())), max(high, float(value.max())))
            samples[tensor].append(rng.choice(value.ravel(), SAMPLES_PER_PICTURE * len(value)))
    ranges: dict[int, tuple[float, float]] = {}
    for tensor in tensors:
        if tensor in passed:
            ranges[tensor] = ranges[passed[tensor]]
        else:
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
