"""Carry tracks from one view to the next by sparse optical flow."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.frames import UInt8Array
from edge_agent.geometry import Box, Float32Array
from models.face_crop.landmarks import fit_similarity

BoolArray = npt.NDArray[np.bool_]

_WINDOW = (11, 11)
_LEVELS = 2
_GRID = 5
_INNER = 0.8
_BACK_MAX_PX = 1.0
_OUTLIER_PX = 1.5
_MIN_SHARE = 0.4
_SCALE_RANGE = (0.85, 1.18)
_STEP_MAX = 0.5
_REGION = 1.6
_SIDE_PX = 48.0


def carry(before: UInt8Array, after: UInt8Array, box: Box) -> Float32Array | None:
    """Follow what is inside a box from one view to the next.

    A grid of points is tracked forwards and back (median flow); points that do not return, or that move
    unlike the rest, are left out.

    Args:
        before: uint8 of shape (h, w), the earlier grey view.
        after: the later view, of the same shape.
        box: the face on the earlier view, in view pixels.

    Returns:
        float32 of shape (2, 3), the similarity from the earlier to the later view, or None where the
        motion is not trustworthy: too few points agree, or the step is too large for one frame.

    References:
        Kalal, Mikolajczyk, Matas (2010), Forward-Backward Error.
    """
    points = _grid(box, before.shape) if before.shape == after.shape else None
    if points is None:
        return None
    early, late, origin, factor = _region(before, after, box)
    start = (points - origin) * np.float32(factor)
    end, seen = _track(early, late, start)
    back, seen_back = _track(late, early, end)
    good = (np.abs(back - start).max(axis=1) < _BACK_MAX_PX) & seen & seen_back
    if good.sum() < _MIN_SHARE * len(points):
        return None
    step = end - start
    middle = np.median(step[good], axis=0)
    good &= np.abs(step - middle).max(axis=1) < _OUTLIER_PX + 0.1 * float(np.abs(middle).max())
    if good.sum() < _MIN_SHARE * len(points) or float(np.hypot(*middle)) > _STEP_MAX * box.side * factor:
        return None
    moved = end[good] / np.float32(factor) + origin
    matrix = fit_similarity(points[good], np.asarray(moved, np.float32))
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    return matrix if _SCALE_RANGE[0] <= scale <= _SCALE_RANGE[1] else None


def _track(early: UInt8Array, late: UInt8Array, points: Float32Array) -> tuple[Float32Array, BoolArray]:
    ahead, seen, _ = cv2.calcOpticalFlowPyrLK(
        early, late, points.reshape(-1, 1, 2), None, winSize=_WINDOW, maxLevel=_LEVELS
    )
    return np.asarray(ahead, np.float32).reshape(-1, 2), np.asarray(seen).reshape(-1) == 1


def _region(
    before: UInt8Array, after: UInt8Array, box: Box
) -> tuple[UInt8Array, UInt8Array, Float32Array, float]:
    """Cut out the surroundings of the face, made small: the cost of a step must not grow with the face."""
    around = box.squared(_REGION).clipped(width=before.shape[1], height=before.shape[0])
    x, y = int(around.x_min), int(around.y_min)
    rows, columns = slice(y, int(around.y_max) + 1), slice(x, int(around.x_max) + 1)
    early, late, factor = before[rows, columns], after[rows, columns], 1.0
    if box.side > _SIDE_PX:
        factor = _SIDE_PX / box.side
        early, late = (
            np.asarray(cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR), np.uint8)
            for part in (early, late)
        )
    return early, late, np.array([x, y], np.float32), factor


def _grid(box: Box, shape: tuple[int, ...]) -> Float32Array | None:
    inner = box.squared(_INNER).clipped(width=shape[1] - 1, height=shape[0] - 1)
    if inner.width < 6 or inner.height < 6:
        return None
    x = np.linspace(inner.x_min, inner.x_max, _GRID, dtype=np.float32)
    y = np.linspace(inner.y_min, inner.y_max, _GRID, dtype=np.float32)
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
