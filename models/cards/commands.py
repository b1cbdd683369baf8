"""What `countenance models card` does."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from models.cards.face_detector import render_detector_card
from models.cards.plots import reliability_svg, risk_coverage_svg
from models.cards.render import render_card
from models.errors import ManifestError, ModelsError
from models.runtime.manifest import ARTIFACTS_DIR, load_manifest


def card(arguments: argparse.Namespace) -> int:
    """Render an artifact's card from measured figures; the expression card gets its two plots beside it.

    Raises:
        ManifestError: the figures are none, or were measured on another artifact.
        ModelsError: the card cannot be written.
    """
    figures = _read(arguments.metrics)
    manifest = load_manifest(arguments.artifact or ARTIFACTS_DIR / arguments.of)
    if arguments.of == "face_detector":
        files = {arguments.out: render_detector_card(manifest, figures)}
    else:
        if figures["headline"].get("artifact_digest") != manifest.variant("int8").sha256:
            raise ManifestError("these figures were measured on another expression network")
        files = {
            arguments.out: render_card(manifest, figures),
            arguments.out.with_name("expression.reliability.svg"): reliability_svg(figures["sets"]),
            arguments.out.with_name("expression.risk_coverage.svg"): risk_coverage_svg(figures["sets"]),
        }
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            print(f"wrote {path}")
    except OSError as error:
        raise ModelsError(f"the card cannot be written: {error.strerror}") from error
    return 0


def _read(path: Path) -> dict[str, Any]:
    try:
        figures = json.loads(path.read_text("utf-8"))
        if not {"sets", "headline", "measured"} <= figures.keys():
            raise ValueError("it is no evaluation")
        return dict(figures)
    except (OSError, ValueError, AttributeError) as error:
        raise ManifestError(f"the figures in {path.name} cannot be read: {error}") from error
