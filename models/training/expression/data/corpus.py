"""Gather what a data folder holds into the three parts: train, validation, test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.expression.preprocessing import resize_grey, to_grey
from models.expression.taxonomy import N_LABELS, OUT_OF_SCOPE, one_hot
from models.training.expression.data.datasets import (
    PackedFaces,
    Picture,
    digest_files,
    pack_pictures,
    read_ferplus,
    read_labelled_csv,
    read_labelled_folder,
    read_rafdb,
)
from models.training.expression.data.splits import Part, guard_training, select_part

FERPLUS_ARCHIVE = "fer2013plus.zip"
RAFDB_ARCHIVE = "rafdb.zip"
MUXSPACE_ARCHIVE = "muxspace112.zip"
LONDON_ARCHIVE = "london_faces.zip"

UInt8Array = npt.NDArray[np.uint8]
Progress = Callable[[Iterable[Picture]], Iterable[Picture]]


def read_learnable(data: Path) -> Iterator[Picture]:
    """Yield every picture of a data folder that official splits do not reserve for testing.

    Known archives are read if present; beside them each CSV, and if there is neither, the folder itself as
    `[split/]label/picture`.

    Raises:
        DatasetError: the folder holds nothing that can be read.
    """
    streams: list[Iterator[Picture]] = []
    if (data / FERPLUS_ARCHIVE).exists():
        streams.append(read_ferplus(data / FERPLUS_ARCHIVE, ("Training", "PublicTest")))
    if (data / RAFDB_ARCHIVE).exists():
        streams.append(read_rafdb(data / RAFDB_ARCHIVE, ("train",)))
    streams += [read_labelled_csv(table) for table in sorted(data.glob("*.csv"))]
    if not streams:
        if not data.is_dir():
            raise DatasetError(f"no data folder at {data}")
        streams.append(read_labelled_folder(data))
    return chain.from_iterable(streams)


def known_test_digests(data: Path) -> frozenset[str]:
    """Return the digests of all test and development files of the known archives in a data folder.

    Raises:
        DatasetError: an archive is malformed.
    """
    digests = [
        digest_files(data / RAFDB_ARCHIVE, {"test"}),
        digest_files(data / FERPLUS_ARCHIVE, {"PrivateTest"}),
        digest_files(data / LONDON_ARCHIVE, None),
    ]
    return frozenset().union(*digests, digest_files(data / MUXSPACE_ARCHIVE, None))


def load_training(
    data: Path, *, side_px: int, validation_share: float, progress: Progress = iter
) -> tuple[PackedFaces, PackedFaces]:
    """Read and pack the training and the validation part.

    Args:
        data: folder with the archives or with labelled pictures.
        side_px: side of the packed pictures, in pixels.
        validation_share: share of training pictures to hold out, by file digest.
        progress: wraps the iteration, for a progress bar.

    Raises:
        DatasetError: nothing to read, or a test picture among the training pictures.
    """
    training, validation = read_parts(data, validation_share=validation_share, progress=progress)
    return pack_pictures(training, side_px=side_px), pack_pictures(validation, side_px=side_px)


def read_parts(
    data: Path, *, validation_share: float, progress: Progress = iter
) -> tuple[list[Picture], list[Picture]]:
    """Read the pictures of the training and of the validation part, each once, in their own sizes.

    Args and errors are those of `load_training`.
    """
    parts: dict[Part, list[Picture]] = {Part.TRAIN: [], Part.VALIDATION: []}
    learnable = list(progress(read_learnable(data)))
    for part, chosen in parts.items():
        seen: set[str] = set()
        for picture in select_part(learnable, part, validation_share=validation_share):
            if picture.digest not in seen:
                seen.add(picture.digest)
                chosen.append(picture)
    forbidden = known_test_digests(data)
    # Validation is scored as the tests are: by the hard label, where there is one.
    scored = (
        replace(p, target=one_hot(p.label), other=0.0)
        for p in parts[Part.VALIDATION]
        if p.label != OUT_OF_SCOPE
    )
    return (
        list(guard_training(parts[Part.TRAIN], forbidden=forbidden)),
        list(guard_training(scored, forbidden=forbidden)),
    )


def home_shares(data: Path, *, validation_share: float) -> dict[str, npt.NDArray[np.float64]]:
    """Return each source's shares of the six labels among its training pictures, float64 (6,), by source.

    Raises:
        DatasetError: nothing to read.
    """
    totals: dict[str, npt.NDArray[np.float64]] = {}
    for picture in select_part(read_learnable(data), Part.TRAIN, validation_share=validation_share):
        totals.setdefault(picture.source, np.zeros(N_LABELS))[:] += picture.target
    return {source: np.asarray(total / total.sum()) for source, total in totals.items() if total.all()}


def load_outside(
    data: Path, *, side_px: int, validation_share: float, progress: Progress = iter
) -> list[UInt8Array]:
    """Read the validation pictures that show none of the six, each once, as grey squares.

    These are pictures whose target says nothing about the six: fear, contempt, unknown, not a face. A picture
    whose voters merely disagreed about the six is not among them.

    Args:
        data: folder with the archives or with labelled pictures.
        side_px: side of the pictures returned, in pixels.
        validation_share: as for `load_training`.
        progress: wraps the iteration, for a progress bar.

    Returns:
        uint8 (side_px, side_px) pictures; none where the folder has no such picture.

    Raises:
        DatasetError: nothing to read, or a test picture among them.
    """
    found = (p for p in progress(read_learnable(data)) if not p.target.any())
    chosen = select_part(found, Part.VALIDATION, validation_share=validation_share)
    guarded = guard_training(chosen, forbidden=known_test_digests(data))
    by_digest = {p.digest: resize_grey(to_grey(p.pixels), side_px) for p in guarded}
    return list(by_digest.values())
