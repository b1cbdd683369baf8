"""Carry tracks from one view to the next by sparse optical flow."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.camera.frames import UInt8Array
from edge_agent.tracking.geometry import Box, Float32Array
from models.face_crop.landmarks import fit_similarity

BoolArray = npt.NDArray[np.bool_]

_WINDOW = (11, 11)
_LEVELS = 2
_ENOUGH = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.03)
"""Steps a point may take on a level, and the step, in pixels, after which it has arrived."""

_GRID = 5
_UNIT_GRID = np.stack(np.meshgrid(*2 * [np.linspace(0, 1, _GRID, dtype=np.float32)]), axis=-1).reshape(-1, 2)
_INNER = 0.8
_INNER_MIN_PX = 6
_BACK_MAX_PX = 1.0
_OUTLIER_PX = 1.5
_MIN_SHARE = 0.4
_SCALE_RANGE = (0.85, 1.18)
_STEP_MAX = 0.5
_REGION = 1.6
_SIDE_PX = 48.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Motion:
    """What the inside of a box did from one view to the next.

    Attributes:
        matrix: float32 of shape (2, 3), the similarity from the earlier to the later view.
        agreement: share of the followed points that returned and moved like the rest, in (0, 1].
    """

    matrix: Float32Array
    agreement: float


def carry(before: UInt8Array, after: UInt8Array, box: Box) -> Motion | None:
    """Follow what is inside a box from one view to the next.

    A grid of points is tracked forwards and back (median flow); points that do not return, or that move
    unlike the rest, are left out.

    Args:
        before: uint8 of shape (h, w), the earlier grey view.
        after: the later view, of the same shape.
        box: the face on the earlier view, in view pixels.

    Returns:
        The motion, or None where it is not trustworthy: too few points agree, or the step is too large for
        one frame.

    References:
        Kalal, Mikolajczyk, Matas (2010), Forward-Backward Error.
    """
    inner = box.squared(_INNER).clipped(width=before.shape[1] - 1, height=before.shape[0] - 1)
    if before.shape != after.shape or inner.width < _INNER_MIN_PX or inner.height < _INNER_MIN_PX:
        return None
    early, late, origin, factor = _region(before, after, box)
    start = _grid(inner, origin, factor)
    end, seen = _track(early, late, start)
    back, seen_back = _track(late, early, end)
    good = (_farther(back - start) < _BACK_MAX_PX) & seen & seen_back
    if np.count_nonzero(good) < _MIN_SHARE * len(start):
        return None
    step = end - start
    middle = _median(step[good])
    x, y = middle.tolist()
    good &= _farther(step - middle) < _OUTLIER_PX + 0.1 * max(abs(x), abs(y))
    agreement = np.count_nonzero(good) / len(start)
    if agreement < _MIN_SHARE or hypot(x, y) > _STEP_MAX * box.side * factor:
        return None
    matrix = _on_view(fit_similarity(start[good], end[good]), origin, factor)
    scale = hypot(matrix[0, 0], matrix[1, 0])
    is_sane = _SCALE_RANGE[0] <= scale <= _SCALE_RANGE[1]
    return Motion(matrix=matrix, agreement=agreement) if is_sane else None


def _track(early: UInt8Array, late: UInt8Array, points: Float32Array) -> tuple[Float32Array, BoolArray]:
    ahead, seen, _ = cv2.calcOpticalFlowPyrLK(
        early, late, points.reshape(-1, 1, 2), None, winSize=_WINDOW, maxLevel=_LEVELS, criteria=_ENOUGH
    )
    return np.asarray(ahead, np.float32).reshape(-1, 2), np.asarray(seen).reshape(-1) == 1


def _region(
    before: UInt8Array, after: UInt8Array, box: Box
) -> tuple[UInt8Array, UInt8Array, tuple[int, int], float]:
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
    return early, late, (x, y), factor


def _grid(inner: Box, origin: tuple[int, int], factor: float) -> Float32Array:
    """Return the points to follow, in pixels of the region."""
    span = np.array([inner.width * factor, inner.height * factor], np.float32)
    first = np.array([(inner.x_min - origin[0]) * factor, (inner.y_min - origin[1]) * factor], np.float32)
    return np.asarray(_UNIT_GRID * span + first, np.float32)


def _on_view(matrix: Float32Array, origin: tuple[int, int], factor: float) -> Float32Array:
    """Turn a similarity of the region into one of the view, on which the region begins at `origin`."""
    (a, c, shift_x), (b, d, shift_y) = matrix.tolist()
    x, y = origin
    shift_x, shift_y = shift_x / factor + x - a * x - c * y, shift_y / factor + y - b * x - d * y
    return np.array([[a, c, shift_x], [b, d, shift_y]], np.float32)


def _farther(steps: Float32Array) -> Float32Array:
    """Return the larger of |x| and |y| of each row."""
    along = np.abs(steps)
    return np.asarray(np.maximum(along[:, 0], along[:, 1]), np.float32)


def _median(steps: Float32Array) -> Float32Array:
    """Return the median of each column: what `np.median` gives, at a tenth of its cost for a few rows."""
    ordered = np.sort(steps, axis=0)
    return np.asarray((ordered[(len(steps) - 1) // 2] + ordered[len(steps) // 2]) / 2, np.float32)
