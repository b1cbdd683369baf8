from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from cloud.cli import main
from models.cards.face_detector import render_detector_card
from models.cards.plots import reliability_svg, risk_coverage_svg
from models.cards.render import render_card
from models.cards.tables import p_value, percent, points, table
from models.errors import ManifestError
from models.expression.loading import EXPRESSION_DIR
from models.expression.taxonomy import LABELS
from models.runtime.manifest import ARTIFACTS_DIR, load_manifest

BOUNDS = [0.7, 0.9]


def shares(value: float) -> dict[str, Any]:
    return {"share": value, "share_95": BOUNDS}


@pytest.fixture
def figures() -> dict[str, Any]:
    shipped = {
        "n": 100, "accuracy": 0.8, "accuracy_95": BOUNDS, "macro_recall": 0.7, "macro_recall_95": BOUNDS,
        "recall": dict.fromkeys(LABELS, 0.5), "recall_95": dict.fromkeys(LABELS, BOUNDS),
        "confusion": [[1] * 6] * 6, "ece_15": 0.03, "coverage_at_threshold": 0.4, "accuracy_at_threshold": 0.98,
        "brier": 0.25, "aurc": 0.061, "e_aurc": 0.04,
        "risk_coverage": [{"coverage": 0.5, "accuracy": 0.97, "confidence": 0.9}, {"coverage": 1.0, "accuracy": 0.8, "confidence": 0.2}],
        "reliability": [{"n": 50, "confidence": 0.9, "accuracy": 0.93}],
        "answered": {**shares(0.42), "accuracy": 0.98, "accuracy_95": BOUNDS},
    }  # fmt: skip
    sent = {
        "sent": 0.93, "sent_95": BOUNDS, "direct_accuracy": 0.81, "accuracy": 0.79, "accuracy_95": BOUNDS,
        "loss_points": [1.25, 0.5, 2.0], "answered": 0.4, "accuracy_answered": 0.97,
    }  # fmt: skip
    row = {
        "attribute": "race", "group": "Asian", "n": 400, "sent": shares(0.99), "abstention": shares(0.53), "abstention_same_mix": 0.47,
        "confidence": {"mean": 0.86}, "output_rate": {label: shares(0.2) for label in LABELS},
        "p_fdr": {"sent": 0.4, "abstention": 0.001, "confidence": 0.6, **dict.fromkeys(LABELS, 0.7)},
    }  # fmt: skip
    gap = {
        "attribute": "abstention, race", "groups": ["Asian", "White"], "points": 16.25, "lower95_points": 6.6,
        "upper95_points": 25.9,
    }  # fmt: skip
    slice_row = {
        "cause": "yaw", "degree": "40 deg, flat", "n": 400, "right_answers": 0.4,
        **dict.fromkeys(("sent", "accuracy", "abstention", "accuracy_answered"), 0.7),
        **dict.fromkeys(("sent_95", "accuracy_95", "abstention_95", "accuracy_answered_95"), BOUNDS),
    }  # fmt: skip
    found = {"faces": 540, "recall": 0.994, "recall_95": BOUNDS}
    detectors = {
        "artifact_digest": load_manifest(ARTIFACTS_DIR / "face_detector").variant("int8").sha256,
        "recall": {"int8": {"fairface540": found, "pooled": found, "false_alarms_per_empty_frame": 0.0}},
        "paired": {"mediapipe": {"points": -0.545, "lower95_points": -1.1, "upper95_points": 0.0, "lost": 9, "gained": 3}},
        "by_trait": [{"set": "wider", "trait": "skin", "group": "VI", "side_px": 40.4, "p_fdr": 0.53, **found}],
        "absent": {"haar": "no OpenCV below 5"},
    }  # fmt: skip
    return {
        "measured": "2026-01-01T00:00:00Z",
        "sets": {"rafdb": {"int8": shipped, "float32": shipped, "int8_loss_points": [0.1, -0.2, 0.4]}},
        "street": {"rafdb": {**sent, "grey48": {**sent, "loss_points": [2.5, 1.0, 4.0]}}},
        "outsiders": {"fear, RAF-DB": {"n": 75, "abstention": 0.65, "abstention_95": BOUNDS, "auroc_confidence": 0.633, "auroc_scope": None}},
        "groups": {"utkface": {"direct": [row], "by_threshold": [
            {"threshold": 0.942, "own": True, "rafdb": {"answered": 0.565, "accuracy": 0.979}, "race_gap_points": 16.25,
             "gender_gap_points": 14.2}]}},
        "gaps": [gap],
        "slices": [slice_row],
        "clips": {"rafdb": {"unrest": {"clips": 0}, "faces": {
            "clips": 60, "frames": 5, "frame": 0.8, "last_frame": 0.81, "last_frame_95": BOUNDS, "filtered": 0.83,
            "filtered_95": BOUNDS, "mean": 0.97, "mean_95": BOUNDS}}},
        "detectors": detectors,
        "headline": {
            "accuracy_at_threshold": 0.98, "street_loss_points": 1.25,
            "artifact_digest": load_manifest(EXPRESSION_DIR).variant("int8").sha256,
        },
    }  # fmt: skip


