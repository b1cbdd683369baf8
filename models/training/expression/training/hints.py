"""Hints: what a teacher's last layer before its answer sees in a view, as a second thing for a student to learn.

Seven probabilities say little of why a teacher gives them, and about pictures that it has learned they say little more
than the labels.  Its pooled features say much more; a student of fewer channels learns their main directions (ADR 0103).

References:
    Romero et al. (2015), FitNets: Hints for Thin Deep Nets, arXiv:1412.6550.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from models.errors import DatasetError
from models.expression.preprocessing import resize_grey, standardise
from models.training.expression.networks.building import as_function
from models.training.expression.training.soft_labels import Network
from models.training.expression.training.views import BATCH, LabelledViews

Float32Array = npt.NDArray[np.float32]

POOL = "pool"
"""Layer of every network here whose output, one figure a channel, the answer is made of."""

HEAD = "hints"
ROWS_FOR_DIRECTIONS = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What to learn about each view besides the answer.

    Attributes:
        values: float16 (n, d), the teachers' pooled features along their d main directions, with mean 0; the
            mean variance of a direction is 1.
        explained: share of the features' variance that these directions hold.
        origin: that of the views.
    """

    values: npt.NDArray[np.float16]
    explained: float
    origin: str

    def save(self, path: Path) -> None:
        """Write an uncompressed `.npz`; like the views, it is never an artifact."""
        np.savez(path, values=self.values, explained=self.explained, origin=self.origin)


def load_hints(path: Path, *, origin: str, directions: int) -> Hints:
    """Read what `Hints.save` wrote.

    Args:
        path: the file.
        origin: that of the views which the hints must belong to.
        directions: how many the configuration asks for.

    Raises:
        DatasetError: the file is missing, is something else, or belongs to other views or another number.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            hints = Hints(
                values=stored["values"], explained=float(stored["explained"]), origin=str(stored["origin"])
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"cannot read the hints in {path.name}: {error}") from None
    if hints.origin != origin:
        raise DatasetError(f"{path.name} belongs to other views: remove it, or give another --out")
    if hints.values.shape[1] != directions:
        raise DatasetError(
            f"{path.name} holds {hints.values.shape[1]} directions, the configuration asks for {directions}: "
            "give another --out"
        )
    return hints


def inner_view(teacher: keras.Model) -> Network:
    """Return what a teacher computes up to its pooled features, from crops to float32 (n, channels).

    Raises:
        DatasetError: the network has no such layer.
    """
    return as_function(keras.Model(teacher.input, _pooled(teacher)))


def pooled_channels(teacher: keras.Model) -> int:
    """Return how many pooled features a teacher has.

    Raises:
        DatasetError: the network has no such layer.
    """
    return int(_pooled(teacher).shape[-1])


def gather_hints(
    views: LabelledViews,
    teachers: Sequence[tuple[Network, int]],
    *,
    directions: int,
    progress: Callable[[range], Iterable[int]] = iter,
) -> Hints:
    """Ask the teachers' inner layers about views as the student sees them, and keep the main directions.

    Each teacher counts the same, however large its features are.

    Args:
        views: what the student learns from.
        teachers: inner views, each with the side of its input in pixels.
        directions: how many to keep.
        progress: wraps the iteration over batches.

    Raises:
        DatasetError: the teachers have fewer channels than that.
    """
    seen: list[list[npt.NDArray[np.float16]]] = [[] for _ in teachers]
    for start in progress(range(0, len(views), BATCH)):
        grey = views.grey[start : start + BATCH]
        for own, (look, side_px) in zip(seen, teachers, strict=True):
            own.append(_look_both_ways(grey, look, side_px))
    features = np.concatenate([_evened(np.concatenate(own)) for own in seen], axis=1)
    values, explained = main_directions(features, directions)
    return Hints(values=values.astype(np.float16), explained=explained, origin=views.origin)


def main_directions(features: npt.NDArray[np.floating], directions: int) -> tuple[Float32Array, float]:
    """Return features along their principal directions, float32 (n, d), and the share of variance they hold.

    Args:
        features: (n, channels).
        directions: d.

    Raises:
        DatasetError: there are fewer channels than directions.
    """
    check_directions(directions, channels=features.shape[1])
    mean = features.mean(axis=0, dtype=np.float64)
    some = features[:ROWS_FOR_DIRECTIONS] - mean
    variances, vectors = np.linalg.eigh(some.T @ some / len(some))
    kept = variances[::-1][:directions]
    onto = vectors[:, ::-1][:, :directions] / np.sqrt(kept.mean())
    values = [
        np.asarray((features[i : i + ROWS_FOR_DIRECTIONS] - mean) @ onto, np.float32)
        for i in range(0, len(features), ROWS_FOR_DIRECTIONS)
    ]
    return np.concatenate(values), float(kept.sum() / variances.sum())


def check_directions(directions: int, *, channels: int) -> None:
    """Refuse a number of directions that the teachers' pooled features do not have.

    Raises:
        DatasetError: it is outside 1..`channels`.
    """
    if not 0 < directions <= channels:
        raise DatasetError(
            f"hint_directions must lie in 1..{channels}, the teachers' channels, not {directions}"
        )


def with_hints(student: keras.Model, directions: int) -> keras.Model:
    """Return a network that gives the student's logits and, from the same pooled features, the hints (n, d)."""
    hints = layers.Dense(directions, dtype="float32", name=HEAD)(student.get_layer(POOL).output)
    return keras.Model(student.input, [student.output, hints], name=student.name)


def without_hints(model: keras.Model) -> keras.Model:
    """Return the student in what `with_hints` made, with the same weights; any other network as it is."""
    if len(model.outputs) == 1:
        return model
    return keras.Model(model.input, model.outputs[0], name=model.name)


def _pooled(teacher: keras.Model) -> keras.KerasTensor:
    try:
        return teacher.get_layer(POOL).output
    except ValueError:
        raise DatasetError(f"{teacher.name} has no layer {POOL!r} to take hints from") from None


def _look_both_ways(grey: npt.NDArray[np.uint8], look: Network, side_px: int) -> npt.NDArray[np.float16]:
    """Return a teacher's mean features of views and their mirror images."""
    crops = standardise(np.stack([resize_grey(view, side_px) for view in grey]))
    both = (look(crops) + look(np.ascontiguousarray(crops[:, :, ::-1]))) / 2
    return both.astype(np.float16)


def _evened(features: npt.NDArray[np.float16]) -> npt.NDArray[np.float16]:
    """Return one teacher's features with a total variance of 1."""
    spread = np.sqrt(features[:ROWS_FOR_DIRECTIONS].astype(np.float32).var(axis=0).sum())
    return (features / max(float(spread), 1e-6)).astype(np.float16)
