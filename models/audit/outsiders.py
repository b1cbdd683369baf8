"""What happens to pictures that show none of the six: fear, contempt, unclear faces, and no face at all."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.audit.answers import Answers
from models.errors import DatasetError
from models.expression.taxonomy import FERPLUS_VOTES, OUT_OF_SCOPE
from models.training.expression.calibration.abstention import area_under_roc
from models.training.expression.data.corpus import FERPLUS_ARCHIVE, RAFDB_ARCHIVE
from models.training.expression.data.datasets import decode_picture, read_rafdb
from models.training.expression.evaluation.scoring import wilson_interval
from models.training.face_detector.evaluation.truth import WIDER_ARCHIVE

UInt8Array = npt.NDArray[np.uint8]

PATCHES = 600
PATCH_SIDES_PX = (48, 140)
"""Sides of the patches without a face, in pixels of WIDER's stored 416 px pictures."""

_OUTSIDE_VOTES = {"fear": "fear", "contempt": "contempt", "unknown": "unclear", "NF": "no face"}


def read_outsiders(data: Path) -> dict[str, list[UInt8Array]]:
    """Return test pictures that show none of the six, by what they show.

    From FER+ PrivateTest, where that answer has more than half of the votes; from RAF-DB test (fear); and
    patches of WIDER pictures that touch no face.

    Raises:
        DatasetError: an archive is malformed.
    """
    found: dict[str, list[UInt8Array]] = {}
    if (data / FERPLUS_ARCHIVE).exists():
        found |= _ferplus(data / FERPLUS_ARCHIVE)
    if (data / RAFDB_ARCHIVE).exists():
        fear = [p.pixels for p in read_rafdb(data / RAFDB_ARCHIVE, ("test",)) if p.label == OUT_OF_SCOPE]
        found["fear, RAF-DB"] = fear
    if (data / WIDER_ARCHIVE).exists():
        found["patch without a face, WIDER"] = faceless_patches(data / WIDER_ARCHIVE)
    return {name: pictures for name, pictures in found.items() if pictures}


def faceless_patches(archive: Path, *, count: int = PATCHES, seed: int = 0) -> list[UInt8Array]:
    """Cut square patches that touch no annotated face, evenly over the pictures: uint8 (s, s, 3), R, G, B.

    Raises:
        DatasetError: the archive is malformed.
    """
    rng = np.random.default_rng(seed)
    faces: dict[str, list[tuple[float, float, float, float]]] = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            for row in csv.DictReader(io.StringIO(opened.read("boxes.csv").decode("utf-8"))):
                x, y, w, h = (float(row[name]) for name in ("x", "y", "w", "h"))
                faces.setdefault(row["file"], []).append((x, y, x + w, y + h))
            each = -(-count // max(1, len(faces)))
            patches = []
            for file, boxes in faces.items():
                picture = decode_picture(opened.read(file), file)
                patches += _patches(picture, np.array(boxes) * picture.shape[1], each, rng)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"cannot read {archive.name}: {error}") from error
    return patches[:count]


def describe_outsiders(inside: Answers, outside: dict[str, Answers]) -> dict[str, Any]:
    """Tell how well answers about the six are told from answers about anything else.

    Args:
        inside: of test pictures that show one of the six.
        outside: of others, by what they show.

    Returns:
        By kind: n, share that got no answer with its interval, and how probable it is that a picture of the six
        has the higher confidence (`auroc_confidence`), or the higher in-scope probability (`auroc_scope`, None
        where the network has no "other").
    """
    table: dict[str, Any] = {}
    for kind, answers in outside.items():
        kept = int(answers.abstains.sum())
        table[kind] = {
            "n": len(answers.abstains),
            "abstention": kept / len(answers.abstains),
            "abstention_95": wilson_interval(kept, len(answers.abstains)),
            "auroc_confidence": area_under_roc(inside.confidence, answers.confidence),
            "auroc_scope": None
            if inside.in_scope is None or answers.in_scope is None
            else area_under_roc(inside.in_scope, answers.in_scope),
        }
    return table


def _ferplus(archive: Path) -> dict[str, list[UInt8Array]]:
    found: dict[str, list[UInt8Array]] = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            for row in csv.DictReader(io.StringIO(opened.read("labels.csv").decode("utf-8"))):
                kind = outside_majority([int(row[name]) for name in FERPLUS_VOTES])
                if row["split"] == "PrivateTest" and kind is not None:
                    picture = decode_picture(opened.read(row["file"]), row["file"])
                    found.setdefault(f"{kind}, FER+", []).append(picture)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"cannot read {archive.name}: {error}") from error
    return dict(sorted(found.items()))


def outside_majority(votes: Sequence[int]) -> str | None:
    """Return what more than half of ten FER+ votes say beside the six: fear, contempt, unclear, no face."""
    best = int(np.argmax(votes))
    return _OUTSIDE_VOTES.get(FERPLUS_VOTES[best]) if votes[best] * 2 > sum(votes) else None


def _patches(
    picture: UInt8Array, boxes: npt.NDArray[np.float64], count: int, rng: np.random.Generator
) -> list[UInt8Array]:
    found: list[UInt8Array] = []
    for _ in range(count * 20):
        if len(found) == count:
            break
        side = int(rng.integers(*PATCH_SIDES_PX))
        x, y = (int(rng.integers(0, size - side)) for size in (picture.shape[1], picture.shape[0]))
        apart = (
            (boxes[:, 0] >= x + side) | (boxes[:, 2] <= x) | (boxes[:, 1] >= y + side) | (boxes[:, 3] <= y)
        )
        if apart.all():
            patch = picture[y : y + side, x : x + side]
            found.append(patch if patch.ndim == 2 else np.ascontiguousarray(patch))
    return found
