"""Distorted and blended views of the training pictures, each answered by the teachers as the student will see it.

A teacher has learned the clean training pictures, so its answer there may say little that the label does not. No
teacher has learned a fresh view, least of all a blend of two faces. Views are drawn and answered once, then learned
from for many epochs (ADR 0100).

References:
    Beyer et al. (2022), Knowledge distillation: A good teacher is patient and consistent, arXiv:2106.05237.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.expression.preprocessing import resize_grey, standardise
from models.expression.taxonomy import N_OUTPUTS, OTHER_COLUMN
from models.training.expression.data.augmentation import AugmentationSettings, augment, spoil
from models.training.expression.data.datasets import PackedFaces
from models.training.expression.training.sampling import SeededBatches, WeightedPick
from models.training.expression.training.soft_labels import Network, ask_both_ways

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

BATCH = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledViews:
    """Views and what to learn about them.

    Attributes:
        grey: uint8 (n, side, side).
        answers: float16 (n, 7), the teachers' mean probabilities about a view and its mirror image.
        labels: float16 (n, 7), the targets of the pictures that a view was made of.
        origin: what `views_origin` says of them.
    """

    grey: UInt8Array
    answers: npt.NDArray[np.float16]
    labels: npt.NDArray[np.float16]
    origin: str

    def __len__(self) -> int:
        return len(self.grey)

    def save(self, path: Path) -> None:
        """Write an uncompressed `.npz`: training pictures are in it, so it stays beside the data."""
        np.savez(path, grey=self.grey, answers=self.answers, labels=self.labels, origin=self.origin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """How views are drawn.

    Attributes:
        count: how many views; rounded down to whole batches of `BATCH`, at least one.
        side_px: side of the student's input.
        weights: float64 (n,), probability of each picture of being drawn.
        augmentation: distortions, and shares of blended and spoiled views.
        seed: of every draw.
    """

    count: int
    side_px: int
    weights: npt.NDArray[np.float64]
    augmentation: AugmentationSettings
    seed: int


def views_origin(faces: PackedFaces, drawing: Drawing, *, teachers: Sequence[str]) -> str:
    """Return a hexadecimal digest that tells views of other pictures, drawn otherwise or answered by others apart.

    Args:
        faces: training pictures.
        drawing: how they are drawn.
        teachers: digests of the teachers' files.
    """
    # In single precision: the last bits of a power depend on the processor.
    weights = hashlib.sha256(drawing.weights.astype(np.float32).tobytes()).hexdigest()
    drawn = [drawing.count, drawing.side_px, weights, drawing.augmentation, drawing.seed]
    return hashlib.sha256("\n".join(map(str, [*faces.digests, *drawn, *teachers])).encode()).hexdigest()


def load_views(path: Path, *, origin: str) -> LabelledViews:
    """Read what `LabelledViews.save` wrote.

    Args:
        path: the file.
        origin: where its views must come from, or validation pictures might be among them.

    Raises:
        DatasetError: the file is missing, is something else, or holds views of another origin.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {k: stored[k] for k in ("grey", "answers", "labels")}
            views = LabelledViews(**arrays, origin=str(stored["origin"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"cannot read the labelled views in {path.name}: {error}") from None
    if views.origin != origin:
        raise DatasetError(
            f"{path.name} holds views of other training pictures, drawn otherwise, or other teachers' answers: "
            "remove it, or give another --out"
        )
    return views


def label_views(
    faces: PackedFaces,
    teachers: Sequence[tuple[Network, int]],
    drawing: Drawing,
    *,
    origin: str,
    progress: Callable[[range], Iterable[int]] = iter,
) -> LabelledViews:
    """Draw views of training pictures and let the teachers answer for each as it is.

    Each view is drawn once, as large as the sharpest teacher reads; every network gets it in its own size, both ways round.
    A spoiled view is nobody's face, whatever the teachers would say.

    Args:
        faces: training pictures.
        teachers: networks, each with the side of its input in pixels.
        drawing: how to draw them.
        origin: kept with the views.
        progress: wraps the iteration over batches.
    """
    augmentation, side_px = drawing.augmentation, drawing.side_px
    sharp_px = max(side for _, side in teachers)
    batches = max(1, drawing.count // BATCH)
    grey = np.zeros((batches * BATCH, side_px, side_px), np.uint8)
    answers = np.zeros((len(grey), N_OUTPUTS), np.float16)
    labels = np.zeros((len(grey), N_OUTPUTS), np.float16)
    pick = WeightedPick(drawing.weights)
    for batch in progress(range(batches)):
        rng = np.random.default_rng((drawing.seed, batch))
        drawn = pick(BATCH, rng=rng)
        sharp = np.stack(
            [augment(faces.grey[i], side_px=sharp_px, settings=augmentation, rng=rng) for i in drawn]
        )
        targets = faces.targets[drawn]
        sharp, targets = _blend(sharp, targets, share=augmentation.mix_share, rng=rng)
        spoiled = np.flatnonzero(rng.random(BATCH) < augmentation.spoil_share)
        for row in spoiled:
            sharp[row] = spoil(sharp[row], rng=rng)
        said = ask_both_ways(sharp, teachers)
        nobody = np.eye(N_OUTPUTS)[OTHER_COLUMN]
        said[spoiled] = nobody
        targets[spoiled] = nobody
        rows = slice(batch * BATCH, (batch + 1) * BATCH)
        grey[rows] = [resize_grey(view, side_px) for view in sharp]
        answers[rows], labels[rows] = said, targets
    return LabelledViews(grey=grey, answers=answers, labels=labels, origin=origin)


def _blend(
    pictures: UInt8Array, targets: Float32Array, *, share: float, rng: np.random.Generator
) -> tuple[UInt8Array, Float32Array]:
    # Zhang et al. (2018), mixup, arXiv:1710.09412, with even shares as Beyer et al. draw them.
    weight = np.where(rng.random(len(pictures)) < share, rng.random(len(pictures)), 1.0).astype(np.float32)
    partner = rng.permutation(len(pictures))
    own, other = weight[:, None, None], 1 - weight[:, None, None]
    blended = pictures * own + pictures[partner] * other
    mixed = targets * weight[:, None] + targets[partner] * (1 - weight[:, None])
    return np.rint(blended).astype(np.uint8), mixed


class ViewBatches(SeededBatches[Float32Array | tuple[Float32Array, Float32Array]]):
    """Seeded stream of standardised views, mirrored half of the time, of shape (b, side, side, 1) and (b, 7).

    With `hints`, (n, d), one row a view, the targets are a pair: that and (b, d).
    """

    def __init__(
        self,
        views: LabelledViews,
        *,
        answer_share: float,
        batch_size: int,
        steps_per_epoch: int,
        seed: int,
        first_epoch: int = 0,
        hints: npt.NDArray[np.float16] | None = None,
    ) -> None:
        super().__init__(
            side_px=views.grey.shape[1], steps_per_epoch=steps_per_epoch, seed=seed, first_epoch=first_epoch
        )
        self._views = views
        self._answer_share = answer_share
        self._batch_size = batch_size
        self._hints = hints

    def draw(
        self, rng: np.random.Generator
    ) -> tuple[Float32Array, Float32Array | tuple[Float32Array, Float32Array]]:
        """Return one batch."""
        views, share = self._views, np.float32(self._answer_share)
        drawn = rng.integers(len(views), size=self._batch_size)
        grey = views.grey[drawn]
        mirrored = rng.random(len(drawn)) < 0.5
        grey[mirrored] = grey[mirrored][:, :, ::-1]
        targets = views.answers[drawn].astype(np.float32) * share
        targets += views.labels[drawn].astype(np.float32) * (1 - share)
        if self._hints is None:
            return standardise(grey), targets
        return standardise(grey), (targets, self._hints[drawn].astype(np.float32))
