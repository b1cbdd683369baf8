"""Cut scenes out of natural photographs: whole people in rooms and streets, which composed pictures lack.

Nobody labels them and no build learns from them: a changed network is compared with the source network there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.face_detector.decoding import INPUT_PX
from models.face_detector.making.representative import FRAME_ASPECTS, relight

UInt8Array = npt.NDArray[np.uint8]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
LONGEST_PX = 640
"""Photographs are kept no larger: a cut of a third still has more pixels than the network reads."""

CUT_SHARES = (0.3, 1.0)
"""Least and largest side of a cut, as a share of the largest of its shape in the photograph."""

RELIT_SHARE = 0.5
TURNED_SHARE = 0.25
TURN_DEG = 12.0


def read_photographs(folder: Path) -> list[UInt8Array]:
    """Read natural photographs, shrunk to `LONGEST_PX`.

    Args:
        folder: JPEG and PNG files, in folders of any depth. No picture of a test set belongs there.

    Returns:
        uint8 (h, w, 3), RGB.

    Raises:
        DatasetError: the folder has no photograph, or one cannot be read.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise DatasetError(f"{folder.name} holds no photograph (.jpg, .jpeg, .png)")
    return [_read(path) for path in paths]


def cut_scenes(photographs: Sequence[UInt8Array], *, count: int, seed: int) -> Iterator[UInt8Array]:
    """Yield scenes cut from photographs at random, as a letterboxed frame shows them.

    Args:
        photographs: uint8 (h, w, 3), RGB.
        count: how many scenes.
        seed: of every random choice.

    Returns:
        uint8 (128, 128, 3) scenes, RGB, letterbox bars black.
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield _cut(photographs[int(rng.integers(len(photographs)))], rng)


def _read(path: Path) -> UInt8Array:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise DatasetError(f"{path.name} is no picture")
    scale = LONGEST_PX / max(picture.shape[:2])
    if scale < 1:
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(picture[..., ::-1])


def _cut(photograph: UInt8Array, rng: np.random.Generator) -> UInt8Array:
    across, down = FRAME_ASPECTS[rng.integers(len(FRAME_ASPECTS))]
    rows, columns = photograph.shape[:2]
    unit = min(columns / across, rows / down) * np.exp(rng.uniform(*np.log(CUT_SHARES)))
    cut_width, cut_height = max(2, int(across * unit)), max(2, int(down * unit))
    left = rng.integers(0, columns - cut_width + 1)
    top = rng.integers(0, rows - cut_height + 1)
    if rng.random() < TURNED_SHARE:
        middle = (left + cut_width / 2, top + cut_height / 2)
        turn = cv2.getRotationMatrix2D(middle, float(rng.normal(0, TURN_DEG)), 1.0)
        photograph = np.asarray(
            cv2.warpAffine(photograph, turn, (columns, rows), borderMode=cv2.BORDER_REFLECT), np.uint8
        )
    scale = INPUT_PX / max(across, down)
    width, height = round(across * scale), round(down * scale)
    patch: Any = photograph[top : top + cut_height, left : left + cut_width]
    method = cv2.INTER_AREA if cut_width > width else cv2.INTER_LINEAR
    scene: Any = cv2.resize(patch, (width, height), interpolation=method)
    if rng.random() < RELIT_SHARE:
        scene = relight(scene.astype(np.float32), rng)
    canvas = np.zeros((INPUT_PX, INPUT_PX, 3), np.uint8)
    first_row, first_column = (INPUT_PX - height) // 2, (INPUT_PX - width) // 2
    canvas[first_row : first_row + height, first_column : first_column + width] = scene
    return canvas
