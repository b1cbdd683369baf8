"""Run the face network on a picture; give faces in that picture's pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edge_agent.camera.frames import UInt8Array
from edge_agent.tracking.contrast_stretch import lift
from edge_agent.tracking.geometry import Box, Float32Array
from models.face_crop.landmarks import LEFT_EYE, RIGHT_EYE
from models.face_crop.shrinking import shrink
from models.face_detector.decoding import (
    INPUT_PX,
    decode_detections,
    letterbox_parameters,
    short_range_anchors,
)
from models.face_detector.preprocessing import letterbox_frame

_QUICK_AREA_FROM = 2.0
"""In a quick look, pictures that shrink by less are sampled: every pixel counts, at a tenth of the cost of areas."""


class FaceNetwork(Protocol):
    """A loaded detector variant."""

    @property
    def detector_id(self) -> int:
        """Number of the variant on the wire, 1..65535."""

    def infer(self, image: UInt8Array) -> tuple[Float32Array, Float32Array]:
        """Return raw boxes (1, 896, 16) and raw scores (1, 896, 1), both float32.

        Args:
            image: uint8 of shape (1, 128, 128, 3), R, G, B.
        """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detection:
    """One face in one picture.

    Attributes:
        box: in pixels of the picture that was searched; may reach past it.
        landmarks: float32 of shape (6, 2), x, y in the same pixels; rows as in `geometry`.
        score: sigmoid of the network's logit, in [0, 1]; not calibrated.
    """

    box: Box
    landmarks: Float32Array
    score: float

    @property
    def roll_deg(self) -> float:
        """How far the head is tilted clockwise in the picture, in degrees."""
        return eyes_roll_deg(self.landmarks)

    def moved(self, *, factor: float, dx: float, dy: float) -> Detection:
        """Return this detection in another picture's pixels: multiplied by `factor`, then shifted."""
        return Detection(
            box=self.box.scaled(factor).shifted(dx, dy),
            landmarks=np.asarray(self.landmarks * factor + (dx, dy), np.float32),
            score=self.score,
        )


def eyes_roll_deg(landmarks: Float32Array) -> float:
    """Return the angle of the line of the eyes, in degrees, positive clockwise; landmarks of shape (6, 2)."""
    x, y = landmarks[LEFT_EYE] - landmarks[RIGHT_EYE]
    return float(np.rad2deg(np.arctan2(y, x)))


def detect(
    network: FaceNetwork,
    picture: UInt8Array,
    *,
    min_score: float,
    is_lifted: bool = True,
    is_quick: bool = False,
) -> tuple[Detection, ...]:
    """Find faces in a picture.

    Args:
        network: the detector variant.
        picture: uint8 of shape (h, w, 3), B, G, R, at least 1x1.
        min_score: faces below this score are left out, in (0, 1).
        is_lifted: lift a dark picture.
        is_quick: scale the picture by whole factors and sampling instead of by areas.

    Returns:
        Faces, best score first, in pixels of `picture`.
    """
    height, width = picture.shape[:2]
    # A large picture is scaled in two steps, of which the first, by a whole factor, is cheap.
    limit_px = 2 * INPUT_PX if is_quick else 4 * INPUT_PX
    small, scale = shrink(picture, 2 * INPUT_PX) if max(height, width) > limit_px else (picture, 1.0)
    small = lift(small) if is_lifted else small
    rows, columns = small.shape[:2]
    letterbox = letterbox_parameters(rows, columns)
    pixels = letterbox_frame(small, letterbox, area_from=_QUICK_AREA_FROM if is_quick else 1.0)
    raw_boxes, raw_scores = network.infer(pixels)
    found = decode_detections(
        raw_boxes, raw_scores, short_range_anchors(), letterbox=letterbox, min_score=min_score
    )
    size = np.array([columns, rows, columns, rows], np.float32) / np.float32(scale)
    return tuple(
        Detection(box=Box.of(box), landmarks=landmarks, score=score)
        for box, landmarks, score in zip(
            found.boxes_xyxy * size, found.landmarks * size[:2], found.scores.tolist(), strict=True
        )
    )
