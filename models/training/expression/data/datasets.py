"""Readers of labelled face pictures: the known archives, and any labelled folder or CSV.

Every reader yields `Picture`s lazily, one decoded at a time, with the soft target, the hard label, the
official split and the digest of its file, so that splits and soft-label stores can key on content.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError, PictureError
from models.expression.preprocessing import resize_grey, to_grey
from models.expression.taxonomy import (
    FERPLUS_VOTES,
    N_OUTPUTS,
    OUT_OF_SCOPE,
    ferplus_majority,
    ferplus_other,
    ferplus_target,
    label_index,
    one_hot,
)
from models.runtime.image_files import decode_picture_file

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

PICTURE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)
SPLIT_FOLDERS = frozenset({"train", "training", "validation", "valid", "val", "test"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One labelled face.

    `pixels` is uint8 (h, w) grey or (h, w, 3) R, G, B; `target` is float32 (6,), all zero where the
    expression is none of the six; `other` is the share of that, in [0, 1]; `label` is the evaluation label, `original_label` another vocabulary's
    where the set has two; `split` is the set's own name for it, "" where it has none.
    """

    source: str
    file: str
    split: str
    digest: str
    pixels: UInt8Array
    target: Float32Array
    label: int
    original_label: int
    other: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFaces:
    """Grey pictures of one side in one block, ready for fast training.

    Shapes: `grey` uint8 (n, side, side); `targets` float32 (n, 7), the six and `taxonomy.OTHER_COLUMN`; `labels`
    int64 (n,), the largest of them; `sources` and `digests` have n entries.
    """

    grey: UInt8Array
    targets: Float32Array
    labels: npt.NDArray[np.int64]
    sources: tuple[str, ...]
    digests: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def read_ferplus(
    archive: Path, splits: Iterable[str] = ("Training", "PublicTest", "PrivateTest")
) -> Iterator[Picture]:
    """Yield FER2013 pictures with FER+ vote targets from `fer2013plus.zip`.

    `label` is the FER+ majority of more than half of the votes, `original_label` FER2013's own. A picture that
    FER2013 calls disgust keeps half of that label in its target, because FER+ voters hardly ever say disgust.

    Raises:
        DatasetError: the archive or its table is missing or malformed.
    """
    wanted = frozenset(splits)
    with _open_archive(archive) as opened, _readable(archive):
        for row in _rows(opened, archive):
            if row["split"] not in wanted:
                continue
            votes = [int(row[name]) for name in FERPLUS_VOTES]
            original = label_index(row["fer2013_label"])
            target = ferplus_target(votes)
            if row["fer2013_label"] == "disgust" and target.any():
                target = np.asarray((target + one_hot(original)) / 2, np.float32)
            yield _picture(
                opened.read(row["file"]),
                source="ferplus",
                file=row["file"],
                split=row["split"],
                target=target,
                label=ferplus_majority(votes),
                original_label=original,
                other=ferplus_other(votes),
            )


def read_rafdb(archive: Path, splits: Iterable[str] = ("train", "test")) -> Iterator[Picture]:
    """Yield RAF-DB pictures from `rafdb.zip`; splits are "train" and "test".

    Raises:
        DatasetError: the archive or its table is missing or malformed.
    """
    wanted = frozenset(splits)
    with _open_archive(archive) as opened, _readable(archive):
        for row in _rows(opened, archive):
            if row["split"] in wanted:
                yield _labelled(opened.read(row["file"]), row, source="rafdb", split=row["split"])


def read_muxspace(archive: Path) -> Iterator[Picture]:
    """Yield the pictures of `muxspace112.zip`, all of split "development": none is trained on, networks are chosen by them.

    Raises:
        DatasetError: the archive or its table is missing or malformed.
    """
    with _open_archive(archive) as opened, _readable(archive):
        for row in _rows(opened, archive):
            yield _labelled(opened.read(row["file"]), row, source="muxspace", split="development")


def digest_files(archive: Path, splits: Set[str] | None) -> frozenset[str]:
    """Return the SHA-256 of each file of the given splits (None: of all); nothing for an absent archive.

    Raises:
        DatasetError: the archive or its table is malformed.
    """
    if not archive.exists():
        return frozenset()
    with _open_archive(archive) as opened, _readable(archive):
        wanted = [r["file"] for r in _rows(opened, archive) if splits is None or r["split"] in splits]
        return frozenset(hashlib.sha256(opened.read(name)).hexdigest() for name in wanted)


def read_labelled_folder(folder: Path) -> Iterator[Picture]:
    """Yield pictures from `folder/[split/]label/*.jpg`, in a fixed order.

    Raises:
        DatasetError: no picture was found, one cannot be decoded, or a folder is not a known label.
    """
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES)
    if not found:
        raise DatasetError(f"no pictures under {folder}; expected {folder.name}/[split/]label/picture.jpg")
    for path in found:
        parts = path.relative_to(folder).parts
        split = parts[0].lower() if len(parts) > 2 and parts[0].lower() in SPLIT_FOLDERS else ""
        row = {"file": "/".join(parts), "label": path.parent.name}
        yield _labelled(path.read_bytes(), row, source=folder.name, split=split)


