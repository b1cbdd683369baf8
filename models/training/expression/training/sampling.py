"""Draw training pictures so that small data sets and rare expressions are seen often enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

import keras
import numpy as np
import numpy.typing as npt

from models.expression.preprocessing import standardise
from models.expression.taxonomy import N_OUTPUTS, OTHER_COLUMN
from models.training.expression.data.augmentation import AugmentationSettings, augment, spoil
from models.training.expression.data.datasets import PackedFaces


def sampling_weights(
    sources: Sequence[str],
    labels: npt.NDArray[np.int64],
    *,
    source_shares: Mapping[str, float],
    balance: float,
) -> npt.NDArray[np.float64]:
    """Give each picture its probability of being drawn.

    Within a source, a label with n pictures gets a share proportional to n ** (1 - balance): 0 keeps the
    natural frequencies, 1 makes all labels equally frequent.

    Args:
        sources: source name of each of n pictures.
        labels: int64 (n,), the dominant label of each.
        source_shares: wanted share per source; sources left out share the rest by size.
        balance: strength of label balancing, in [0, 1].

    Returns:
        float64 of shape (n,), sum 1.
    """
    names = np.asarray(sources)
    weights = np.zeros(len(names), np.float64)
    present = sorted(set(sources))
    unnamed_total = sum(int((names == s).sum()) for s in present if s not in source_shares)
    rest = max(0.0, 1.0 - sum(source_shares.get(s, 0.0) for s in present))
    for source in present:
        chosen = names == source
        counts = np.bincount(labels[chosen], minlength=N_OUTPUTS).astype(np.float64)
        inside = np.maximum(counts, 1.0)[labels[chosen]] ** -balance
        share = source_shares.get(source, rest * chosen.sum() / max(unnamed_total, 1))
        weights[chosen] = share * inside / inside.sum()
    return np.asarray(weights / weights.sum())


class WeightedPick:
    """Draws pictures by their weights, with replacement."""

    def __init__(self, weights: npt.NDArray[np.float64]) -> None:
        self._cumulative = np.cumsum(weights)

    def __call__(self, count: int, *, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return int64 (count,) places in the table of weights."""
        drawn = np.searchsorted(self._cumulative, rng.random(count) * self._cumulative[-1])
        return np.asarray(np.minimum(drawn, len(self._cumulative) - 1), np.int64)


Targets = TypeVar("Targets")
"""What a batch is to learn: an array (b, 7), or that and more."""


class SeededBatches(keras.utils.PyDataset, Generic[Targets]):  # type: ignore[misc]
    """Stream of training batches; batch i of epoch e depends on the seed, e and i alone.

    So a resumed run sees what an unbroken one would.
    """

    def __init__(self, *, side_px: int, steps_per_epoch: int, seed: int, first_epoch: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=8)
        self.side_px = side_px
        self._steps = steps_per_epoch
        self._seed = seed
        self._epoch = first_epoch

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> tuple[npt.NDArray[np.float32], Targets]:
        return self.draw(np.random.default_rng((self._seed, self._epoch, index)))

    def draw(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.float32], Targets]:
        """Return crops, float32 (b, side_px, side_px, 1), and what to learn about them."""
        raise NotImplementedError

    def on_epoch_end(self) -> None:
        """Move on to the next epoch's draws."""
        self._epoch += 1


class AugmentedBatches(SeededBatches[npt.NDArray[np.float32]]):
    """Seeded stream of augmented, standardised training batches of shape (b, side, side, 1) and (b, 7)."""

    def __init__(
        self,
        faces: PackedFaces,
        *,
        weights: npt.NDArray[np.float64],
        batch_size: int,
        steps_per_epoch: int,
        side_px: int,
        label_smoothing: float,
        augmentation: AugmentationSettings,
        seed: int,
        first_epoch: int = 0,
    ) -> None:
        super().__init__(side_px=side_px, steps_per_epoch=steps_per_epoch, seed=seed, first_epoch=first_epoch)
        self._faces = faces
        self._pick = WeightedPick(weights)
        self._batch_size = batch_size
        self._targets = faces.targets * (1 - label_smoothing) + label_smoothing / N_OUTPUTS
        self._augmentation = augmentation

    def draw(self, rng: np.random.Generator) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return one batch."""
        drawn = self._pick(self._batch_size, rng=rng)
        settings = self._augmentation
        grey = np.stack(
            [augment(self._faces.grey[i], side_px=self.side_px, settings=settings, rng=rng) for i in drawn]
        )
        targets = self._targets[drawn].astype(np.float32)
        for row in np.flatnonzero(rng.random(len(drawn)) < settings.spoil_share):
            grey[row] = spoil(grey[row], rng=rng)
            targets[row] = np.eye(N_OUTPUTS, dtype=np.float32)[OTHER_COLUMN]
        crops = standardise(grey)
        if rng.random() < settings.mix_share:
            crops, targets = _blend(crops, targets, rng=rng)
        return crops, targets


def _blend(
    crops: npt.NDArray[np.float32], targets: npt.NDArray[np.float32], *, rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    # Zhang et al. (2018), mixup, arXiv:1710.09412.
    share = np.float32(rng.beta(0.4, 0.4))
    partner = rng.permutation(len(crops))
    return crops * share + crops[partner] * (1 - share), targets * share + targets[partner] * (1 - share)
