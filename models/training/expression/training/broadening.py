"""More than the labelled sets: unlabelled faces that two teachers have answered, and faces at rest made to frown.

| source | pictures | target |
|---|---|---|
| `ferplus`, `rafdb` | training parts | label and both teachers' answers |
| `ffhq6k`, `synthetic_faces` | all but what development keeps | both teachers' answers |
| `warped` | frontal faces at rest of all three, reshaped | what was made of them, softly |
| `warped` too | the same faces, warped and shaded elsewhere | as the face at rest, so that warping alone says nothing |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.expression.preprocessing import resize_grey, to_grey
from models.expression.taxonomy import LABELS
from models.training.expression.data.datasets import PackedFaces
from models.training.expression.data.face_mesh import FaceMesh
from models.training.expression.data.reshaping import (
    FROWN,
    SHAPES,
    disturb_face,
    draw_strength,
    reshape_face,
    shape_target,
)
from models.training.expression.training.second_teacher import mix_teachers

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]

WARPED = "warped"
CROP_PX = 96
NEUTRAL = LABELS.index("neutral")

OWN_AT_REST, SECOND_AT_REST = 0.5, 0.25
"""Shares of neutral from which both teachers call a face at rest."""

OTHER_SHAPES_SHARE, SECOND_FROWN_SHARE, DISTURBED_SHARE = 0.6, 0.4, 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Pictures of one source with what is known of them.

    Attributes:
        source: name.
        pictures: uint8 (h, w) or (h, w, 3), R, G, B.
        digests: of their files.
        own: float (n, 7), our teachers' probabilities.
        second: float (n, 6), the second teacher's; 0 for disgust.
        labels: float (n, 7), targets by label; None where there is none.
    """

    source: str
    pictures: Sequence[UInt8Array]
    digests: Sequence[str]
    own: Float64Array
    second: Float64Array
    labels: Float64Array | None = None

    def targets(self, *, second_share: float, label_share: float) -> Float64Array:
        """Return what is to be learned, float64 (n, 7)."""
        taught = mix_teachers(self.own, self.second, share=second_share)
        return taught if self.labels is None else label_share * self.labels + (1 - label_share) * taught

    def at_rest(self) -> npt.NDArray[np.bool_]:
        """Tell which faces both teachers, and the label where there is one, call neutral."""
        resting = (self.own[:, NEUTRAL] > OWN_AT_REST) & (self.second[:, NEUTRAL] > SECOND_AT_REST)
        return resting if self.labels is None else resting & (self.labels[:, NEUTRAL] > 0.7)


def pack_answered(answered: Answered, targets: Float64Array, *, side_px: int) -> PackedFaces:
    """Pack pictures with their targets."""
    return _pack(
        [to_grey(picture) for picture in answered.pictures],
        targets,
        source=answered.source,
        digests=answered.digests,
        side_px=side_px,
    )


def warp_at_rest(
    answered: Answered,
    targets: Float64Array,
    mesh: FaceMesh,
    *,
    limit: int,
    side_px: int,
    seed: int,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> PackedFaces | None:
    """Make frowns, wrinkled noses and raised inner brows of the faces at rest, and disturbed ones that show neither.

    Args:
        answered: of one source.
        targets: what is learned about its pictures as they are.
        mesh: finds landmarks; turned faces are left out.
        limit: most faces, the first by digest.
        side_px: of the packed pictures.
        seed: of every draw; a face's own depend on it and the face's place alone.
        progress: wraps the iteration over faces.

    Returns:
        The new pictures, of source `WARPED`; None where no face served.
    """
    places = [int(i) for i in np.flatnonzero(answered.at_rest())]
    resting = sorted(places, key=lambda i: answered.digests[i])[:limit]
    made: list[tuple[UInt8Array, Float32Array, str]] = []
    for index in progress(resting):
        picture = cv2.resize(answered.pictures[index], (CROP_PX, CROP_PX), interpolation=cv2.INTER_LINEAR)
        points = mesh.frontal_points(np.asarray(picture, np.uint8))
        if points is None:
            continue
        rng = np.random.default_rng((seed, index))
        own = np.asarray(targets[index], np.float32)
        for name, face, target in _versions(np.asarray(picture, np.uint8), points, own, rng):
            made.append((to_grey(face), target, f"{answered.digests[index]}:{len(made)}:{name}"))
    if not made:
        return None
    grey, wanted, names = zip(*made, strict=True)
    return _pack(
        list(grey), np.stack(wanted).astype(np.float64), source=WARPED, digests=names, side_px=side_px
    )


def join_faces(parts: Iterable[PackedFaces]) -> PackedFaces:
    """Put packed pictures of one side into one block."""
    kept = list(parts)
    return PackedFaces(
        grey=np.concatenate([p.grey for p in kept]),
        targets=np.concatenate([p.targets for p in kept]),
        labels=np.concatenate([p.labels for p in kept]),
        sources=tuple(s for p in kept for s in p.sources),
        digests=tuple(d for p in kept for d in p.digests),
    )


def _versions(
    picture: UInt8Array, points: Float32Array, own: Float32Array, rng: np.random.Generator
) -> Iterator[tuple[str, UInt8Array, Float32Array]]:
    shapes = [FROWN, *(s for s in SHAPES if s != FROWN and rng.random() < OTHER_SHAPES_SHARE)]
    if rng.random() < SECOND_FROWN_SHARE:
        shapes.append(FROWN)
    for shape in shapes:
        strength = draw_strength(rng)
        yield shape, reshape_face(picture, points, shape, strength), shape_target(shape, strength)
    if rng.random() < DISTURBED_SHARE:
        yield "disturbed", disturb_face(picture, points, rng=rng), own


def _pack(
    grey: Sequence[UInt8Array],
    targets: Float64Array,
    *,
    source: str,
    digests: Sequence[str],
    side_px: int,
) -> PackedFaces:
    wanted = np.asarray(targets, np.float32)
    return PackedFaces(
        grey=np.stack([resize_grey(picture, side_px) for picture in grey]),
        targets=wanted,
        labels=wanted.argmax(axis=1).astype(np.int64),
        sources=(source,) * len(grey),
        digests=tuple(digests),
    )
