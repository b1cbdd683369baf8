"""Faces whose label is not to be trusted: cut out as the agent cuts them, for teachers to answer about.

| archive | faces | kept out of training |
|---|---|---|
| `ffhq6k.zip` | photographs; their automatic labels are not used for training | a tenth, of which development faces are made |
| `synthetic_faces.zip` | generated; the label is what was asked for, not what is shown | a fifth, for development |
"""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.expression.taxonomy import label_index
from models.face_detector.still_search import FaceDetector
from models.training.expression.data.cutting import cut_largest_face
from models.training.expression.data.datasets import decode_picture
from models.training.expression.data.splits import Part, digest_fraction

UInt8Array = npt.NDArray[np.uint8]

FFHQ, SYNTHETIC = "ffhq6k", "synthetic_faces"

HELD_OUT = MappingProxyType({FFHQ: 0.1, SYNTHETIC: 0.2})
"""Share of each archive that is for development, by the digest of each file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutFace:
    """One face; `crop` is uint8 (96, 96, 3), R, G, B; `said` is the index of what the archive calls it."""

    source: str
    digest: str
    crop: UInt8Array
    said: int


def part_of_unlabelled(source: str, digest: str) -> Part:
    """Decide what a face of one of these archives may be used for."""
    return Part.DEVELOPMENT if digest_fraction(digest) < HELD_OUT[source] else Part.TRAIN


def read_faces(
    data: Path,
    source: str,
    part: Part,
    *,
    detector: FaceDetector,
    progress: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> Iterator[CutFace]:
    """Yield the faces of one part of an archive; none where the data folder has no such archive.

    Args:
        data: folder with the archives.
        source: `FFHQ` or `SYNTHETIC`.
        part: `Part.TRAIN` or `Part.DEVELOPMENT`.
        detector: finds the faces; pictures without one are left out.
        progress: wraps the iteration over files.

    Raises:
        DatasetError: the archive is malformed.
    """
    archive = data / f"{source}.zip"
    if not archive.exists():
        return
    try:
        with zipfile.ZipFile(archive) as opened:
            table = csv.DictReader(io.StringIO(opened.read("labels.csv").decode("utf-8")))
            said = {row["file"]: label_index(row["label"]) for row in table}
            for name in progress(sorted(said)):
                content = opened.read(name)
                digest = hashlib.sha256(content).hexdigest()
                if part_of_unlabelled(source, digest) is not part:
                    continue
                crop = cut_largest_face(decode_picture(content, name), detector)
                if crop is not None:
                    yield CutFace(source=source, digest=digest, crop=crop, said=said[name])
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{archive.name} is damaged: {error}") from None
