"""Find every face in a still picture: propose on the whole and on tiles, confirm each in close-up.

The network sees 128 pixels, so a face of a fiftieth of a picture is two pixels wide to it. Overlapping tiles bring
such faces near enough to be proposed. As on the agent (ADR 0050), a face counts only once a close-up confirms it, and the
crop is cut by the close-up's landmarks. There is no frame before this one and no hurry: every place is looked at, up to a
bound, and a second, narrower close-up is tried. It finds 91 % of faces that fill their picture (500 crops
of two training splits); the wide close-up alone found 78 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from models.face_crop.landmarks import Float32Array
from models.face_crop.shrinking import UInt8Array, shrink
from models.face_detector.decoding import Detections, iou_matrix

TILE_SHARES = (1.0, 0.5, 0.25, 0.125)
"""Sides of looks, in longer sides of the picture; each step to the next look of a size is half a side."""

TILE_MIN_PX = 128
BASE_SIDE_PX = 2048
LOOK_SIDE_PX = 512
PROPOSE_MIN_SCORE, CONFIRM_MIN_SCORE = 0.25, 0.75
CLOSE_UP_SIDES = (2.5, 1.8)
"""Sides of close-ups in sides of the face; the first that confirms it counts."""

PROPOSALS_MAX = 64
SAME_FACE_IOU = 0.3
SAME_PLACE_SIDES = 0.75


class FaceDetector(Protocol):
    """What a search needs of a detector; `models.face_detector.runtime.Detector` is one."""

    def detect(self, frame_bgr: UInt8Array, *, min_score: float) -> Detections:
        """Return faces on one picture, uint8 (h, w, 3), B, G, R; coordinates in picture sides."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoundFace:
    """One face in a picture.

    Attributes:
        box_xyxy_px: float32 (4,), in picture pixels; may reach past the picture.
        landmarks_px: float32 (6, 2), in picture pixels, rows as in `models.face_crop.landmarks`.
        score: of the close-up, in [0, 1]; not calibrated.
    """

    box_xyxy_px: Float32Array
    landmarks_px: Float32Array
    score: float

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        x_min, y_min, x_max, y_max = (float(v) for v in self.box_xyxy_px)
        return max(0.0, x_max - x_min) * max(0.0, y_max - y_min)


def find_faces(detector: FaceDetector, picture: UInt8Array) -> tuple[FoundFace, ...]:
    """Find faces, largest first.

    Args:
        detector: the network.
        picture: uint8 of shape (h, w, 3), B, G, R, at least 1 x 1.
    """
    base, scale = shrink(picture, BASE_SIDE_PX)
    proposals = [
        face for square in _looks(base) for face in _look(detector, base, square, min_score=PROPOSE_MIN_SCORE)
    ]
    places = [_scaled(face, 1.0 / scale) for face in _distinct(proposals)[:PROPOSALS_MAX]]
    confirmed = [near for place in places if (near := _close_up(detector, picture, place)) is not None]
    return tuple(sorted(_distinct(confirmed), key=lambda face: face.area, reverse=True))


def _looks(picture: UInt8Array) -> Iterator[tuple[float, float, float]]:
    """Yield x, y and side of every square to look at, in pixels."""
    height, width = picture.shape[:2]
    longer = float(max(height, width))
    for share in TILE_SHARES:
        side = share * longer
        if side < min(TILE_MIN_PX, longer):
            return
        for y in _starts(height, side):
            for x in _starts(width, side):
                yield x, y, side


def _starts(length: int, side: float) -> list[float]:
    if side >= length:
        return [(length - side) / 2]
    steps = int(np.ceil((length - side) / (side / 2)))
    return [float(start) for start in np.linspace(0.0, length - side, steps + 1)]


def _close_up(detector: FaceDetector, picture: UInt8Array, place: FoundFace) -> FoundFace | None:
    x_min, y_min, x_max, y_max = (float(v) for v in place.box_xyxy_px)
    face_side = max(x_max - x_min, y_max - y_min)
    for sides in CLOSE_UP_SIDES:
        side = sides * face_side
        square = ((x_min + x_max - side) / 2, (y_min + y_max - side) / 2, side)
        seen = _look(detector, picture, square, min_score=CONFIRM_MIN_SCORE)
        near = [face for face in seen if _distance(face, place) < SAME_PLACE_SIDES * face_side]
        if near:
            return min(near, key=lambda face: _distance(face, place))
    return None


def _look(
    detector: FaceDetector, picture: UInt8Array, square: tuple[float, float, float], *, min_score: float
) -> list[FoundFace]:
    region, x, y = _cut_square(picture, square)
    small, scale = shrink(region, LOOK_SIDE_PX)
    found = detector.detect(small, min_score=min_score)
    size = np.array([small.shape[1], small.shape[0]], np.float32) / np.float32(scale)
    origin = np.array([x, y], np.float32)
    return [
        FoundFace(
            box_xyxy_px=np.asarray(box.reshape(2, 2) * size + origin, np.float32).reshape(4),
            landmarks_px=np.asarray(marks * size + origin, np.float32),
            score=float(score),
        )
        for box, marks, score in zip(found.boxes_xyxy, found.landmarks, found.scores, strict=True)
    ]


def _cut_square(picture: UInt8Array, square: tuple[float, float, float]) -> tuple[UInt8Array, int, int]:
    """Return a square of the picture, black where it reaches past it, with its whole-pixel origin."""
    height, width = picture.shape[:2]
    x, y = (int(np.floor(v)) for v in square[:2])
    side = max(8, int(np.ceil(square[2])))
    rows, columns = slice(max(0, y), min(height, y + side)), slice(max(0, x), min(width, x + side))
    part = picture[rows, columns]
    pads = (rows.start - y, y + side - rows.stop, columns.start - x, x + side - columns.stop)
    if not any(pads):
        return np.ascontiguousarray(part), x, y
    framed = cv2.copyMakeBorder(part, *pads, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    return np.asarray(framed, np.uint8), x, y


def _distinct(faces: list[FoundFace]) -> list[FoundFace]:
    """Keep the best of those that overlap, best first."""
    ranked = sorted(faces, key=lambda face: face.score, reverse=True)
    if not ranked:
        return []
    overlaps = iou_matrix(*([np.stack([face.box_xyxy_px for face in ranked])] * 2)) > SAME_FACE_IOU
    kept: list[int] = []
    for i in range(len(ranked)):
        if not overlaps[i, kept].any():
            kept.append(i)
    return [ranked[i] for i in kept]


def _scaled(face: FoundFace, factor: float) -> FoundFace:
    return FoundFace(
        box_xyxy_px=np.asarray(face.box_xyxy_px * factor, np.float32),
        landmarks_px=np.asarray(face.landmarks_px * factor, np.float32),
        score=face.score,
    )


def _distance(face: FoundFace, other: FoundFace) -> float:
    centres = [found.box_xyxy_px.reshape(2, 2).mean(axis=0) for found in (face, other)]
    return float(np.hypot(*(centres[0] - centres[1])))
