"""The flat figures that runs are compared by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.audit.street_loss import worst_loss

ECE_SETS = ("rafdb", "ferplus")
"""Test sets whose calibration error counts in the headline; the others are reported."""

BELIEVED_ACCURACY = 0.975
"""Coverage at 98 % counts only where test accuracy at the validation threshold is at least this."""

GAP_KINDS = ("abstention", "detector recall")
"""What the headline's gaps are in, as their attributes begin."""


def make_headline(body: Mapping[str, Any], *, digest: str) -> dict[str, Any]:
    """Pick the flat figures from all that was measured; what was not measured is None.

    Args:
        body: `sets`, and what else was measured of `street`, `detectors`, `gaps`, `outsiders`.
        digest: SHA-256 of the int8 file that was measured.
    """
    sets = body["sets"]
    gaps = _gaps(body)
    paired = (body.get("detectors") or {}).get("paired", {})
    return {
        **_accuracy(sets),
        "street_loss_points": worst_loss(body.get("street") or {}),
        "detector_recall_delta_points": paired.get("mediapipe", {}).get("points"),
        "detector_recall_delta_lower_points": paired.get("mediapipe", {}).get("lower95_points"),
        "group_gap_lower_points": max((gap["lower95_points"] for gap in gaps), default=None),
        "largest_group_gap_points": max((gap["points"] for gap in gaps), default=None),
        **_beyond(body),
        "artifact_digest": digest,
    }


def _gaps(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the gaps if people *and* detector were compared: the widest of a part would pass for the widest of all."""
    gaps = list(body.get("gaps") or [])
    kinds = {kind for kind in GAP_KINDS for gap in gaps if gap["attribute"].startswith(kind)}
    return gaps if kinds == set(GAP_KINDS) else []


def _accuracy(sets: Mapping[str, Any]) -> dict[str, Any]:
    def figure(set_name: str, key: str) -> Any:
        return sets[set_name]["int8"].get(key) if set_name in sets else None

    errors = [sets[name]["int8"]["ece_15"] for name in ECE_SETS if name in sets]
    losses = [entry["int8_loss_points"][0] for entry in sets.values()]
    kept_accuracy = figure("rafdb", "accuracy_at_threshold")
    believed = kept_accuracy is not None and kept_accuracy >= BELIEVED_ACCURACY
    coverage = (figure("rafdb", "coverage_at_threshold") if believed else 0.0) if "rafdb" in sets else None
    return {
        "rafdb_accuracy": figure("rafdb", "accuracy"),
        "rafdb_macro_recall": figure("rafdb", "macro_recall"),
        "ferplus_accuracy": figure("ferplus", "accuracy"),
        "fer2013_accuracy": figure("fer2013", "accuracy"),
        "muxspace_accuracy": figure("muxspace", "accuracy"),
        "muxspace_macro_recall": figure("muxspace", "macro_recall"),
        "coverage_at_98_rafdb": coverage,
        "accuracy_at_threshold": kept_accuracy,
        "ece_max": max(errors) if errors else None,
        "int8_loss_points": max(losses) if losses else None,
    }


def _beyond(body: Mapping[str, Any]) -> dict[str, Any]:
    shipped = body["sets"].get("rafdb", {}).get("int8", {})
    outsiders = [kind["auroc_confidence"] for kind in (body.get("outsiders") or {}).values()]
    return {
        "aurc_rafdb": shipped.get("aurc"),
        "brier_rafdb": shipped.get("brier"),
        "outsider_auroc_least": min(outsiders) if outsiders else None,
    }
