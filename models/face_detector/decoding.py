"""Turn the face detector's raw tensors into boxes on the camera frame.

Pure arithmetic on arrays: it loads no artifact and touches no device, so the agent, the build and
the evaluation share this one definition of what the network's numbers mean.

The network sees a *letterboxed* square: the frame scaled by one factor to fit, centred, the rest
black. Its 896 anchors are the cells of a 16x16 grid (two each) and an 8x8 grid (six each); each
predicts a box centre, a box size and six landmarks in input pixels relative to its own centre.

References:
    Bazarevsky et al. (2019), BlazeFace, arXiv:1907.05047.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import log

import numpy as np
import numpy.typing as npt

from models.errors import TensorShapeError

Float32Array = npt.NDArray[np.float32]

INPUT_PX = 128
"""Side of the square network input, in pixels."""

LANDMARKS = ("right_eye", "left_eye", "nose_tip", "mouth_centre", "right_ear", "left_ear")
"""Order of the six landmarks; right and left are the person's own."""

DEFAULT_MIN_SCORE = 0.5
"""Score from which an anchor counts as a face: the operating point of the source network."""

DEFAULT_IOU = 0.3
"""Overlap above which two anchors speak of the same face: the source network's own value."""

LOGIT_LIMIT = 100.0
"""Raw scores are clipped to +-this before the sigmoid, so that it never overflows."""

MAX_CANDIDATES = 256
"""Anchors kept before suppression (best first): bounds the work a hostile picture can cause."""

_COORDINATE_LIMIT = 100.0
"""Input sides; also false for NaN, so one comparison refuses every unusable number."""

_GRIDS = ((16, 2), (8, 6))
_VALUES_PER_ANCHOR = 4 + 2 * len(LANDMARKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterbox:
    """Where a frame lies on the square network input.

    Attributes:
        frame_height_px: height of the camera frame.
        frame_width_px: width of the camera frame.
        input_px: side of the square network input.
        inner_height_px: height of the scaled frame on the input.
        inner_width_px: width of the scaled frame on the input.
        top_px: black rows above the scaled frame.
        left_px: black columns left of it.
    """

    frame_height_px: int
    frame_width_px: int
    input_px: int
    inner_height_px: int
    inner_width_px: int
    top_px: int
    left_px: int

    def to_frame(self, points: Float32Array) -> Float32Array:
        """Map points on the input to points on the frame.

        Args:
            points: float32 of shape (..., 2); x, y in input sides, [0, 1] on the input.

        Returns:
            float32 of the same shape; x, y in frame widths and heights, [0, 1] on the frame.
        """
        scale, offset = self._affine()
        return (points * scale - offset).astype(np.float32)

    def to_input(self, points: Float32Array) -> Float32Array:
        """Map points on the frame to points on the input: the inverse of `to_frame`."""
        scale, offset = self._affine()
        return ((points + offset) / scale).astype(np.float32)

    def _affine(self) -> tuple[Float32Array, Float32Array]:
        width, height = self.inner_width_px, self.inner_height_px
        scale = np.array([self.input_px / width, self.input_px / height], np.float32)
        return scale, np.array([self.left_px / width, self.top_px / height], np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """Faces found on one frame, best score first.

    Attributes:
        boxes_xyxy: float32 (n, 4): x_min, y_min, x_max, y_max in frame widths and heights; a box may
            reach past the frame, so values may lie outside [0, 1].
        landmarks: float32 (n, 6, 2): x, y in frame widths and heights, in the order of `LANDMARKS`.
        scores: float32 (n,): sigmoid of the raw score, in [0, 1].
    """

    boxes_xyxy: Float32Array
    landmarks: Float32Array
    scores: Float32Array

    def __len__(self) -> int:
        return len(self.scores)


def letterbox_parameters(height_px: int, width_px: int, input_px: int = INPUT_PX) -> Letterbox:
    """Place a frame on the square network input: one scale for both axes, centred.

    Args:
        height_px: height of the frame, at least 1.
        width_px: width of the frame, at least 1.
        input_px: side of the network input, at least 1.

    Raises:
        TensorShapeError: a size below 1.
    """
    if min(height_px, width_px, input_px) < 1:
        raise TensorShapeError(f"cannot letterbox a frame of {width_px} x {height_px} px onto {input_px} px")
    scale = input_px / max(height_px, width_px)
    inner_height = max(1, round(height_px * scale))
    inner_width = max(1, round(width_px * scale))
    return Letterbox(
        frame_height_px=height_px,
        frame_width_px=width_px,
        input_px=input_px,
        inner_height_px=inner_height,
        inner_width_px=inner_width,
        top_px=(input_px - inner_height) // 2,
        left_px=(input_px - inner_width) // 2,
    )


@lru_cache(maxsize=1)
def short_range_anchors() -> Float32Array:
    """Return the anchor centres of the short-range network.

    Returns:
        float32 of shape (896, 2), read-only: x, y in input sides; rows run left to right, then top to
        bottom, grid by grid, the anchors of one cell beside each other.
    """
    parts = []
    for cells, per_cell in _GRIDS:
        centres = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        x, y = np.meshgrid(centres, centres)
        parts.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), per_cell, axis=0))
    anchors: Float32Array = np.concatenate(parts).astype(np.float32)
    anchors.setflags(write=False)
    return anchors


