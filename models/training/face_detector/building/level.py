"""Shift a trained network's scores so that it finds as many faces as the one that it repeats.

Training against the other's scores leaves a small pull towards the middle: the best anchor of a face comes
out a little lower than before. One number, added to the bias of the score heads, takes that back; it is
found on the representative pictures, where both networks must find the same number of faces.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.face_detector import decoding
from models.training.face_detector.building.flatbuffer import SourceNetwork
from models.training.face_detector.building.graph import BOXES_OUTPUT, SCORES_OUTPUT, Ranges, build_probe

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

BATCH = 25
LOWEST_SCORE = 0.2
"""Far enough below the operating point that the shift cannot reach faces which were left out."""


def level_scores(
    teacher: SourceNetwork, student: SourceNetwork, ranges: Ranges | None, pictures: UInt8Array
) -> tuple[SourceNetwork, float]:
    """Return the student with shifted score biases, and the shift in logits.

    Args:
        teacher: the network that the student repeats.
        student: the network to shift.
        ranges: int8 range of each of its rounded tensors; None where none is.
        pictures: uint8 (n, 128, 128, 3), RGB, from training splits.
    """
    wanted = _face_logits(teacher, None, pictures)
    given = _face_logits(student, ranges, pictures)
    shift = score_shift(wanted, given)
    constants = dict(student.constants)
    for operation in _score_heads(student):
        constants[operation.inputs[2]] = (constants[operation.inputs[2]] + shift).astype(np.float32)
    return replace(student, constants=constants), shift


def score_shift(wanted: Float32Array, given: Float32Array) -> float:
    """Return what to add to the `given` logits so that as many are above zero as of the `wanted` ones.

    Args:
        wanted: float32 (n,): one logit per face that the teacher proposes.
        given: float32 (m,): the same of the student.
    """
    count = int((wanted > 0.0).sum())
    if not 0 < count < len(given):
        return 0.0
    ordered = np.sort(given)[::-1]
    return -float(ordered[count - 1] + ordered[count]) / 2


def _face_logits(network: SourceNetwork, ranges: Ranges | None, pictures: UInt8Array) -> Float32Array:
    by_name = {network.names[o.output]: o.output for o in network.operations}
    probe: Any = build_probe(network, [by_name[BOXES_OUTPUT], by_name[SCORES_OUTPUT]], ranges=ranges)
    anchors = decoding.short_range_anchors()
    logits = []
    for start in range(0, len(pictures), BATCH):
        pixels = pictures[start : start + BATCH].astype(np.float32) / 127.5 - 1.0
        boxes, scores = (np.asarray(o) for o in probe(pixels, training=False))
        for box, score in zip(boxes, scores, strict=True):
            found = decoding.decode_detections(box, score, anchors, min_score=LOWEST_SCORE).scores
            logits.append(np.log(found) - np.log1p(-np.minimum(found, 1 - 1e-7)))
    return np.concatenate(logits).astype(np.float32)


def _score_heads(network: SourceNetwork) -> list[Any]:
    makers = {o.output: o for o in network.operations}
    joined = next(o for o in network.operations if network.names[o.output] == SCORES_OUTPUT)
    return [makers[makers[i].inputs[0]] for i in joined.inputs]
