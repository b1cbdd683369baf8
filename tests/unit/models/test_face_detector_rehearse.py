"""Detectors compared on composed scenes: which detection speaks of which face, what is lost and gained."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.face_detector import decoding
from models.training.face_detector.building.representative import ComposedScene
from models.training.face_detector.evaluation.rehearse import match_squares, rehearse


class Fixed:
    """Gives the same boxes, in pixels, for every picture."""

    def __init__(self, *boxes_px: tuple[float, float, float, float]) -> None:
        self.boxes = np.array(boxes_px, np.float32).reshape(-1, 4) / decoding.INPUT_PX

    def detect_letterboxed(self, *_: Any, **__: Any) -> decoding.Detections:
        n = len(self.boxes)
        return decoding.Detections(
            boxes_xyxy=self.boxes,
            landmarks=np.zeros((n, 6, 2), np.float32),
            scores=np.ones(n, np.float32),
        )


def scene(*squares: tuple[float, float, float], pasted: bool = True) -> ComposedScene:
    return ComposedScene(
        picture=np.zeros((128, 128, 3), np.uint8),
        squares=np.array(squares, np.float32).reshape(-1, 3),
        pasted=pasted,
    )


def test_a_detection_speaks_of_a_face_when_place_and_size_agree() -> None:
    squares = np.array([[20, 20, 40]], np.float32)
    boxes = np.array(
        [
            [25, 25, 55, 55],  # in the middle
            [31, 20, 67, 56],  # 9 of at most 10 px to the right
            [36, 20, 72, 56],  # 14 px to the right
            [36, 36, 44, 44],  # a fifth of the side
            [0, 0, 80, 80],  # twice the side
        ],
        np.float32,
    )
    assert match_squares(boxes, squares)[:, 0].tolist() == [True, True, False, False, False]


def test_nothing_matches_nothing() -> None:
    assert match_squares(np.zeros((0, 4), np.float32), np.zeros((2, 3), np.float32)).shape == (0, 2)
    assert match_squares(np.zeros((3, 4), np.float32), np.zeros((0, 3), np.float32)).shape == (3, 0)


def test_lost_gained_and_false_are_counted_against_the_reference() -> None:
    first, second = (10, 10, 40), (70, 70, 40)
    detectors: dict[str, Any] = {
        "source": Fixed((15, 15, 45, 45)),
        "other": Fixed((75, 75, 105, 105), (60, 0, 90, 30)),
    }
    figures = rehearse(
        detectors, [scene(first, second), scene(pasted=True), scene(first, pasted=False)], reference="source"
    )
    assert figures["source"]["pasted"] == {"faces": 2, "found": 1, "lost": 0, "gained": 0}
    assert figures["other"]["pasted"] == {"faces": 2, "found": 1, "lost": 1, "gained": 1}
    assert figures["other"]["mosaic"] == {"faces": 1, "found": 0, "lost": 1, "gained": 0}
    assert figures["source"]["false"] == 1
    assert figures["other"]["false"] == 1 + 2 + 2
