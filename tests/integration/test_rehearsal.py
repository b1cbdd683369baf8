"""The rehearsed street, agent and worker in two processes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from cloud.cli import main
from cloud.rehearsal.street import Asked, RehearsedStreet
from edge_agent.tracking.self_test import draw_face
from models.expression.loading import load_expression
from models.training.expression.evaluation.engines import litert_predictor


def encoded(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_what_arrives_is_what_the_network_says_about_the_crop_that_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from edge_agent.cli import main as agent

    face, picture = tmp_path / "face.jpg", cv2.imencode(".jpg", draw_face(256))[1].tobytes()
    face.write_bytes(picture)
    home = ["--home", str(tmp_path / "home")]
    assert agent(["preview", str(face), "--out", str(tmp_path), *home]) == 0
    assert "would leave, sealed" in capsys.readouterr().out
    assert face.read_bytes() == picture, "a crop is never written over the picture that it is from"
    left = cv2.imread(str(tmp_path / "face.jpg.crop.jpg"), cv2.IMREAD_COLOR_RGB)
    artifact = load_expression()
    direct = litert_predictor(artifact.manifest.read("int8"), side_px=artifact.input_side_px)([left])[0]

    wall = np.full((256, 256, 3), 128, np.uint8)
    with RehearsedStreet(artifact) as street:
        asked = [Asked(picture=face.read_bytes()), Asked(picture=encoded(wall))]
        arrived, nothing = street.send(asked)
    np.testing.assert_allclose(arrived.logits, direct, rtol=1e-5)
    assert arrived.step == "rgb96_q75"
    assert arrived.envelope_bytes > 1_000
    assert (nothing.skip, nothing.logits) == ("no_face", None)


def test_the_command_prints_one_object_per_picture(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    face = tmp_path / "face.png"
    face.write_bytes(encoded(draw_face(256)))
    assert main(["rehearse", "--json", "--encoding", "grey48_q60", str(face), str(face)]) == 0
    first, second = (json.loads(line) for line in capfdbinary.readouterr().out.splitlines())
    assert first["step"] == "grey48_q60"
    assert first["logits"] == second["logits"]


def test_a_missing_picture_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rehearse", str(tmp_path / "none.jpg")]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_no_picture_at_all_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rehearse"]) == 2
    assert "name pictures" in capsys.readouterr().err


def test_two_streets_at_once_keep_the_order_of_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    from models.audit import street
    from models.expression.loading import EXPRESSION_DIR

    monkeypatch.setattr(street, "WORTH_TWO", 3)
    monkeypatch.setattr(street.os, "cpu_count", lambda: 2)
    portrait = np.ascontiguousarray(skimage.data.astronaut()[60:200, 150:290])
    face, wall = cv2.resize(portrait, (120, 120)), np.full((120, 120, 3), 128, np.uint8)
    arrived = street.send_pictures([face, wall, wall], artifact=EXPRESSION_DIR)
    assert arrived.sent.tolist() == [True, False, False]
    assert np.isnan(arrived.logits[1:]).all() and np.isfinite(arrived.logits[0]).all()
    assert (arrived.steps, arrived.skips) == ({"rgb96_q75": 1}, {"no_face": 2})
