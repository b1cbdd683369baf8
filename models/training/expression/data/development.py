"""Pictures by which networks are chosen: the home sets' validation parts, and faces unlike those they learn from.

| set | pictures | label |
|---|---|---|
| `ferplus`, `rafdb` | validation parts | theirs; home, the others are shift |
| `muxspace` | all | its annotators' |
| `warped` | faces at rest held out of training, each as it is, with a frown, a wrinkled nose and raised inner brows | what was made of it |
| `synthetic_faces` | the fifth that is held out | what was asked for: a wrong one is wrong for every network alike |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.expression.preprocessing import resize_grey, to_grey
from models.expression.taxonomy import LABELS, OUT_OF_SCOPE
from models.face_detector.still_search import FaceDetector
from models.training.expression.data.corpus import MUXSPACE_ARCHIVE, read_parts
from models.training.expression.data.datasets import Picture, read_muxspace
from models.training.expression.data.face_mesh import TASK_FILE, FaceMesh
from models.training.expression.data.reshaping import SHAPES, draw_strength, reshape_face
from models.training.expression.data.splits import Part
from models.training.expression.data.unlabelled import FFHQ, SYNTHETIC, read_faces

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]
Bar = Callable[[str], Callable[[Iterable[Any]], Iterable[Any]]]

HOME_SETS = ("ferplus", "rafdb")
WARPED = "warped"
MADE_SETS = (WARPED, SYNTHETIC)
"""Faces called by what was made or asked for: good for comparing networks, not for saying how often one is right."""
AT_REST_EACH = 150
"""Faces at rest of each home set, and of FFHQ, that are warped for development."""

CROP_PX = 96
_SEED = 125
_NEUTRAL = LABELS.index("neutral")


@dataclass(frozen=True, slots=True, kw_only=True)
class DevelopmentSet:
    """Grey pictures, uint8 (n, side, side), with labels in the six, int64 (n,)."""

    name: str
    grey: UInt8Array
    labels: Int64Array

    @property
    def is_home(self) -> bool:
        """Whether networks learn from pictures of the same set."""
        return self.name in HOME_SETS


def read_development(
    data: Path, *, side_px: int, validation_share: float, detector: FaceDetector, bar: Bar
) -> tuple[DevelopmentSet, ...]:
    """Read every development set that a data folder holds.

    Args:
        data: folder with the archives.
        side_px: side of the pictures returned.
        validation_share: as in training.
        detector: finds the faces of archives that are not cut.
        bar: gives a progress bar by its title.

    Raises:
        DatasetError: an archive is malformed, or nothing is there.
    """
    _, validation = read_parts(data, validation_share=validation_share, progress=bar("reading"))
    generated = read_faces(
        data, SYNTHETIC, Part.DEVELOPMENT, detector=detector, progress=bar("finding generated faces")
    )
    sets = {name: [(p.pixels, p.label) for p in validation if p.source == name] for name in HOME_SETS}
    if (data / MUXSPACE_ARCHIVE).exists():
        sets["muxspace"] = [
            (p.pixels, p.label) for p in read_muxspace(data / MUXSPACE_ARCHIVE) if p.label != OUT_OF_SCOPE
        ]
    if (data / TASK_FILE).exists():
        resting = at_rest(data, validation, detector=detector, bar=bar)
        sets[WARPED] = list(warp_faces(resting, FaceMesh(data / TASK_FILE)))
    sets[SYNTHETIC] = [(face.crop, face.said) for face in generated if face.said != OUT_OF_SCOPE]
    found = tuple(_packed(name, rows, side_px) for name, rows in sets.items() if rows)
    if not found:
        raise DatasetError(f"no development picture in {data}")
    return found


def at_rest(
    data: Path, validation: Sequence[Picture], *, detector: FaceDetector, bar: Bar
) -> Iterator[UInt8Array]:
    """Yield faces at rest that nothing learned from, uint8 (96, 96[, 3]): of the home sets' validation parts and FFHQ."""
    for name in HOME_SETS:
        mine = sorted(
            (p for p in validation if p.source == name and p.label == _NEUTRAL), key=lambda p: p.digest
        )
        for picture in mine[:AT_REST_EACH]:
            yield _resized(picture.pixels)
    faces = read_faces(data, FFHQ, Part.DEVELOPMENT, detector=detector, progress=bar("finding faces at rest"))
    resting = (face.crop for face in faces if face.said == _NEUTRAL)
    for _, crop in zip(range(AT_REST_EACH), resting, strict=False):
        yield crop


def warp_faces(faces: Iterable[UInt8Array], mesh: FaceMesh) -> Iterator[tuple[UInt8Array, int]]:
    """Yield each frontal face as it is, and in every shape, with its label; the same for the same faces."""
    for number, face in enumerate(faces):
        points = mesh.frontal_points(face)
        if points is None:
            continue
        rng = np.random.default_rng((_SEED, number))
        yield face, _NEUTRAL
        for shape, (label, _) in SHAPES.items():
            yield reshape_face(face, points, shape, draw_strength(rng)), LABELS.index(label)


def _resized(pixels: UInt8Array) -> UInt8Array:
    return np.asarray(cv2.resize(pixels, (CROP_PX, CROP_PX), interpolation=cv2.INTER_LINEAR), np.uint8)


def _packed(name: str, rows: Sequence[tuple[UInt8Array, int]], side_px: int) -> DevelopmentSet:
    return DevelopmentSet(
        name=name,
        grey=np.stack([resize_grey(to_grey(pixels), side_px) for pixels, _ in rows]),
        labels=np.array([label for _, label in rows], np.int64),
    )
