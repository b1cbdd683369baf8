"""Compose the pictures that the detector is built and chosen on: training-split faces on varied backgrounds.

The detector sees whole webcam frames, the training sets hold tight face crops. So faces are pasted,
feathered, at every size, place and light, on natural and drawn backgrounds, inside the letterbox bars
that real frames have. Only training splits are read: nothing here may touch a picture that any
measurement uses.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.face_detector.decoding import INPUT_PX

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

TRAINING_PREFIXES = {"rafdb.zip": "train/", "fer2013plus.zip": "Training/"}
"""Where each archive keeps its training split; every other picture is out of bounds."""

BACKGROUNDS = ("brick", "cat", "coffee", "grass", "gravel", "rocket", "hubble_deep_field", "page", "coins")
"""Pictures inside the scikit-image package; none shows a face (astronaut and camera do, so they stay out)."""

FACE_SIDES_PX = (10.0, 112.0)
FRAME_ASPECTS = ((1, 1), (4, 3), (4, 3), (16, 9), (16, 9), (3, 4))
LIGHT_GAMMAS = (0.5, 2.0)
EMPTY_SHARE = 0.08
CROWD_SHARE = 0.3
MOSAIC_SHARE = 0.35
MOSAIC_GRIDS = (1, 1, 2, 2, 3, 3, 4, 5, 6)
"""Faces side by side, uncut: no pasted edge, and many faces of one size at once."""

GREY_SHARE = 0.25

HELD_OUT_EVERY = 10
"""Every tenth face serves choices between detectors alone; none of the build's pictures shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedScene:
    """One composed network input and the faces on it.

    Attributes:
        picture: uint8 (128, 128, 3), RGB, letterbox bars black.
        squares: float32 (n, 3): left, top and side of each pasted face picture, in pixels; part of it may
            lie outside the frame.
        pasted: whether faces were pasted into a frame; otherwise they lie side by side, edge to edge.
    """

    picture: UInt8Array
    squares: Float32Array
    pasted: bool


def representative_pictures(data: Path, *, count: int, seed: int) -> Iterator[UInt8Array]:
    """Yield the pictures of `composed_scenes` that show no face held out."""
    for scene in composed_scenes(data, count=count, seed=seed):
        yield scene.picture


def composed_scenes(data: Path, *, count: int, seed: int, held_out: bool = False) -> Iterator[ComposedScene]:
    """Yield composed scenes, the same for the same seed.

    Args:
        data: folder with `rafdb.zip`, `fer2013plus.zip` or both.
        count: how many.
        seed: of every random choice.
        held_out: show the held-out faces, and only those.

    Raises:
        DatasetError: neither archive is there, or one holds no training picture.
    """
    rng = np.random.default_rng(seed)
    faces = _training_faces(data, rng, limit=count * 2, held_out=held_out)
    backgrounds = _natural_backgrounds()
    for _ in range(count):
        yield _mosaic(faces, rng) if rng.random() < MOSAIC_SHARE else _compose(faces, backgrounds, rng)


def _training_faces(data: Path, rng: np.random.Generator, *, limit: int, held_out: bool) -> list[UInt8Array]:
    present = {data / name: prefix for name, prefix in TRAINING_PREFIXES.items() if (data / name).is_file()}
    if not present:
        raise DatasetError(f"{data} holds none of {', '.join(TRAINING_PREFIXES)}; calibration needs one")
    faces: list[UInt8Array] = []
    for path, prefix in present.items():
        with zipfile.ZipFile(path) as archive:
            names = sorted(n for n in archive.namelist() if n.startswith(prefix))
            names = [n for i, n in enumerate(names) if (i % HELD_OUT_EVERY == 0) == held_out]
            if not names:
                raise DatasetError(f"{path.name} has no picture under {prefix}")
            share = limit * (GREY_SHARE if path.name.startswith("fer") else 1 - GREY_SHARE)
            chosen = rng.choice(len(names), size=min(len(names), max(1, int(share))), replace=False)
            faces += [_decode(archive.read(names[i]), names[i]) for i in chosen]
    return faces


def _decode(content: bytes, name: str) -> UInt8Array:
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise DatasetError(f"{name} is no picture")
    return np.ascontiguousarray(picture[..., ::-1])


def _natural_backgrounds() -> list[UInt8Array]:
    from skimage import data as samples  # heavy, and only the build needs it

    pictures = []
    for name in BACKGROUNDS:
        picture = np.asarray(getattr(samples, name)())
        pictures.append(np.dstack([picture] * 3) if picture.ndim == 2 else picture[..., :3])
    return pictures


