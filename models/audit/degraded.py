"""Accuracy and abstention on test pictures that were made worse in one known way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from models.audit.accuracy import hits
from models.audit.answers import AnswerRule, answer
from models.audit.degradation import all_slices
from models.audit.street import send_pictures
from models.expression.loading import ExpressionArtifact
from models.training.expression.evaluation.engines import Predictor
from models.training.expression.evaluation.evaluate import TestSet
from models.training.expression.evaluation.scoring import wilson_interval

BoolArray = npt.NDArray[np.bool_]

PICTURES = 250
"""Pictures in each slice, the same ones in all: five points each way at 80 %."""


def measure_slices(
    test_set: TestSet,
    artifact: ExpressionArtifact,
    predict: Predictor,
    rule: AnswerRule,
    *,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    pictures: int = PICTURES,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Return one row per slice: what reading it directly gives, and what the street gives.

    Args:
        test_set: pictures and labels; a fixed random choice of it is used.
        artifact: for the street.
        predict: the int8 variant.
        rule: the artifact's.
        progress: wraps the slices, for a progress bar.
        pictures: how many to choose.
        seed: of the choice and of the noise.

    Returns:
        Rows with cause, degree, n, direct_accuracy, sent, accuracy (of those sent), abstention (of those sent),
        accuracy_answered, and `right_answers`: the share of all pictures that get an answer, and a right one.
    """
    rng = np.random.default_rng(seed)
    count = min(pictures, len(test_set.labels))
    chosen = np.sort(rng.choice(len(test_set.labels), count, replace=False))
    crops, labels = [test_set.crops[int(i)] for i in chosen], test_set.labels[chosen]
    slices = all_slices()
    made = [[one.change(crop, rng) for crop in crops] for one in slices]
    arrived = send_pictures(
        [crop for part in made for crop in part], artifact=artifact.manifest.directory, progress=progress
    )
    rows = []
    for index, (one, part) in enumerate(zip(slices, made, strict=True)):
        mine = slice(index * count, (index + 1) * count)
        sent, logits = arrived.sent[mine], arrived.logits[mine]
        row: dict[str, Any] = {"cause": one.cause, "degree": one.degree, "n": count}
        right = hits(predict(part), labels)
        row["direct_accuracy"], row["direct_accuracy_95"] = _share(right)
        row["sent"], row["sent_95"] = _share(sent)
        answers = answer(logits[sent], rule)
        correct, given = answers.predicted == labels[sent], ~answers.abstains
        row["accuracy"], row["accuracy_95"] = _share(correct)
        row["abstention"], row["abstention_95"] = _share(answers.abstains)
        row["accuracy_answered"], row["accuracy_answered_95"] = _share(correct[given])
        row["right_answers"] = float((correct & given).sum() / count)
        rows.append(row)
    return rows


def _share(marked: BoolArray) -> tuple[float | None, tuple[float, float]]:
    return float(marked.mean()) if len(marked) else None, wilson_interval(int(marked.sum()), len(marked))
