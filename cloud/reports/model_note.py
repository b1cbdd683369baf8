"""What a reader must know of the models that read a session's expressions: which, and their measured figures.

The models are those that the classify worker recorded with the scores, never the one that happens to be installed
where a page is made; that one only lends its figures where it is the very same file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from cloud.reports.measured import MeasuredModel, measured_document, measured_model
from cloud.streams.scoring import ON_DEVICE, ScoredFrames, ScoringModel
from models.errors import ManifestError
from models.runtime.manifest import ARTIFACTS_DIR, Manifest, load_manifest

_TEST_FIGURES = {
    "rafdb_accuracy": "right on RAF-DB test",
    "rafdb_macro_recall": "right on RAF-DB test, each expression counting equally",
    "ferplus_accuracy": "right on FER+ PrivateTest",
    "fer2013_accuracy": "right on FER2013 PrivateTest",
    "muxspace_accuracy": "right on muxspace, pictures of another kind than it learnt from (development set)",
    "ece_max": "largest calibration error",
}


DIGEST_SHOWN_CHARS = 12


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedModel:
    """A model that scored frames.

    Attributes:
        label: its name, version, variant and the beginning of its digest.
        frames: how many of the stored frames it scored.
        note: what was measured of it; None where it is not the model that is installed here.
        measured: its errors on test sets; None where no card of this very file is at hand.
    """

    label: str
    frames: int
    note: ModelNote | None
    measured: MeasuredModel | None


def recorded_models(scored: Iterable[ScoredFrames]) -> list[RecordedModel]:
    """Add up the frames of each model over any number of sessions, in order of appearance."""
    frames: dict[ScoringModel, int] = {}
    for one in scored:
        frames[one.model] = frames.get(one.model, 0) + one.frames
    return [
        RecordedModel(
            label=model_label(model),
            frames=count,
            note=installed_note(model.sha256.hex()),
            measured=measured_model(model.sha256.hex()),
        )
        for model, count in frames.items()
    ]


def model_label(model: ScoringModel) -> str:
    """Name a model in one line."""
    if model == ON_DEVICE:
        return "a model on the viewer's device, which it did not name"
    digest = model.sha256.hex()[:DIGEST_SHOWN_CHARS]
    return " ".join(part for part in (model.name, model.version, model.variant, digest) if part)


def model_rows(models: Iterable[ScoredFrames]) -> list[dict[str, Any]]:
    """Give models as JSON values, each with its errors where they are at hand; digests in hexadecimal."""
    return [
        {
            "name": scored.model.name,
            "version": scored.model.version,
            "variant": scored.model.variant,
            "sha256": scored.model.sha256.hex(),
            "frames": scored.frames,
            "measured": measured_document(measured_model(scored.model.sha256.hex())),
        }
        for scored in models
    ]


def models_of_rows(rows: Iterable[Mapping[str, Any]]) -> list[ScoredFrames]:
    """Read what `model_rows` wrote."""
    return [
        ScoredFrames(
            model=ScoringModel(
                name=row["name"],
                version=row["version"],
                variant=row["variant"],
                sha256=bytes.fromhex(row["sha256"]),
            ),
            frames=row["frames"],
        )
        for row in rows
    ]


def installed_note(sha256: str) -> ModelNote | None:
    """Give the note of the installed artifact if one of its files has this digest, else None."""
    return _installed().get(sha256)


@cache
def _installed() -> Mapping[str, ModelNote]:
    try:
        manifest = load_manifest(ARTIFACTS_DIR / "expression")
    except ManifestError:
        return {}
    note = note_of(manifest)
    return {variant.sha256: note for variant in manifest.variants}


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
