"""Train the rounded network to give the float network's outputs again.

Rounding alone costs about one face in a hundred. So, with int8 rounding in the loop, the weights are
trained for a few minutes against the float network itself: no label is needed, only training-split
faces on composed pictures, and nothing new can be learned beyond what the source network already says.

References:
    Jacob et al. (2018), Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference, arXiv:1712.05877.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from models.face_detector.flatbuffer import SourceNetwork
from models.face_detector.graph import BOXES_OUTPUT, SCORES_OUTPUT, Ranges, build_probe, read_weights

UInt8Array = npt.NDArray[np.uint8]

BATCH = 24
LEARNING_RATE = 8e-5
"""Small: the start is already close, and ten times more shakes it out of there."""

LOGIT_CLIP = 6.0
"""Scores beyond this are decided either way; their distance from it is no error."""

FACE_LOGIT = -3.0
"""From this teacher score an anchor counts as near a face: its box matters, its score matters more."""

SCORE_WEIGHT = 4.0
BOX_WEIGHT = 16.0
FEATURE_WEIGHT = 1.0


def recover(
    network: SourceNetwork,
    ranges: Ranges,
    pictures: UInt8Array,
    *,
    steps: int,
    seed: int,
    progress: Callable[[int, float], None],
) -> SourceNetwork:
    """Return the network with weights that survive rounding.

    Args:
        network: the equalised float network, the teacher, and where the student starts.
        ranges: int8 range of each tensor that is rounded.
        pictures: uint8 (n, 128, 128, 3), RGB, composed from training-split faces.
        steps: how many batches to train.
        seed: of the batch order.
        progress: told the step and its loss.
    """
    # TensorFlow 2.21's graph rewriter fuses the depthwise gradients into a kernel that crashes on CPU.
    tf.config.optimizer.set_experimental_options({"remapping": False})
    by_name = {network.names[o.output]: o.output for o in network.operations}
    tensors = [by_name[BOXES_OUTPUT], by_name[SCORES_OUTPUT], *_features(network)]
    teacher = build_probe(network, tensors)
    student = build_probe(network, tensors, ranges=ranges)
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    optimizer = keras.optimizers.Adam(schedule)
    optimizer.build(student.trainable_variables)

    @tf.function  # type: ignore[untyped-decorator]
    def train(batch: Any) -> Any:
        pixels = tf.cast(batch, tf.float32) / 127.5 - 1.0
        expected = teacher(pixels, training=False)
        with tf.GradientTape() as tape:
            loss = _distance(expected, student(pixels, training=True))
        gradients = tape.gradient(loss, student.trainable_variables)
        clipped, _ = tf.clip_by_global_norm(gradients, 1.0)
        optimizer.apply(clipped, student.trainable_variables)
        return loss

    rng = np.random.default_rng(seed)
    for step in range(steps):
        batch = pictures[rng.choice(len(pictures), BATCH, replace=False)]
        if rng.random() < 0.5:
            batch = batch[:, :, ::-1]
        progress(step, float(train(tf.constant(batch))))
    return read_weights(student, network)


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
    feature_error = 0.0
    for wanted, given in zip(expected[2:], actual[2:], strict=True):
        power = tf.reduce_mean(tf.square(wanted)) + 1e-6
        feature_error += tf.reduce_mean(tf.square(wanted - given)) / power
    return SCORE_WEIGHT * score_error + BOX_WEIGHT * box_error / faces + FEATURE_WEIGHT * feature_error