def decode_detections(
    raw_boxes: Float32Array,
    raw_scores: Float32Array,
    anchors: Float32Array,
    *,
    letterbox: Letterbox | None = None,
    min_score: float = DEFAULT_MIN_SCORE,
    iou: float = DEFAULT_IOU,
) -> Detections:
    """Turn the network's two output tensors into faces on the frame.

    Args:
        raw_boxes: float32 of shape (n_anchors, 16) or (1, n_anchors, 16): centre x, y, width, height,
            then six landmark pairs, all in input pixels, positions relative to the anchor.
        raw_scores: float32 of shape (n_anchors,), (n_anchors, 1) or (1, n_anchors, 1): logits.
        anchors: float32 of shape (n_anchors, 2): centres x, y in input sides.
        letterbox: where the frame lies on the input; None leaves coordinates on the input itself.
        min_score: anchors below this are no face; strictly between 0 and 1.
        iou: overlap above which anchors are merged into one face; in [0, 1].

    Returns:
        Faces, best first, their coordinates on the original frame. Anchors whose coordinates are not
        finite, or absurdly far outside the input, are dropped.

    Raises:
        TensorShapeError: an array has another shape, or a threshold is out of range.
    """
    logits = _checked(raw_boxes, raw_scores, anchors)
    if not (0.0 < min_score < 1.0 and 0.0 <= iou <= 1.0):
        raise TensorShapeError(f"min_score {min_score} must lie in (0, 1) and iou {iou} in [0, 1]")
    chosen = np.flatnonzero(logits >= log(min_score / (1.0 - min_score)))
    if not chosen.size:
        return _NOTHING
    input_px = letterbox.input_px if letterbox is not None else INPUT_PX
    raw = raw_boxes.reshape(-1, _VALUES_PER_ANCHOR)
    if not np.abs(raw[chosen]).max() < _COORDINATE_LIMIT * input_px:
        chosen = chosen[(np.abs(raw[chosen]) < _COORDINATE_LIMIT * input_px).all(axis=1)]
    chosen = chosen[np.argsort(-logits[chosen], kind="stable")][:MAX_CANDIDATES]
    boxes, landmarks = _decode(raw[chosen], anchors[chosen], input_px)
    scores = sigmoid(logits[chosen])
    boxes, landmarks, scores = merge_overlapping(boxes, landmarks, scores, iou=iou)
    if letterbox is not None:
        points = letterbox.to_frame(np.concatenate([boxes.reshape(-1, 2, 2), landmarks], axis=1))
        boxes, landmarks = points[:, :2].reshape(-1, 4), points[:, 2:]
    return Detections(boxes_xyxy=boxes, landmarks=landmarks, scores=scores)


def sigmoid(logits: Float32Array) -> Float32Array:
    """Return the logistic function of `logits`, clipped to +-`LOGIT_LIMIT` first."""
    clipped = np.clip(logits.astype(np.float64), -LOGIT_LIMIT, LOGIT_LIMIT)
    probabilities: Float32Array = (1.0 / (1.0 + np.exp(-clipped))).astype(np.float32)
    return probabilities


