"""Turn a trained network into full-int8 and float TFLite files, post training.

Weights are int8 per channel, activations int8 per tensor with ranges seen on training pictures. The
interface stays float32 on both sides, so that every variant of the family is fed alike; the two
conversions cost microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.expression.preprocessing import resize_grey, standardise
from models.training.expression.data.datasets import PackedFaces

Float32Array = npt.NDArray[np.float32]


def representative_inputs(faces: PackedFaces, *, side_px: int, count: int, seed: int) -> Float32Array:
    """Draw network inputs for the quantiser, evenly over the labels.

    Args:
        faces: training pictures; the caller has passed them through `splits.guard_training`.
        side_px: side of the network input, in pixels.
        count: pictures wanted.
        seed: of the draw.

    Returns:
        float32 (m, side_px, side_px, 1), m at most `count`.
    """
    rng = np.random.default_rng(seed)
    per_label = -(-count // len(np.unique(faces.labels)))
    chosen: list[int] = []
    for label in np.unique(faces.labels):
        members = np.flatnonzero(faces.labels == label)
        chosen += rng.permutation(members)[:per_label].tolist()
    return standardise(np.stack([resize_grey(faces.grey[i], side_px) for i in sorted(chosen)[:count]]))


def to_float_tflite(model: keras.Model) -> bytes:
    """Convert a float32 Keras network to a TFLite flat buffer with batch normalisation folded in."""
    return bytes(_converter(model).convert())


def to_int8_tflite(model: keras.Model, representative: Float32Array) -> bytes:
    """Convert a float32 Keras network to full int8 with a float32 interface.

    Args:
        model: float32 network with one input and one output.
        representative: (n, side, side, 1) inputs from training pictures.
    """

    def samples() -> Iterator[list[Float32Array]]:
        for row in representative:
            yield [row[None]]

    converter = _converter(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())


def save_bytes(content: bytes, path: Path) -> Path:
    """Write a flat buffer and return its path."""
    path.write_bytes(content)
    return path


def _converter(model: keras.Model) -> tf.lite.TFLiteConverter:
    return tf.lite.TFLiteConverter.from_keras_model(model)
