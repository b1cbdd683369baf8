"""Which picture may be used for what: deterministic by content, deaf to test splits.

A picture's part is decided by the digest of its file, so adding pictures never moves another one, and the
same file under two names never sits on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from enum import Enum

from models.errors import DatasetError
from models.training.expression.data.datasets import Picture

TEST_SPLITS = frozenset({"test", "PrivateTest"})
VALIDATION_SPLITS = frozenset({"PublicTest", "validation", "valid", "val"})
WHOLLY_TRAINING_SPLITS = frozenset({"Training"})
"""FER2013's training split, which has an official validation split beside it (PublicTest)."""
TEST_ONLY_SOURCES = frozenset({"london_faces"})
"""Sets that are only for testing, whatever split their pictures claim."""
DEVELOPMENT_SOURCES = frozenset({"muxspace"})
"""Sets by which networks are chosen and from which none learns, whatever split their pictures claim (ADR 0125)."""


class Part(Enum):
    """What a picture may be used for."""

    TRAIN = "train"
    VALIDATION = "validation"
    DEVELOPMENT = "development"
    TEST = "test"


def part_of(picture: Picture, *, validation_share: float) -> Part:
    """Decide the part of a picture.

    Official test splits stay test and official validation splits stay validation; of sets without one, a share
    chosen by file digest becomes validation.

    Args:
        picture: any labelled picture.
        validation_share: share of the remaining pictures to hold out, in [0, 1).
    """
    if picture.split in TEST_SPLITS or picture.source in TEST_ONLY_SOURCES:
        return Part.TEST
    if picture.source in DEVELOPMENT_SOURCES:
        return Part.DEVELOPMENT
    if picture.split in VALIDATION_SPLITS:
        return Part.VALIDATION
    if picture.split in WHOLLY_TRAINING_SPLITS:
        return Part.TRAIN
    return Part.VALIDATION if digest_fraction(picture.digest) < validation_share else Part.TRAIN


def digest_fraction(digest: str) -> float:
    """Map a hexadecimal SHA-256 digest to [0, 1), uniformly."""
    return int(digest[:13], 16) / float(1 << 52)


def select_part(pictures: Iterable[Picture], part: Part, *, validation_share: float) -> Iterator[Picture]:
    """Yield only the pictures of one part."""
    return (p for p in pictures if part_of(p, validation_share=validation_share) is part)


def guard_training(pictures: Iterable[Picture], *, forbidden: Set[str] = frozenset()) -> Iterator[Picture]:
    """Pass pictures through, and refuse the first that belongs to a test split or to a development set.

    Args:
        pictures: what is about to be trained, calibrated or quantised on.
        forbidden: digests of files known to be test pictures, whatever split they claim here.

    Raises:
        DatasetError: a picture is of a test split or a development set, or its file is a known one of either.
    """
    for picture in pictures:
        if picture.split in TEST_SPLITS or picture.source in TEST_ONLY_SOURCES:
            raise DatasetError(f"refusing to learn from test picture {picture.file} of {picture.source}")
        if picture.source in DEVELOPMENT_SOURCES:
            raise DatasetError(
                f"refusing to learn from development picture {picture.file} of {picture.source}"
            )
        if picture.digest in forbidden:
            raise DatasetError(
                f"refusing to learn from {picture.file} of {picture.source}: it is also a test or development picture"
            )
        yield picture