def iou_matrix(boxes_a: Float32Array, boxes_b: Float32Array) -> Float32Array:
    """Return intersection over union of every pair.

    Args:
        boxes_a: float32 of shape (n, 4), xyxy.
        boxes_b: float32 of shape (m, 4), xyxy, in the same unit.

    Returns:
        float32 of shape (n, m) in [0, 1]; 0 where either box has no area.
    """
    a, b = boxes_a.astype(np.float64), boxes_b.astype(np.float64)
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides = np.maximum(high - low, 0.0)
    shared = sides[..., 0] * sides[..., 1]
    union = _area(a)[:, None] + _area(b)[None, :] - shared
    ratios: Float32Array = np.divide(shared, union, out=np.zeros_like(shared), where=union > 0.0).astype(
        np.float32
    )
    return ratios


def merge_overlapping(
    boxes: Float32Array, landmarks: Float32Array, scores: Float32Array, *, iou: float
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Merge anchors that speak of one face into their score-weighted mean (BlazeFace, section 4.3).

    Plain suppression would keep one anchor of each group and make the box jump between neighbours from
    frame to frame; the mean halves that jitter. A group keeps its best score.

    Args:
        boxes: float32 of shape (n, 4), xyxy, sorted by falling score.
        landmarks: float32 of shape (n, 6, 2).
        scores: float32 of shape (n,), falling.
        iou: overlap with the group's best anchor above which an anchor joins the group.

    Returns:
        boxes, landmarks and scores of the groups, best first.
    """
    count = len(scores)
    if not count:
        return boxes, landmarks, scores
    corners = boxes.astype(np.float64)
    areas = _area(corners)
    values = np.concatenate([boxes, landmarks.reshape(count, -1)], axis=1)
    free = np.ones(count, dtype=bool)
    leaders: list[int] = []
    merged: list[Float32Array] = []
    while free.any():
        best = int(free.argmax())
        group = _is_overlapping(corners, areas, best, iou=iou) & free
        group[best] = True
        free &= ~group
        weights = scores[group]
        leaders.append(best)
        merged.append(weights / weights.sum() @ values[group])
    means = np.asarray(merged, np.float32)
    return (
        np.ascontiguousarray(means[:, :4]),
        means[:, 4:].reshape(-1, len(LANDMARKS), 2),
        scores[leaders].astype(np.float32),
    )


def _checked(raw_boxes: Float32Array, raw_scores: Float32Array, anchors: Float32Array) -> Float32Array:
    count = len(anchors)
    if anchors.shape != (count, 2):
        raise TensorShapeError(f"anchors have shape {anchors.shape}, not (n_anchors, 2)")
    if raw_boxes.shape not in ((count, _VALUES_PER_ANCHOR), (1, count, _VALUES_PER_ANCHOR)):
        raise TensorShapeError(f"raw boxes have shape {raw_boxes.shape}, not ({count}, {_VALUES_PER_ANCHOR})")
    if raw_scores.shape not in ((count,), (count, 1), (1, count, 1)):
        raise TensorShapeError(f"raw scores have shape {raw_scores.shape}, not ({count}, 1)")
    return raw_scores.reshape(-1)


def _decode(raw: Float32Array, anchors: Float32Array, input_px: int) -> tuple[Float32Array, Float32Array]:
    scaled = raw / np.float32(input_px)
    centres = scaled[:, :2] + anchors
    half = np.maximum(scaled[:, 2:4], 0.0) / 2
    boxes = np.concatenate([centres - half, centres + half], axis=1)
    landmarks = scaled[:, 4:].reshape(-1, len(LANDMARKS), 2) + anchors[:, None, :]
    return boxes, landmarks


def _is_overlapping(
    corners: npt.NDArray[np.float64], areas: npt.NDArray[np.float64], best: int, *, iou: float
) -> npt.NDArray[np.bool_]:
    """Tell of each box whether it overlaps the best by more than `iou`; boxes without an area overlap nothing."""
    low = np.maximum(corners[:, :2], corners[best, :2])
    high = np.minimum(corners[:, 2:], corners[best, 2:])
    sides = np.maximum(high - low, 0.0)
    shared = sides[:, 0] * sides[:, 1]
    is_overlapping: npt.NDArray[np.bool_] = shared > iou * (areas + areas[best] - shared)
    return is_overlapping


def _area(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0)
    area: npt.NDArray[np.float64] = sides[:, 0] * sides[:, 1]
    return area


_NOTHING = Detections(
    boxes_xyxy=np.zeros((0, 4), np.float32),
    landmarks=np.zeros((0, len(LANDMARKS), 2), np.float32),
    scores=np.zeros(0, np.float32),
)
