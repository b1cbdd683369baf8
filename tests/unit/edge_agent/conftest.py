"""A face network that is a simulator: it finds green patches, so tests know where every face is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import structlog

from edge_agent.camera.frames import Frame
from models.face_detector.decoding import INPUT_PX, short_range_anchors

LANDMARK_OFFSETS = np.array(
    [[-0.2, -0.13], [0.2, -0.13], [0.0, 0.03], [0.0, 0.22], [-0.42, -0.05], [0.42, -0.05]], np.float32
)
"""Right eye, left eye, nose, mouth, right ear, left ear; in box sides from the box's centre."""


class PatchNetwork:
    """Implements `FaceNetwork`; a patch of green at least `min_side_px` wide on the input is a face.

    Other kinds of patch have other scores. A "faint" one: `faint_far`, and `faint_near` where it spans 30 px. A
    "lopsided" one, which is marked on its left: `lopsided_in_mirror` where the mark is on its right.
    """

    def __init__(self, *, score: float = 0.95, min_side_px: int = 6) -> None:
        self.score = score
        self.faint_far, self.faint_near = 0.2, 0.5
        self.lopsided_in_mirror = 0.6
        self.min_side_px = min_side_px
        self.inferences = 0
        self.is_blind = False

    @property
    def detector_id(self) -> int:
        return 7

    def infer(self, image):
        self.inferences += 1
        raw_boxes = np.zeros((1, 896, 16), np.float32)
        raw_scores = np.full((1, 896, 1), -20.0, np.float32)
        if self.is_blind:
            return raw_boxes, raw_scores
        pixels = image[0].astype(np.int16)
        mask = ((pixels[..., 1] - pixels[..., 0]) > 50).astype(np.uint8)
        count, labels, stats, _ = cv2.connectedComponentsWithStats(mask)
        anchors = short_range_anchors()
        for label, (x, y, width, height, _) in enumerate(stats[1:count], start=1):
            side = max(width, height)
            blue = np.where(labels == label, pixels[..., 2], 0)[y : y + height, x : x + width]
            score = self._score(blue[:, : width // 2].mean(), blue[:, -(width // 2) :].mean(), side)
            if side < self.min_side_px:
                continue
            centre = np.array([x + width / 2, y + height / 2], np.float32)
            anchor = int(np.argmin(np.abs(anchors - centre / INPUT_PX).sum(axis=1)))
            offset = centre - anchors[anchor] * INPUT_PX
            marks = (offset + LANDMARK_OFFSETS * side).reshape(-1)
            raw_boxes[0, anchor] = np.concatenate([offset, [side, side], marks])
            raw_scores[0, anchor, 0] = np.log(score / (1 - score))
        return raw_boxes, raw_scores

    def _score(self, blue_left, blue_right, side):
        if min(blue_left, blue_right) > 150:
            return self.faint_near if side >= 30 else self.faint_far
        return self.lopsided_in_mirror if blue_right > 130 else self.score


def paint(faces, *, width=640, height=480, seed=0, background=90):
    """Return a picture with a textured green square per face, each (centre x, centre y, side[, kind])."""
    picture = (
        np.random.default_rng(1)
        .integers(background - 20, background + 20, (height, width, 3))
        .astype(np.uint8)
    )
    picture = cv2.GaussianBlur(picture, (0, 0), 3)
    for number, (x, y, side, *kind) in enumerate(faces):
        texture = np.random.default_rng(seed + number).integers(0, 90, (12, 12, 3)).astype(np.uint8)
        patch = cv2.resize(texture, (side, side), interpolation=cv2.INTER_CUBIC)
        patch[..., 1] = np.maximum(patch[..., 1], 0) // 2 + 165
        if "faint" in kind:
            patch[..., 0] = 255
        if "lopsided" in kind:
            patch[:, : side // 2, 0] = 255
        left, top = round(x - side / 2), round(y - side / 2)
        rows = slice(max(0, top), min(height, top + side))
        columns = slice(max(0, left), min(width, left + side))
        picture[rows, columns] = patch[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
    return picture


@pytest.fixture
def patch_network():
    return PatchNetwork()


@pytest.fixture
def paint_faces():
    return paint


@pytest.fixture
def frame_of():
    def make(faces, *, index=0, **options):
        return Frame(pixels=paint(faces, **options), index=index, monotonic_us=index * 33_333)

    return make


@pytest.fixture(autouse=True)
def own_logging():
    """Give each test the default logging back: the command binds it to its own standard error."""
    yield
    structlog.reset_defaults()
