"""Train a changed network to give the source network's outputs again: one narrowed, or rounded to int8.

Narrowing the beginning leaves random weights there; rounding alone costs about one face in a hundred. So
the weights are trained against the unchanged network itself, with int8 rounding in the loop where there is
any: no label is needed, only training-split faces on composed pictures, and nothing new can be learned
beyond what the source network already says.

References:
    Jacob et al. (2018), Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference, arXiv:1712.05877.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.training.face_detector.building.flatbuffer import SourceNetwork
from models.training.face_detector.building.graph import (
    BOXES_OUTPUT,
    SCORES_OUTPUT,
    Ranges,
    build_probe,
    read_weights,
)
from models.training.face_detector.building.narrow import front_output

UInt8Array = npt.NDArray[np.uint8]
Progress = Callable[[int, float], None]

BATCH = 24
ROUNDED_RATE = 8e-5
"""Peak learning rate of a rounded network: the start is already close, and ten times more shakes it out of there."""

FRONT_RATE, NARROW_RATE = 2e-3, 4e-4
"""Peak learning rates of a narrow beginning by itself, and of the whole network behind it."""

SHIFT_PX = 12
"""Most that a picture is shifted each way while the narrow beginning learns; what comes in is black."""

LOGIT_CLIP = 6.0
"""Scores beyond this are decided either way; their distance from it is no error."""

FACE_LOGIT = -3.0
"""From this teacher score an anchor counts as near a face: its box matters, its score matters more."""

SCORE_WEIGHT = 4.0
BOX_WEIGHT = 16.0
FEATURE_WEIGHT = 1.0


def recover_front(
    teacher: SourceNetwork,
    student: SourceNetwork,
    pictures: UInt8Array,
    *,
    steps: int,
    seed: int,
    progress: Progress,
) -> SourceNetwork:
    """Return the student with a narrow beginning that gives the teacher's features where both meet again.

    Args:
        teacher: the source network.
        student: from `narrow_beginning`.
        pictures: uint8 (n, 128, 128, 3), RGB, composed from training-split faces.
        steps: how many batches to train.
        seed: of batches, shifts and mirroring.
        progress: told the step and its loss.
    """
    meeting = [front_output(teacher)]
    trained = build_probe(student, meeting)
    _train(
        build_probe(teacher, meeting),
        trained,
        _feature_distance,
        _batches(pictures, steps=steps, seed=seed, shift_px=SHIFT_PX),
        rate=FRONT_RATE,
        steps=steps,
        progress=progress,
    )
    return read_weights(trained, student)


def recover(
    teacher: SourceNetwork,
    student: SourceNetwork,
    pictures: UInt8Array,
    *,
    ranges: Ranges | None = None,
    steps: int,
    rate: float,
    seed: int,
    progress: Progress,
) -> SourceNetwork:
    """Return the student with weights that give the teacher's scores, boxes and features.

    Args:
        teacher: the network to repeat.
        student: the network to train, of the same operations from the end of the beginning on.
        pictures: uint8 (n, 128, 128, 3), RGB, composed from training-split faces.
        ranges: int8 range of each of the student's tensors that is rounded; None trains it as it is.
        steps: how many batches to train.
        rate: peak learning rate; it falls to zero along a cosine.
        seed: of batches and mirroring.
        progress: told the step and its loss.
    """
    by_name = {teacher.names[o.output]: o.output for o in teacher.operations}
    tensors = [by_name[BOXES_OUTPUT], by_name[SCORES_OUTPUT], *_features(teacher)]
    trained = build_probe(student, tensors, ranges=ranges)
    _train(
        build_probe(teacher, tensors),
        trained,
        _distance,
        _batches(pictures, steps=steps, seed=seed, shift_px=0),
        rate=rate,
        steps=steps,
        progress=progress,
    )
    return read_weights(trained, student)


def _train(
    expected_from: keras.Model,
    trained: keras.Model,
    distance: Callable[[list[Any], list[Any]], Any],
    batches: Iterable[UInt8Array],
    *,
    rate: float,
    steps: int,
    progress: Progress,
) -> None:
    # TensorFlow 2.21's graph rewriter fuses the depthwise gradients into a kernel that crashes on CPU.
    tf.config.optimizer.set_experimental_options({"remapping": False})
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))
    optimizer.build(trained.trainable_variables)

    @tf.function  # type: ignore[untyped-decorator]
    def train(batch: Any) -> Any:
        pixels = tf.cast(batch, tf.float32) / 127.5 - 1.0
        expected = _as_list(expected_from(pixels, training=False))
        with tf.GradientTape() as tape:
            loss = distance(expected, _as_list(trained(pixels, training=True)))
        gradients = tape.gradient(loss, trained.trainable_variables)
        clipped, _ = tf.clip_by_global_norm(gradients, 1.0)
        optimizer.apply(clipped, trained.trainable_variables)
        return loss

    for step, batch in enumerate(batches):
        progress(step, float(train(tf.constant(batch))))


def _batches(pictures: UInt8Array, *, steps: int, seed: int, shift_px: int) -> Iterator[UInt8Array]:
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        batch = pictures[rng.choice(len(pictures), BATCH, replace=False)]
        if rng.random() < 0.5:
            batch = batch[:, :, ::-1]
        if shift_px:
            batch = _shift(batch, *(int(v) for v in rng.integers(-shift_px, shift_px + 1, 2)))
        yield batch


def _shift(batch: UInt8Array, down: int, right: int) -> UInt8Array:
    height, width = batch.shape[1:3]
    shifted = np.zeros_like(batch)
    shifted[:, max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)] = batch[
        :, max(-down, 0) : height + min(-down, 0), max(-right, 0) : width + min(-right, 0)
    ]
    return shifted


def _as_list(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (list, tuple)) else [outputs]


def _features(network: SourceNetwork) -> list[int]:
    # What the heads read, and the end of the first resolution: errors there reach everything.
    relus = [o.output for o in network.operations if o.kind == "RELU"]
    heads = {o.inputs[0] for o in network.operations if o.kind == "CONV_2D"} & set(relus)
    return sorted(heads | {relus[len(relus) // 2]})


def _distance(expected: list[Any], actual: list[Any]) -> Any:
    """Score, box and feature error of the student against the teacher: one number."""
    boxes, scores = expected[0], expected[1]
    near = tf.cast(scores > FACE_LOGIT, tf.float32)
    faces = tf.maximum(tf.reduce_sum(near), 1.0)
    limit = LOGIT_CLIP
    gap = tf.clip_by_value(actual[1], -limit, limit) - tf.clip_by_value(scores, -limit, limit)
    invented = tf.nn.relu(actual[1] - FACE_LOGIT) * (1.0 - near)
    score_error = tf.reduce_sum(tf.square(gap) * near + tf.square(invented)) / faces
    size = tf.maximum(tf.abs(boxes[..., 2:3]), 4.0)
    box_error = tf.reduce_sum(tf.reduce_mean(tf.abs(actual[0] - boxes) / size, axis=-1, keepdims=True) * near)
    feature_error = _feature_distance(expected[2:], actual[2:])
    return SCORE_WEIGHT * score_error + BOX_WEIGHT * box_error / faces + FEATURE_WEIGHT * feature_error


def _feature_distance(expected: list[Any], actual: list[Any]) -> Any:
    """Squared error of each feature map relative to its power, added up."""
    error = 0.0
    for wanted, given in zip(expected, actual, strict=True):
        power = tf.reduce_mean(tf.square(wanted)) + 1e-6
        error += tf.reduce_mean(tf.square(wanted - given)) / power
    return error
