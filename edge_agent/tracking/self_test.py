"""A drawn face that every working detector variant must find: no photograph has to ship."""

from __future__ import annotations

import cv2
import numpy as np

from edge_agent.camera.frames import UInt8Array
from edge_agent.tracking.detection import FaceNetwork, detect
from edge_agent.tracking.geometry import Box, Float32Array, iou
from models.face_crop.landmarks import LEFT_EYE, MOUTH, RIGHT_EYE

DRAWING_BOX = Box(x_min=33, y_min=47, x_max=96, y_max=110)
"""Where the face network's own convention puts the box, at 128 px."""

DRAWING_EYES_AND_MOUTH: Float32Array = np.array([[52, 64], [78, 64], [65, 92]], np.float32)
"""Right eye, left eye, mouth at 128 px."""

MIN_SCORE = 0.5
MIN_IOU = 0.6
LANDMARK_MAX_PX = 5.0

_SKIN, _SHADE, _HAIR = (135, 165, 205), (115, 145, 185), (40, 50, 70)
_WHITE, _IRIS, _LIP, _LINE = (225, 230, 235), (30, 35, 45), (85, 85, 150), (50, 50, 100)
_WALL = (150, 140, 130)


def draw_face(side_px: int) -> UInt8Array:
    """Draw a frontal face.

    Args:
        side_px: side of the square picture, at least 64.

    Returns:
        uint8 of shape (side_px, side_px, 3), B, G, R; features where the constants above say, scaled.
    """
    canvas = np.full((side_px, side_px, 3), _WALL, np.uint8)
    scale = side_px / 128

    def fill(centre: tuple[float, float], axes: tuple[float, float], colour: tuple[int, int, int]) -> None:
        x, y = (round(v * scale) for v in centre)
        a, b = (max(1, round(v * scale)) for v in axes)
        cv2.ellipse(canvas, (x, y), (a, b), 0, 0, 360, colour, -1, cv2.LINE_AA)

    fill((64, 58), (31, 40), _HAIR)
    fill((64, 70), (26, 35), _SKIN)
    fill((64, 104), (14, 10), _SHADE)
    fill((64, 40), (24, 12), _HAIR)
    for x in (53, 75):
        brow = (round(x * scale), round(58 * scale)), (round(8 * scale), round(3 * scale))
        cv2.ellipse(canvas, *brow, 0, 180, 360, _HAIR, max(1, round(2 * scale)), cv2.LINE_AA)
        fill((x, 64), (6, 4), _SHADE)
        fill((x, 64), (5, 3), _WHITE)
        fill((x, 64), (2.6, 2.6), _IRIS)
    fill((64, 76), (4, 8), _SHADE)
    fill((61, 83), (1.6, 1.2), _HAIR)
    fill((67, 83), (1.6, 1.2), _HAIR)
    fill((64, 92), (10, 3.2), _LIP)
    fill((64, 92), (10, 0.8), _LINE)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 1.1 * scale), np.uint8)


def self_test(network: FaceNetwork) -> str | None:
    """Let a variant look at the drawing and at a blank wall; return what is wrong, None if nothing is."""
    faces = detect(network, draw_face(128), min_score=MIN_SCORE)
    if len(faces) != 1:
        return f"it finds {len(faces)} faces in the drawing of one"
    found = faces[0]
    if iou(found.box, DRAWING_BOX) < MIN_IOU:
        return "its box is misplaced"
    points = found.landmarks[[RIGHT_EYE, LEFT_EYE, MOUTH]]
    if float(np.abs(points - DRAWING_EYES_AND_MOUTH).max()) > LANDMARK_MAX_PX:
        return "its landmarks are misplaced"
    blank = np.full((128, 128, 3), _WALL, np.uint8)
    if detect(network, blank, min_score=MIN_SCORE):
        return "it finds a face on a blank wall"
    return None