def _compose(
    faces: list[UInt8Array], backgrounds: list[UInt8Array], rng: np.random.Generator
) -> ComposedScene:
    across, down = FRAME_ASPECTS[rng.integers(len(FRAME_ASPECTS))]
    scale = INPUT_PX / max(across, down)
    width, height = round(across * scale), round(down * scale)
    scene = _background(backgrounds, height, width, rng)
    squares: list[tuple[int, int, int]] = []
    if rng.random() >= EMPTY_SHARE:
        crowd = int(rng.integers(2, 5)) if rng.random() < CROWD_SHARE else 1
        squares = [_paste(scene, faces[rng.integers(len(faces))], rng) for _ in range(crowd)]
    lit = _relight(scene, rng)
    canvas = np.zeros((INPUT_PX, INPUT_PX, 3), np.uint8)
    top, left = (INPUT_PX - height) // 2, (INPUT_PX - width) // 2
    canvas[top : top + height, left : left + width] = lit
    moved = np.array(squares, np.float32).reshape(-1, 3) + np.array([left, top, 0], np.float32)
    return ComposedScene(picture=canvas, squares=moved.astype(np.float32), pasted=True)


def _mosaic(faces: list[UInt8Array], rng: np.random.Generator) -> ComposedScene:
    grid = MOSAIC_GRIDS[rng.integers(len(MOSAIC_GRIDS))]
    edges = np.linspace(0, INPUT_PX, grid + 1).round().astype(int)
    canvas = np.zeros((INPUT_PX, INPUT_PX, 3), np.float32)
    squares = []
    for top, bottom in pairwise(edges):
        for left, right in pairwise(edges):
            face = faces[rng.integers(len(faces))]
            size = (int(right - left), int(bottom - top))
            canvas[top:bottom, left:right] = cv2.resize(face, size, interpolation=cv2.INTER_AREA)
            squares.append((left, top, right - left))
    return ComposedScene(picture=_relight(canvas, rng), squares=np.array(squares, np.float32), pasted=False)


def _background(
    backgrounds: list[UInt8Array], height: int, width: int, rng: np.random.Generator
) -> Float32Array:
    if rng.random() < 0.35:
        corners = rng.uniform(0, 255, (2, 2, 3)).astype(np.float32)
        scene: Any = cv2.resize(corners, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(scene, np.float32)
    source = backgrounds[rng.integers(len(backgrounds))]
    zoom = rng.uniform(0.4, 1.0)
    rows = max(2, int(source.shape[0] * zoom))
    columns = max(2, min(source.shape[1], int(rows * width / height)))
    top = rng.integers(0, source.shape[0] - rows + 1)
    left = rng.integers(0, source.shape[1] - columns + 1)
    patch = source[top : top + rows, left : left + columns]
    if rng.random() < 0.5:
        patch = cv2.GaussianBlur(patch, (0, 0), float(rng.uniform(1, 6)))
    return np.asarray(cv2.resize(patch, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def _paste(scene: Float32Array, face: UInt8Array, rng: np.random.Generator) -> tuple[int, int, int]:
    """Paste a face into the scene and return left, top and side of its picture."""
    height, width = scene.shape[:2]
    low, high = np.log(FACE_SIDES_PX[0]), np.log(FACE_SIDES_PX[1])
    side = int(np.exp(rng.uniform(low, high)))
    turn = cv2.getRotationMatrix2D((face.shape[1] / 2, face.shape[0] / 2), float(rng.normal(0, 12)), 1.0)
    picture = cv2.warpAffine(face, turn, (face.shape[1], face.shape[0]), borderMode=cv2.BORDER_REFLECT)
    if rng.random() < 0.5:
        picture = picture[:, ::-1]
    picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    mask = _feather(side)
    top = int(rng.integers(-side // 6, max(1, height - side + side // 6)))
    left = int(rng.integers(-side // 6, max(1, width - side + side // 6)))
    y0, y1, x0, x1 = max(0, top), min(height, top + side), max(0, left), min(width, left + side)
    if y1 <= y0 or x1 <= x0:
        return left, top, side
    part = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
    alpha = mask[part][..., None]
    scene[y0:y1, x0:x1] = scene[y0:y1, x0:x1] * (1 - alpha) + picture[part] * alpha
    return left, top, side


def _feather(side: int) -> Float32Array:
    # A superellipse keeps hair and jaw but hides the square edge, which no real frame has.
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    radius = (np.abs(axis[:, None]) ** 4 + np.abs(axis[None, :]) ** 4) ** 0.25
    return np.asarray(np.clip((1.0 - radius) / 0.12, 0, 1), np.float32)


def _relight(scene: Float32Array, rng: np.random.Generator) -> UInt8Array:
    gamma = np.exp(rng.uniform(np.log(LIGHT_GAMMAS[0]), np.log(LIGHT_GAMMAS[1])))
    lit = 255.0 * (np.clip(scene, 0, 255) / 255.0) ** gamma
    lit = lit * rng.uniform(0.6, 1.25) * rng.uniform(0.9, 1.1, 3)
    if rng.random() < 0.4:
        left, right = rng.uniform(0.4, 1.3, 2)
        lit = lit * np.linspace(left, right, scene.shape[1])[None, :, None]
    lit = lit + rng.normal(0, rng.uniform(0, 8), scene.shape)
    return np.asarray(np.clip(lit, 0, 255), np.uint8)
