"""The representative pictures: where their faces come from, and that they repeat."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.errors import DatasetError
from models.training.face_detector.building.representative import composed_scenes, representative_pictures

TEST_SPLIT_BLUE = (255, 0, 0)


def make_archive(folder: Path, name: str, members: dict[str, tuple[int, int, int]]) -> None:
    with zipfile.ZipFile(folder / name, "w") as archive:
        for member, colour_bgr in members.items():
            encoded = cv2.imencode(".png", np.full((40, 40, 3), colour_bgr, np.uint8))[1]
            archive.writestr(member, encoded.tobytes())


def test_the_same_seed_gives_the_same_pictures(tmp_path: Path) -> None:
    make_archive(tmp_path, "rafdb.zip", {"train/a.png": (0, 200, 200), "train/b.png": (90, 90, 200)})
    first = np.stack(list(representative_pictures(tmp_path, count=12, seed=4)))
    again = np.stack(list(representative_pictures(tmp_path, count=12, seed=4)))
    other = np.stack(list(representative_pictures(tmp_path, count=12, seed=5)))
    assert first.shape == (12, 128, 128, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_faces_of_the_test_split_are_never_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "rafdb.zip", "w") as archive:
        for name in ("a", "b"):
            content = cv2.imencode(".png", np.zeros((40, 40, 3), np.uint8))[1].tobytes()
            archive.writestr(f"train/{name}.png", content)
        archive.writestr("test/b.png", b"not a picture: reading it would fail")
    assert len(list(representative_pictures(tmp_path, count=20, seed=0))) == 20


def test_an_archive_without_a_training_split_is_refused(tmp_path: Path) -> None:
    make_archive(tmp_path, "fer2013plus.zip", {"PrivateTest/a.png": TEST_SPLIT_BLUE})
    with pytest.raises(DatasetError, match="Training/"):
        list(representative_pictures(tmp_path, count=1, seed=0))


def test_a_folder_without_either_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="calibration needs one"):
        list(representative_pictures(tmp_path, count=1, seed=0))


def test_faces_held_out_are_never_shown_while_the_detector_is_built(tmp_path: Path) -> None:
    # Every tenth picture is held out: here those that are pure green; the others are pure red.
    colours = {f"train/{i:02d}.png": (0, 255, 0) if i % 10 == 0 else (0, 0, 255) for i in range(20)}
    make_archive(tmp_path, "rafdb.zip", colours)

    def greener(*, held_out: bool) -> set[bool]:
        scenes = composed_scenes(tmp_path, count=30, seed=2, held_out=held_out)
        mosaics = [s.picture.astype(int) for s in scenes if not s.pasted]
        return {bool(p[..., 1].mean() > p[..., 0].mean()) for p in mosaics}

    assert greener(held_out=True) == {True}
    assert greener(held_out=False) == {False}


def test_squares_lie_where_the_faces_were_put(tmp_path: Path) -> None:
    make_archive(tmp_path, "rafdb.zip", {f"train/{i}.png": (0, 0, 255) for i in range(3)})
    kinds = set()
    for scene in composed_scenes(tmp_path, count=40, seed=1):
        kinds.add(scene.pasted)
        for left, top, side in scene.squares:
            x, y = left + side / 2, top + side / 2
            if 4 <= x < 124 and 4 <= y < 124 and len(scene.squares) == 1:
                red, green, _ = scene.picture[int(y), int(x)].astype(int)
                assert red > green
    assert kinds == {True, False}
