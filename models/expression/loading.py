"""Open the expression artifact for serving: checked bytes, checked labels, the numbers that go with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import ManifestError
from models.expression.own_neutral import read_neutral_logits
from models.expression.prior import at_prior, read_prior, without_scales
from models.expression.regions import RegionalCalibration, read_calibration
from models.expression.scope import ScopeRule
from models.expression.taxonomy import LABELS, LOGIT_WIDTHS, N_LABELS
from models.runtime.manifest import ARTIFACTS_DIR, Manifest, load_manifest

EXPRESSION_DIR = ARTIFACTS_DIR / "expression"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpressionArtifact:
    """A manifest whose layout was checked against this code; `manifest.read(variant)` gives verified bytes.

    Attributes:
        manifest: the family's manifest.
        calibration: temperature and threshold of every region; the artifact's own where a region has none.
        temperature: the artifact's own calibration temperature for `inference.score_logits`.
        input_side_px: side of the network input for `preprocessing.prepare_batch`.
        confident_above: confidence above which validation accuracy reached 98 %; 1.0 if it never did.
        n_logits: columns of the network's output, one of `taxonomy.LOGIT_WIDTHS`.
        scope: when a face shows none of the six; None for a network of six logits, which cannot tell.
        prior: float64 (6,), shares of the labels that the logits carry as prior, at the temperature.
        neutral_logits: float64 (6,), mean logits of faces at rest; None where the manifest states none.
    """

    manifest: Manifest
    calibration: RegionalCalibration
    temperature: float
    input_side_px: int
    confident_above: float
    n_logits: int
    scope: ScopeRule | None
    prior: npt.NDArray[np.float64]
    neutral_logits: npt.NDArray[np.float64] | None

    def at_prior(self, logits: npt.ArrayLike, wanted: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return logits that answer for another prior, float64; label scales of earlier artifacts are taken out first.

        Args:
            logits: (n, 6) or (n, 7), as the network gives them.
            wanted: prior to answer for, float64 (6,).
        """
        plain = without_scales(logits, self.manifest.parameters)
        return at_prior(plain, carried=self.prior, wanted=wanted, temperature=self.temperature)


def load_expression(directory: Path = EXPRESSION_DIR) -> ExpressionArtifact:
    """Read and check the expression artifact's manifest.

    Raises:
        ManifestError: it is missing, or its kind, labels, tensors, temperature or scope rule are not what this code serves.
    """
    manifest = load_manifest(directory)
    if manifest.kind != "expression":
        raise ManifestError(f"artifact {manifest.name} is of kind {manifest.kind!r}, not 'expression'")
    if manifest.labels != LABELS:
        raise ManifestError(
            f"artifact {manifest.name} has labels {manifest.labels}, this code serves {LABELS}"
        )
    shape = manifest.input.shape
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 1 or manifest.input.dtype != "float32":
        raise ManifestError(
            f"artifact {manifest.name} wants input {manifest.input.dtype} {shape}, not float32 (1, s, s, 1)"
        )
    if len(manifest.outputs) != 1 or manifest.outputs[0].shape[-1] not in LOGIT_WIDTHS:
        raise ManifestError(f"artifact {manifest.name} must have one output of 6 logits, or 7 with 'other'")
    n_logits = manifest.outputs[0].shape[-1]
    calibration = read_calibration(manifest.parameters)
    return ExpressionArtifact(
        manifest=manifest,
        calibration=calibration,
        temperature=calibration.own.temperature,
        input_side_px=shape[1],
        confident_above=calibration.own.confident_above,
        n_logits=n_logits,
        scope=_scope(manifest, n_logits),
        prior=read_prior(manifest.parameters),
        neutral_logits=read_neutral_logits(manifest.parameters),
    )


def _scope(manifest: Manifest, n_logits: int) -> ScopeRule | None:
    threshold = manifest.parameters.get("in_scope_above")
    if n_logits == N_LABELS:
        if threshold is not None or "scope_temperature" in manifest.parameters:
            raise ManifestError(f"artifact {manifest.name} has a scope rule but no logit for 'other'")
        return None
    if not isinstance(threshold, float) or not 0 <= threshold <= 1:
        raise ManifestError(f"artifact {manifest.name} has no usable in_scope_above: {threshold!r}")
    temperature = manifest.parameters.get("scope_temperature")
    if not isinstance(temperature, float) or not 0 < temperature < 100:
        raise ManifestError(f"artifact {manifest.name} has no usable scope_temperature: {temperature!r}")
    return ScopeRule(temperature=temperature, in_scope_above=threshold)
