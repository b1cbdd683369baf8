"""Choose among networks, and among means of networks, on validation pictures: paired, with standard errors.

Test pictures are for one look at what was chosen; this is what one chooses by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.expression.preprocessing import resize_grey, standardise
from models.expression.taxonomy import N_LABELS
from models.training.expression.calibration.temperature import softmax
from models.training.expression.data.datasets import PackedFaces
from models.training.expression.evaluation.scoring import accuracy, macro_recall

Float64Array = npt.NDArray[np.float64]
Network = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

BATCH = 256
LEAST_PROBABILITY = 1e-6


def probabilities(network: Network, faces: PackedFaces, *, side_px: int, mirrored: bool) -> Float64Array:
    """Return what a network says of the six expressions, float64 (n, 6), rows summing to 1.

    Args:
        network: from crops (b, side, side, 1) to six logits or more.
        faces: validation pictures.
        side_px: side of the network's input.
        mirrored: take the mean with what it says of the mirror image.
    """
    grey = np.stack([resize_grey(picture, side_px) for picture in faces.grey])
    said = _answers(network, grey)
    return (said + _answers(network, grey[:, :, ::-1])) / 2 if mirrored else said


def compare_answers(answers: Mapping[str, Float64Array], faces: PackedFaces) -> dict[str, Any]:
    """Compare answers with the first, source by source.

    Args:
        answers: probabilities (n, 6) by name; the first is what the others are compared with.
        faces: the validation pictures that they are about.

    Returns:
        Per name and source: n, accuracy, macro_recall, loss in nats, and gain_points over the first with its
        standard error, paired; per name also mean_gain_points over the sources, each counting equally.

    Raises:
        DatasetError: there is nothing to compare.
    """
    if not answers:
        raise DatasetError("name at least one network")
    sources = np.asarray(faces.sources)
    first = _hits(next(iter(answers.values())), faces)
    body: dict[str, Any] = {}
    for name, said in answers.items():
        gains = 100.0 * (_hits(said, faces).astype(np.float64) - first)
        rows = {s: _score(said, gains, faces, sources == s) for s in sorted(set(faces.sources))}
        body[name] = {"sources": rows} | _mean_gain(rows.values())
    return body


def mean_answer(answers: Sequence[Float64Array]) -> Float64Array:
    """Return the mean of several networks' probabilities: what an ensemble of them says."""
    return np.asarray(np.mean(answers, axis=0), np.float64)


def _score(
    said: Float64Array, gains: Float64Array, faces: PackedFaces, chosen: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    labels, count = faces.labels[chosen], int(chosen.sum())
    predicted = said[chosen].argmax(axis=1)
    given = np.maximum(said[chosen][np.arange(count), labels], LEAST_PROBABILITY)
    return {
        "n": count,
        "accuracy": accuracy(labels, predicted),
        "macro_recall": macro_recall(labels, predicted),
        "loss": float(-np.log(given).mean()),
        "gain_points": float(gains[chosen].mean()),
        "gain_standard_error": float(gains[chosen].std() / np.sqrt(count)),
    }


def _mean_gain(rows: Any) -> dict[str, float]:
    gains = [row["gain_points"] for row in rows]
    errors = [row["gain_standard_error"] for row in rows]
    return {
        "mean_gain_points": float(np.mean(gains)),
        "mean_gain_standard_error": float(np.sqrt(np.square(errors).sum()) / len(errors)),
    }


def _hits(said: Float64Array, faces: PackedFaces) -> npt.NDArray[np.bool_]:
    return np.asarray(said.argmax(axis=1) == faces.labels)


def _answers(network: Network, grey: npt.NDArray[np.uint8]) -> Float64Array:
    parts = [
        softmax(network(np.ascontiguousarray(standardise(grey[i : i + BATCH])))[:, :N_LABELS])
        for i in range(0, len(grey), BATCH)
    ]
    return np.concatenate(parts)
