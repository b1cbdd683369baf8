"""Measure the shipped artifact on the test sets, peers beside it, intervals with every share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.expression.taxonomy import LABELS, N_LABELS, OUT_OF_SCOPE
from models.training.expression.calibration.abstention import coverage_and_accuracy
from models.training.expression.calibration.temperature import expected_calibration_error, softmax
from models.training.expression.data.corpus import FERPLUS_ARCHIVE, MUXSPACE_ARCHIVE, RAFDB_ARCHIVE
from models.training.expression.data.datasets import (
    Picture,
    read_ferplus,
    read_labelled_folder,
    read_muxspace,
    read_rafdb,
)
from models.training.expression.evaluation.scoring import (
    accuracy,
    bootstrap_interval,
    confusion_matrix,
    macro_recall,
    recalls,
    wilson_interval,
)

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]
Progress = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TestSet:
    """Decoded pictures with labels in the six; out-of-scope pictures are kept apart, for abstention."""

    __test__ = False

    name: str
    crops: tuple[UInt8Array, ...]
    labels: Int64Array


def load_test_sets(data: Path, progress: Progress = iter) -> tuple[TestSet, ...]:
    """Read every test set that a data folder holds.

    FER+ keeps pictures where one of the six has more than half of the ten-way votes; `fer2013` is the same
    archive under its original labels, fear left out. A plain folder with a `test` split is read as `folder`.

    Raises:
        DatasetError: there is no test set.
    """
    sets: list[TestSet] = []
    if (data / RAFDB_ARCHIVE).exists():
        sets.append(_collect("rafdb", progress(read_rafdb(data / RAFDB_ARCHIVE, ("test",)))))
    if (data / FERPLUS_ARCHIVE).exists():
        private = list(progress(read_ferplus(data / FERPLUS_ARCHIVE, ("PrivateTest",))))
        sets.append(_collect("ferplus", private))
        sets.append(_collect("fer2013", private, original=True))
    if (data / MUXSPACE_ARCHIVE).exists():
        sets.append(_collect("muxspace", progress(read_muxspace(data / MUXSPACE_ARCHIVE))))
    if not sets:
        pictures = [p for p in read_labelled_folder(data) if p.split == "test"]
        if not pictures:
            raise DatasetError(
                f"no test set in {data}: expected {RAFDB_ARCHIVE}, {FERPLUS_ARCHIVE} or test/label/*.jpg"
            )
        sets.append(_collect("folder", pictures))
    return tuple(sets)


def measure(
    logits: npt.ArrayLike, labels: Int64Array, *, temperature: float, threshold: float | None = None
) -> dict[str, Any]:
    """Return the figures of one model on one test set.

    Args:
        logits: (n, 6), or (n, 7) of which the first six count.
        labels: int64 (n,) in [0, 6).
        temperature: calibration temperature.
        threshold: confidence from which an answer counts as given; None leaves coverage out.
    """
    probabilities = softmax(np.asarray(logits)[:, :N_LABELS], temperature=temperature)
    predicted = probabilities.argmax(axis=1)
    confusion = confusion_matrix(labels, predicted)
    figures: dict[str, Any] = {
        "n": len(labels),
        "accuracy": accuracy(labels, predicted),
        "accuracy_95": wilson_interval(int((predicted == labels).sum()), len(labels)),
        "macro_recall": macro_recall(labels, predicted),
        "macro_recall_95": bootstrap_interval(labels, predicted),
        "recall": {
            label: None if np.isnan(value) else float(value)
            for label, value in zip(LABELS, recalls(confusion), strict=True)
        },
        "recall_95": {
            label: wilson_interval(int(confusion[i, i]), int(confusion[i].sum()))
            for i, label in enumerate(LABELS)
        },
        "confusion": confusion.tolist(),
        "ece_15": expected_calibration_error(probabilities, labels),
    }
    if threshold is not None:
        coverage, kept_accuracy = coverage_and_accuracy(
            probabilities.max(axis=1), predicted == labels, threshold=threshold
        )
        figures["coverage_at_threshold"] = coverage
        figures["accuracy_at_threshold"] = None if np.isnan(kept_accuracy) else kept_accuracy
    return figures


def _collect(name: str, pictures: Iterable[Picture], *, original: bool = False) -> TestSet:
    kept = [(p.pixels, p.original_label if original else p.label) for p in pictures]
    kept = [k for k in kept if k[1] != OUT_OF_SCOPE]
    if not kept:
        raise DatasetError(f"test set {name} has no picture of the six expressions")
    return TestSet(
        name=name, crops=tuple(k[0] for k in kept), labels=np.array([k[1] for k in kept], np.int64)
    )
