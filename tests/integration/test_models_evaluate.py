"""`countenance models evaluate` on a folder of drawn faces, through the real street."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from cloud.cli import main
from edge_agent.tracking.self_test import draw_face
from models.audit.commands import rounded


def draw_folder(folder: Path) -> Path:
    for index, label in enumerate(("happy", "neutral", "sad")):
        (folder / "test" / label).mkdir(parents=True)
        for side in (100, 140):
            face = cv2.convertScaleAbs(draw_face(side), alpha=1.0, beta=6 * index)
            cv2.imwrite(str(folder / "test" / label / f"{side}.png"), face)
    return folder


def test_figures_are_rounded_and_hold_nothing_that_json_has_not() -> None:
    figures = {"a": [1 / 3, float("nan")], "b": {"c": (2, "x", None, True)}}
    assert rounded(figures) == {"a": [0.333333, None], "b": {"c": [2, "x", None, True]}}


@pytest.mark.slow
def test_one_run_measures_accuracy_street_and_slices_and_says_what_it_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out, card = draw_folder(tmp_path / "faces"), tmp_path / "figures.json", tmp_path / "card.md"
    command = ["models", "evaluate", "--data", str(data), "--out", str(out), "--no-latency", "--limit", "4"]
    assert main([*command, "--json"]) == 0
    captured = capsys.readouterr()
    headline = json.loads(captured.out)
    body = json.loads(out.read_text())
    assert headline == body["headline"]
    assert body["sets"]["folder"]["int8"]["n"] == body["limited_to"] == 4
    street = body["street"]["folder"]
    assert street["encodings"] == {"rgb96_q75": 4} and street["grey48"]["encodings"] == {"grey48_q60": 4}
    assert headline["street_loss_points"] == street["loss_points"][0]
    assert {row["cause"] for row in body["slices"]} >= {"none", "light", "blur", "size", "roll", "yaw"}
    assert body["skipped"].keys() == {"detectors", "groups", "outsiders", "parity"}
    assert "detectors left out" in captured.err and "utkface" in body["skipped"]["groups"]

    assert main([*command[:-2], "--before", str(out), "--skip", "street", "--skip", "slices"]) == 0
    again = json.loads(out.read_text())
    assert again["before"]["headline"] == headline
    assert again["skipped"]["street"] == "not wanted"
    assert main(["models", "card", "--metrics", str(out), "--out", str(card)]) == 0
    assert "test folder" in card.read_text()


def test_an_earlier_evaluation_that_is_none_is_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "e.json").write_text("[]")
    command = [
        "models",
        "evaluate",
        "--data",
        str(tmp_path),
        "--out",
        str(tmp_path / "o.json"),
        "--no-latency",
    ]
    assert main([*command, "--before", str(tmp_path / "e.json")]) == 2
    assert "--before" in capsys.readouterr().err


def test_a_quick_look_is_not_recorded_as_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["models", "evaluate", "--data", str(tmp_path), "--out", str(tmp_path / "o.json")]
    assert main([*command, "--limit", "4", "--record"]) == 2
    assert "--limit" in capsys.readouterr().err