def test_every_measured_part_is_on_the_card(figures: dict[str, Any]) -> None:
    card = render_card(load_manifest(EXPRESSION_DIR), figures)
    assert "+1.25 [+0.50, +2.00]" in card and "+2.50 [+1.00, +4.00]" in card
    assert "42.0 % [70.0, 90.0]" in card and "0.061" in card
    assert "| fear, RAF-DB | 75 |" in card
    assert "53.0 % [70.0, 90.0]*" in card
    assert "| 47.0 % |" in card
    assert "| 0.942 (this artifact) | 56.5 %, 97.9 % | 16.2 | 14.2 |" in card
    assert "Asian over White | 16.2 | [6.6, 25.9]" in card
    assert "| yaw | 40 deg, flat |" in card
    assert "| RAF-DB | several faces of one label, 5 frames | 60 | 81.0 % [" in card and "97.0 % [" in card
    assert "one face, unsteady," not in card  # there was no such clip
    assert "Before and after" not in card and "quick look" not in card


def test_the_card_of_seven_logits_says_what_the_seventh_does(figures: dict[str, Any]) -> None:
    shipped = load_manifest(EXPRESSION_DIR)
    rule = {"scope_temperature": 1.5, "in_scope_above": 0.4}
    six, seven = (
        replace(
            shipped,
            outputs=(replace(shipped.outputs[0], shape=(1, width)),),
            parameters={**shipped.parameters, **rule},
        )
        for width in (6, 7)
    )
    assert "*other*" not in render_card(six, figures)
    assert "in scope from 0.400 on; temperature 1.500" in render_card(seven, figures)


def test_parts_that_were_left_out_leave_no_section_and_are_named_as_limits(figures: dict[str, Any]) -> None:
    for part in ("street", "outsiders", "groups", "gaps", "slices", "clips"):
        del figures[part]
    card = render_card(load_manifest(EXPRESSION_DIR), figures)
    assert not any(title in card for title in ("What the street costs", "Groups of people", "Over time"))
    assert "differences between groups of people" in card and "head pose" in card


def test_a_look_so_quick_that_no_group_is_large_enough_still_makes_a_card(figures: dict[str, Any]) -> None:
    for by_path in figures["groups"].values():
        by_path.update({path: [] for path in ("direct", "street") if path in by_path})
    assert "after the street:" not in render_card(load_manifest(EXPRESSION_DIR), figures)


def test_an_earlier_evaluation_stands_beside_the_new_one(figures: dict[str, Any]) -> None:
    before = copy.deepcopy({name: figures[name] for name in ("headline", "gaps", "measured")})
    figures["headline"]["street_loss_points"] = 0.75
    figures["gaps"][0]["points"] = 7.5
    figures["gaps"][0]["groups"] = ["White", "Asian"]
    card = render_card(load_manifest(EXPRESSION_DIR), figures | {"before": before, "limited_to": 60})
    assert "| street_loss_points | 1.250 | 0.750 |" in card
    assert "| abstention, race | Asian / White | 16.2 | 7.5 |" in card
    assert "A quick look at about 60 pictures" in card


def test_the_detectors_card_shows_peers_groups_and_who_is_missing(figures: dict[str, Any]) -> None:
    card = render_detector_card(load_manifest(ARTIFACTS_DIR / "face_detector"), figures)
    assert "99.4 % [70.0, 90.0]" in card
    assert "| MediaPipe BlazeFace short range | -0.55 |" in card or "| -0.54 |" in card
    assert "| wider | skin | VI | 540 |" in card
    assert "OpenCV Haar, frontal (no OpenCV below 5)" in card


def test_figures_of_another_artifact_make_no_card(
    figures: dict[str, Any], tmp_path: Path, capsys: Any
) -> None:
    figures["detectors"]["artifact_digest"] = figures["headline"]["artifact_digest"] = "0" * 64
    with pytest.raises(ManifestError, match="another face detector"):
        render_detector_card(load_manifest(ARTIFACTS_DIR / "face_detector"), figures)
    del figures["detectors"]
    with pytest.raises(ManifestError, match="hold no detector"):
        render_detector_card(load_manifest(ARTIFACTS_DIR / "face_detector"), figures)
    (tmp_path / "figures.json").write_text(json.dumps(figures))
    command = ["models", "card", "--metrics", str(tmp_path / "figures.json"), "--out", str(tmp_path / "c.md")]
    assert main(command) == 2
    assert "another expression network" in capsys.readouterr().err
    (tmp_path / "figures.json").write_text("[1]")
    assert main(command) == 2


def test_the_plots_are_small_well_formed_pictures_with_a_line_per_set(figures: dict[str, Any]) -> None:
    for svg in (reliability_svg(figures["sets"]), risk_coverage_svg(figures["sets"])):
        root = ElementTree.fromstring(svg)
        assert len(root.findall("{http://www.w3.org/2000/svg}polyline")) == 2
        assert "rafdb" in "".join(root.itertext())
        assert len(svg) < 8_000


def test_tables_write_figures_as_people_read_them() -> None:
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n|---|---|\n| 1 | 2 |"
    assert percent(None) == "-"
    assert percent(0.5, (0.25, 0.75)) == "50.0 % [25.0, 75.0]"
    assert points([-1.0, -2.0, 0.25]) == "-1.00 [-2.00, +0.25]"
    assert (p_value(0.0004), p_value(0.034), p_value(1.0)) == ("< .001", ".034", "1.000")
