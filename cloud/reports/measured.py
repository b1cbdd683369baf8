"""What was measured of a model, found by the digest of its file: the errors that travel with every result.

The figures are those of the model card (`models/cards/expression.json`, which `countenance models evaluate` writes).
They are given only for the very file that they were measured on, or for the same network in float where the card
measured that too; for any other digest there are none, and that is said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from models.errors import ManifestError
from models.runtime.manifest import ARTIFACTS_DIR, Manifest, load_manifest

CARD_PATH = ARTIFACTS_DIR.parent / "cards" / "expression.json"

TEST_SETS = {
    "rafdb": "RAF-DB test",
    "ferplus": "FER+ PrivateTest",
    "fer2013": "FER2013 PrivateTest, original labels",
    "muxspace": "muxspace, pictures of another kind than it learnt from (development set)",
}
"""Test sets by their name in a card, as a reader knows them; others are shown under their own name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetFigures:
    """Errors on one test set.

    Attributes:
        name: in the card.
        pictures: how many.
        accuracy: share read right.
        accuracy_95: its 95 % interval.
        macro_recall: mean over the expressions of the share read right.
        calibration_error: top-label, 15 bins.
        confusion: 6 x 6 counts; a row is the label, a column what was read, both in the order of the labels.
    """

    name: str
    pictures: int
    accuracy: float
    accuracy_95: tuple[float, float]
    macro_recall: float
    calibration_error: float
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredModel:
    """A model's errors.

    Attributes:
        version: of the artifact.
        precision: of the variant measured, `int8` or `float32`.
        measured: when, as the card says.
        labels: order of rows and columns.
        sets: by test set.
    """

    version: str
    precision: str
    measured: str
    labels: tuple[str, ...]
    sets: tuple[SetFigures, ...]


def measured_model(sha256: str) -> MeasuredModel | None:
    """Give what was measured of the file with this digest (hexadecimal); None where nothing was."""
    return _installed().get(sha256)


@cache
def _installed() -> Mapping[str, MeasuredModel]:
    """Read the installed card once; kept by the digests it holds, never by those that are asked for."""
    try:
        manifest = load_manifest(ARTIFACTS_DIR / "expression")
        card = json.loads(CARD_PATH.read_text("utf-8"))
        digests = [variant.sha256 for variant in manifest.variants]
        found = {digest: find_measured(digest, manifest=manifest, card=card) for digest in digests}
    except (ManifestError, OSError, ValueError):
        return {}
    return {digest: model for digest, model in found.items() if model is not None}


def find_measured(sha256: str, *, manifest: Manifest, card: Mapping[str, Any]) -> MeasuredModel | None:
    """Look a digest up in an artifact and its card.

    Args:
        sha256: digest of a variant's file, hexadecimal.
        manifest: of the artifact.
        card: what `countenance models evaluate` wrote.

    Returns:
        None where the digest is no variant's, or the card is another artifact's.

    Raises:
        ValueError: the card is malformed.
    """
    variant = next((v for v in manifest.variants if v.sha256 == sha256), None)
    try:
        if variant is None or card["headline"]["artifact_digest"] != manifest.variant().sha256:
            return None
        return MeasuredModel(
            version=manifest.version,
            precision=variant.precision,
            measured=str(card["measured"]),
            labels=manifest.labels,
            sets=tuple(
                _figures(name, entry[variant.precision])
                for name, entry in card["sets"].items()
                if variant.precision in entry
            ),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"the model card is malformed: {error}") from None


def measured_document(model: MeasuredModel | None) -> dict[str, Any] | None:
    """Give a model's errors as JSON values; None where there are none."""
    if model is None:
        return None
    return {
        "version": model.version,
        "precision": model.precision,
        "measured": model.measured,
        "labels": list(model.labels),
        "test_sets": {
            figures.name: {
                "title": set_title(figures.name),
                "pictures": figures.pictures,
                "accuracy": round(figures.accuracy, 4),
                "accuracy_95": [round(bound, 4) for bound in figures.accuracy_95],
                "macro_recall": round(figures.macro_recall, 4),
                "calibration_error": round(figures.calibration_error, 4),
                "confusion": [list(row) for row in figures.confusion],
            }
            for figures in model.sets
        },
    }


def set_title(name: str) -> str:
    """Name a test set as a reader knows it."""
    return TEST_SETS.get(name, name)


def _figures(name: str, figures: Mapping[str, Any]) -> SetFigures:
    low, high = figures["accuracy_95"]
    return SetFigures(
        name=name,
        pictures=int(figures["n"]),
        accuracy=float(figures["accuracy"]),
        accuracy_95=(float(low), float(high)),
        macro_recall=float(figures["macro_recall"]),
        calibration_error=float(figures["ece_15"]),
        confusion=tuple(tuple(int(count) for count in row) for row in figures["confusion"]),
    )
