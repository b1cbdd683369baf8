"""What a reader must know of the model that read the expressions: version and measured figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from models.errors import ManifestError
from models.manifest import ARTIFACTS_DIR, Manifest, load_manifest

_TEST_FIGURES = {
    "rafdb_accuracy": "right on RAF-DB test",
    "rafdb_macro_recall": "right on RAF-DB test, each expression counting equally",
    "ferplus_accuracy": "right on FER+ PrivateTest",
    "fer2013_accuracy": "right on FER2013 PrivateTest",
    "muxspace_accuracy": "right on muxspace, pictures of another kind than it learnt from",
    "ece_max": "largest calibration error",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNote:
    """An expression model in a few words.

    Attributes:
        version: of the artifact.
        figures: what was measured and its value, as texts; empty where the manifest has none.
        confident_above: scores below are flagged uncertain; None where the manifest does not say.
        licence: under which terms the weights may be used.
    """

    version: str
    figures: tuple[tuple[str, str], ...]
    confident_above: float | None
    licence: str


@cache
def installed_model() -> ModelNote | None:
    """Give the note of the model that this installation carries; None where there is none."""
    try:
        return note_of(load_manifest(ARTIFACTS_DIR / "expression"))
    except ManifestError:
        return None


def note_of(manifest: Manifest) -> ModelNote:
    """Take a note from a manifest; figures on test pictures come before those on validation pictures."""
    confident_above = manifest.parameters.get("confident_above")
    return ModelNote(
        version=manifest.version,
        figures=_test_figures(manifest.metrics.get("test", {}))
        or _validation_figures(manifest.metrics.get("validation", {}), manifest.default_variant),
        confident_above=None if confident_above is None else float(confident_above),
        licence=manifest.licence,
    )


def _test_figures(measured: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (text, f"{measured[key]:.1%}") for key, text in _TEST_FIGURES.items() if measured.get(key) is not None
    )


def _validation_figures(measured: Mapping[str, Any], variant: str) -> tuple[tuple[str, str], ...]:
    right, error = measured.get(f"accuracy_{variant}"), measured.get("ece_after")
    if right is None:
        return ()
    count = f"{int(measured['n']):,} " if "n" in measured else ""
    figures = [(f"right on {count}validation pictures (not yet measured on test pictures)", f"{right:.1%}")]
    if error is not None:
        figures.append(("calibration error there", f"{error:.1%}"))
    return tuple(figures)