def read_labelled_csv(table: Path) -> Iterator[Picture]:
    """Yield pictures that a CSV with columns file, label and optionally split names, relative to the CSV.

    Raises:
        DatasetError: a column or a picture is missing, or a path leads outside the CSV's folder.
    """
    with table.open(newline="", encoding="utf-8") as stream, _readable(table):
        for row in csv.DictReader(stream):
            if not {"file", "label"} <= {name for name, value in row.items() if value is not None}:
                raise DatasetError(f"{table.name} needs the columns file and label (and optionally split)")
            inside = PurePosixPath(row["file"])
            if inside.is_absolute() or ".." in inside.parts:
                raise DatasetError(f"{table.name} names a picture outside its folder: {row['file']!r}")
            try:
                content = (table.parent / inside).read_bytes()
            except OSError as error:
                raise DatasetError(f"{table.name}: cannot read {row['file']!r}: {error.strerror}") from error
            yield _labelled(content, row, source=table.stem, split=(row.get("split") or "").lower())


def pack_pictures(
    pictures: Iterable[Picture],
    *,
    side_px: int,
    progress: Callable[[Iterable[Picture]], Iterable[Picture]] = iter,
) -> PackedFaces:
    """Decode, grey and resize pictures into one block.

    Args:
        pictures: any mix of sources.
        side_px: side of the stored pictures, in pixels.
        progress: wraps the iteration, for a progress bar.

    Raises:
        DatasetError: nothing was left to pack.
    """
    kept = [
        (resize_grey(to_grey(p.pixels), side_px), seven_way(p), p.source, p.digest)
        for p in progress(pictures)
    ]
    if not kept:
        raise DatasetError("no picture was found that may be used for this")
    targets = np.stack([k[1] for k in kept])
    return PackedFaces(
        grey=np.stack([k[0] for k in kept]),
        targets=targets,
        labels=targets.argmax(axis=1).astype(np.int64),
        sources=tuple(k[2] for k in kept),
        digests=tuple(k[3] for k in kept),
    )


def seven_way(picture: Picture) -> Float32Array:
    """Return the training target: float32 (7,), sum 1, the six expressions and then `taxonomy.OTHER_COLUMN`.

    A picture whose votes name none of the six clearly is wholly `OTHER_COLUMN`.
    """
    target = np.zeros(N_OUTPUTS, np.float32)
    other = picture.other if picture.target.any() else 1.0
    target[:-1] = picture.target * (1.0 - other)
    target[-1] = other
    return target


def decode_picture(content: bytes, name: str) -> UInt8Array:
    """Decode picture bytes into uint8 (h, w) grey or (h, w, 3) R, G, B, upright, as prediction does.

    Raises:
        DatasetError: the bytes are no picture.
    """
    try:
        return decode_picture_file(content, name)
    except PictureError as error:
        raise DatasetError(str(error)) from None


def _labelled(content: bytes, row: dict[str, str], *, source: str, split: str) -> Picture:
    label = label_index(row["label"])
    return _picture(
        content,
        source=source,
        file=row["file"],
        split=split,
        target=one_hot(label),
        label=label,
        original_label=label,
        other=float(label == OUT_OF_SCOPE),
    )


def _picture(
    content: bytes,
    *,
    source: str,
    file: str,
    split: str,
    target: Float32Array,
    label: int,
    original_label: int = OUT_OF_SCOPE,
    other: float = 0.0,
) -> Picture:
    return Picture(
        source=source,
        file=file,
        split=split,
        digest=hashlib.sha256(content).hexdigest(),
        pixels=decode_picture(content, file),
        target=target,
        label=label,
        original_label=original_label,
        other=other,
    )


def _open_archive(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except (OSError, zipfile.BadZipFile) as error:
        raise DatasetError(f"cannot open the data set {archive.name}: {error}") from error


@contextlib.contextmanager
def _readable(source: Path) -> Iterator[None]:
    """Say of which file it is that a column, a member or a value is missing or damaged."""
    try:
        yield
    except KeyError as error:
        raise DatasetError(f"{source.name} lacks {error.args[0]}") from error
    except (ValueError, zipfile.BadZipFile, csv.Error) as error:
        raise DatasetError(f"{source.name} is damaged: {error}") from error


def _rows(opened: zipfile.ZipFile, archive: Path) -> list[dict[str, str]]:
    try:
        text = opened.read("labels.csv").decode("utf-8")
    except KeyError:
        raise DatasetError(f"{archive.name} has no labels.csv") from None
    return list(csv.DictReader(io.StringIO(text)))
