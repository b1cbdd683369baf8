"""Accuracy by self-reported ethnicity and gender: the one set here that has an expression *and* what people say of themselves.

Face Research Lab London Set (DeBruine & Jones 2017): 102 adults, each neutral and smiling. Only for testing: nothing learns from it or is
chosen by it. Groups are small (nine to 69 people), so intervals are wide, and no gap is a target.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.audit.answers import AnswerRule, answer
from models.errors import DatasetError
from models.expression.taxonomy import label_index
from models.face_detector.still_search import FaceDetector
from models.training.expression.data.corpus import LONDON_ARCHIVE
from models.training.expression.data.cutting import cut_largest_face
from models.training.expression.data.datasets import decode_picture
from models.training.expression.evaluation.engines import Predictor

UInt8Array = npt.NDArray[np.uint8]
Float64Array = npt.NDArray[np.float64]

TRAITS = ("ethnicity", "gender")
LEAST_PEOPLE = 5
RESAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Faces that were found, each with its label, its person and what that person says of themselves."""

    crops: tuple[UInt8Array, ...]
    labels: npt.NDArray[np.int64]
    people: tuple[str, ...]
    traits: dict[str, tuple[str, ...]]
    missed: int


def read_london(
    data: Path, detector: FaceDetector, *, progress: Callable[[Iterable[Any]], Iterable[Any]] = iter
) -> Seen | None:
    """Find the faces of the set, cut as the agent cuts them; None where the data folder lacks it.

    Raises:
        DatasetError: the archive is malformed.
    """
    archive = data / LONDON_ARCHIVE
    if not archive.exists():
        return None
    try:
        with zipfile.ZipFile(archive) as opened:
            rows = list(csv.DictReader(io.StringIO(opened.read("labels.csv").decode("utf-8"))))
            cut = [
                cut_largest_face(decode_picture(opened.read(row["file"]), row["file"]), detector)
                for row in progress(rows)
            ]
            kept = [(row, crop) for row, crop in zip(rows, cut, strict=True) if crop is not None]
            return Seen(
                crops=tuple(crop for _, crop in kept),
                labels=np.array([label_index(row["label"]) for row, _ in kept], np.int64),
                people=tuple(row["subject"] for row, _ in kept),
                traits={name: tuple(row[name] for row, _ in kept) for name in TRAITS},
                missed=len(rows) - len(kept),
            )
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{archive.name} is damaged: {error}") from None


def measure_parity(
    seen: Seen, predictor: Predictor, rule: AnswerRule, *, move: Callable[[npt.ArrayLike], Float64Array]
) -> dict[str, Any]:
    """Return accuracy and answered share by group.

    Args:
        seen: from `read_london`.
        predictor: the shipped variant.
        rule: the artifact's.
        move: turns its logits into those for the prior to answer for.

    Returns:
        n, missed, people, accuracy, and `groups`: by trait, rows of group, people, n, accuracy and answered share, both with 95 %
        intervals by person. Groups of fewer than five people are left out.
    """
    logits = move(predictor(list(seen.crops)))
    answers = answer(logits, rule)
    right = (answers.predicted == seen.labels).astype(np.float64)
    answered = (~answers.abstains).astype(np.float64)
    people = np.asarray(seen.people)
    groups: dict[str, list[dict[str, Any]]] = {}
    for trait, values in seen.traits.items():
        rows = []
        for group in sorted(set(values)):
            mine = np.asarray(values) == group
            count = len(set(people[mine]))
            if count < LEAST_PEOPLE:
                continue
            rows.append(
                {
                    "group": group,
                    "people": count,
                    "n": int(mine.sum()),
                    "accuracy": float(right[mine].mean()),
                    "accuracy_95": interval_by_person(right[mine], people[mine]),
                    "answered": float(answered[mine].mean()),
                    "answered_95": interval_by_person(answered[mine], people[mine]),
                }
            )
        groups[trait] = rows
    return {
        "n": len(right),
        "missed": seen.missed,
        "people": len(set(seen.people)),
        "accuracy": float(right.mean()),
        "groups": groups,
    }


def interval_by_person(
    values: Float64Array, people: npt.NDArray[np.str_], *, seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of a mean, people resampled: pictures of one person stand and fall together."""
    names = sorted(set(people))
    sums = np.array([[values[people == name].sum(), (people == name).sum()] for name in names])
    drawn = np.random.default_rng(seed).integers(len(names), size=(RESAMPLES, len(names)))
    totals = sums[drawn].sum(axis=1)
    low, high = np.quantile(totals[:, 0] / totals[:, 1], [0.025, 0.975])
    return float(low), float(high)
