"""Scenes cut from natural photographs: their shape, what is held out, and detectors compared on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from models.errors import DatasetError
from models.face_detector import decoding
from models.face_detector.making.photographs import cut_scenes, read_photographs
from models.face_detector.measuring.rehearse import rehearse_photographs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty plain pictures; the held-out ones, every tenth, are blue, the others red."""
    (tmp_path / "more").mkdir()
    for i in range(20):
        colour = (255, 0, 0) if i % 10 == 0 else (0, 0, 255)  # BGR
        picture = np.full((300, 900 if i % 2 else 200, 3), colour, np.uint8)
        cv2.imwrite(str(tmp_path / "more" / f"{i:02d}.png"), picture)
    return tmp_path


def test_scenes_fill_a_letterboxed_frame(folder: Path) -> None:
    scenes = list(cut_scenes(read_photographs(folder, held_out=False), count=30, seed=3))
    assert {s.shape for s in scenes} == {(128, 128, 3)}
    filled = [np.ptp(np.argwhere(s.any(axis=2)), axis=0) + 1 for s in scenes]
    assert {max(f) for f in filled} == {128}
    assert {min(f) for f in filled} == {128, 96, 72}


@pytest.mark.parametrize(("held_out", "channel"), [(False, 0), (True, 2)])
def test_held_out_photographs_are_shown_to_choose_by_and_never_to_learn_from(
    folder: Path, held_out: bool, channel: int
) -> None:
    photographs = read_photographs(folder, held_out=held_out)
    assert len(photographs) == (2 if held_out else 18)
    assert {int(p.sum(axis=(0, 1)).argmax()) for p in photographs} == {channel}


def test_a_seed_fixes_the_scenes(folder: Path) -> None:
    photographs = read_photographs(folder, held_out=False)
    first, again = (np.stack(list(cut_scenes(photographs, count=5, seed=1))) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_folder_without_photographs_or_with_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds 0 photographs"):
        read_photographs(tmp_path, held_out=False)
    for i in range(2):
        (tmp_path / f"{i}.jpg").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"1\.jpg is no picture"):
        read_photographs(tmp_path, held_out=False)


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
