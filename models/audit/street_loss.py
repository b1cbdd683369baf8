"""What the street costs: the same test pictures read directly, and read after crop, codec and seal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from models.audit.accuracy import hits
from models.audit.answers import AnswerRule, answer
from models.audit.street import Arrivals
from models.training.expression.calibration.temperature import expected_calibration_error
from models.training.expression.evaluation.scoring import paired_difference_interval, wilson_interval

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

STREET_SETS = ("rafdb", "ferplus", "muxspace", "folder")
"""Test sets that are sent down the street; fer2013 holds pictures of ferplus."""

HEADLINE_SETS = ("rafdb", "ferplus", "folder")
"""Those whose worse loss is the headline: the shifted, noisy one is reported."""


def street_loss(
    direct: Float32Array, arrived: Arrivals, labels: Int64Array, rule: AnswerRule
) -> dict[str, Any]:
    """Compare direct reading with what arrived, picture by picture.

    The loss is paired over the pictures that were sent: one that the agent does not send is a flagged gap in the
    timeline and no wrong answer. `accuracy_unsent_wrong` counts those as wrong all the same.

    Args:
        direct: int8 logits of the test pictures themselves, float32 (n, k).
        arrived: what the street made of them.
        labels: int64 (n,).
        rule: the artifact's.
    """
    sent, count = arrived.sent, len(labels)
    before, after = hits(direct, labels)[sent], hits(arrived.logits[sent], labels[sent])
    answers = answer(arrived.logits[sent], rule)
    given = ~answers.abstains
    return {
        "n": count,
        "sent": float(sent.mean()),
        "sent_95": wilson_interval(int(sent.sum()), count),
        "skips": arrived.skips,
        "encodings": arrived.steps,
        "envelope_bytes_median": float(np.median(arrived.envelope_bytes[sent])) if sent.any() else None,
        "direct_accuracy": float(before.mean()),
        "accuracy": float(after.mean()),
        "accuracy_95": wilson_interval(int(after.sum()), int(sent.sum())),
        "loss_points": [100 * bound for bound in paired_difference_interval(before, after)],
        "accuracy_unsent_wrong": float(after.sum() / count),
        "ece_15": expected_calibration_error(answers.probabilities, labels[sent]),
        "answered": float(given.mean()) if given.size else None,
        "accuracy_answered": float(after[given].mean()) if given.any() else None,
    }


def worst_loss(figures: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Return the largest loss among the headline's sets, in points; None if none was measured."""
    losses = [figures[name]["loss_points"][0] for name in HEADLINE_SETS if name in figures]
    return max(losses) if losses else None
