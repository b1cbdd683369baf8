"""Scenes cut from natural photographs: their shape, and detectors compared on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.errors import DatasetError
from models.face_detector import decoding
from models.face_detector.measuring.photographs import cut_scenes, read_photographs
from models.face_detector.measuring.rehearse import rehearse_photographs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty plain pictures, upright and wide."""
    (tmp_path / "more").mkdir()
    for i in range(20):
        picture = np.full((300, 900 if i % 2 else 200, 3), (0, 0, 255), np.uint8)
        cv2.imwrite(str(tmp_path / "more" / f"{i:02d}.png"), picture)
    return tmp_path


def test_scenes_fill_a_letterboxed_frame(folder: Path) -> None:
    scenes = list(cut_scenes(read_photographs(folder), count=30, seed=3))
    assert {s.shape for s in scenes} == {(128, 128, 3)}
    filled = [np.ptp(np.argwhere(s.any(axis=2)), axis=0) + 1 for s in scenes]
    assert {max(f) for f in filled} == {128}
    assert {min(f) for f in filled} == {128, 96, 72}


def test_a_seed_fixes_the_scenes(folder: Path) -> None:
    photographs = read_photographs(folder)
    first, again = (np.stack(list(cut_scenes(photographs, count=5, seed=1))) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_folder_without_photographs_or_with_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no photograph"):
        read_photographs(tmp_path)
    (tmp_path / "0.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"0\.jpg is no picture"):
        read_photographs(tmp_path)


class Fixed:
    """Gives the same boxes, in pixels, for every picture."""

    def __init__(self, *boxes_px: tuple[float, float, float, float]) -> None:
        self.boxes = np.array(boxes_px, np.float32).reshape(-1, 4) / decoding.INPUT_PX

    def detect_letterboxed(self, *_: Any, **__: Any) -> decoding.Detections:
        n = len(self.boxes)
        return decoding.Detections(
            boxes_xyxy=self.boxes, landmarks=np.zeros((n, 6, 2), np.float32), scores=np.ones(n, np.float32)
        )


def test_the_references_faces_are_the_truth_of_photographs() -> None:
    detectors: dict[str, Any] = {
        "source": Fixed((10, 10, 50, 50), (70, 70, 110, 110)),
        "other": Fixed((12, 10, 52, 50), (0, 80, 30, 110)),
        "blind": Fixed(),
    }
    figures = rehearse_photographs(detectors, [np.zeros((128, 128, 3), np.uint8)] * 2, reference="source")
    assert figures["source"] == {"faces": 4, "lost": 0, "further": 0}
    assert figures["other"] == {"faces": 4, "lost": 2, "further": 2}
    assert figures["blind"] == {"faces": 4, "lost": 4, "further": 0}
