from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from models.expression.taxonomy import one_hot
from models.face_crop.alignment import FRAMING, Framing
from models.face_detector.runtime import Detector
from models.runtime.manifest import ARTIFACTS_DIR, load_manifest
from models.training.expression.data.datasets import Picture
from models.training.expression.evaluation.framing import JPEG_QUALITY, framings, score_framing, see_faces


def picture(pixels: np.ndarray, *, label: int, source: str) -> Picture:
    return Picture(
        source=source, file="-", split="", digest="0" * 64, pixels=pixels, target=one_hot(label), label=label,
        original_label=label,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    """Two cuts of one face, and a wall."""
    portrait = skimage.data.astronaut()
    cut = cv2.resize(portrait[60:200, 150:290], (100, 100), interpolation=cv2.INTER_AREA)
    wide = cv2.cvtColor(cv2.resize(portrait[30:230, 120:320], (100, 100)), cv2.COLOR_RGB2GRAY)
    return [
        picture(cut, label=0, source="a"),
        picture(wide, label=1, source="b"),
        picture(np.full((48, 48), 90, np.uint8), label=2, source="b"),
    ]


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """Mean distance of the middles of two pictures, in grey levels."""
    greys = [p if p.ndim == 2 else cv2.cvtColor(p, cv2.COLOR_RGB2GRAY) for p in (one, other)]
    return float(np.abs(np.subtract(*(grey[20:76, 20:76].astype(float) for grey in greys))).mean())


def load_detector() -> Detector:
    return Detector(load_manifest(ARTIFACTS_DIR / "face_detector").read("float32"))


def test_faces_are_found_in_closely_cut_pictures_and_walls_are_left_out(pictures: list[Picture]) -> None:
    faces = see_faces(pictures, load_detector)
    assert [(face.label, face.source) for face in faces] == [(0, "a"), (1, "b")]


def test_the_same_face_is_read_alike_however_its_picture_was_cut(pictures: list[Picture]) -> None:
    seen: list[np.ndarray] = []

    def read(crops) -> np.ndarray:
        seen.extend(crops)
        return np.eye(7)[[0, 1]]

    assert score_framing(see_faces(pictures, load_detector), FRAMING, read) == {"a": 1.0, "b": 1.0}
    plain = [cv2.resize(picture.pixels, (96, 96)) for picture in pictures[:2]]
    assert apart(*seen) < 0.5 * apart(*plain)
    assert score_framing(see_faces(pictures, load_detector), FRAMING, lambda _: np.eye(7)[[0, 0]])["b"] == 0.0


def test_a_lower_framing_shows_the_face_lower(pictures: list[Picture]) -> None:
    face = see_faces(pictures[:1], load_detector)
    crops: list[np.ndarray] = []

    def read(given) -> np.ndarray:
        crops.extend(given)
        return np.eye(7)[:1]

    for shift in (0.0, 0.125):
        framing = Framing(
            eye_left_x=FRAMING.eye_left_x, eye_y=FRAMING.eye_y + shift, mouth_y=FRAMING.mouth_y + shift
        )
        score_framing(face, framing, read)
    usual, lower = (crop.astype(float) for crop in crops)
    inside = np.s_[30:84, 20:76]
    assert np.abs(lower[inside] - np.roll(usual, 12, axis=0)[inside]).mean() < 6
    assert np.abs(lower[inside] - usual[inside]).mean() > 12


def test_the_grid_holds_the_shipped_framing_and_zooms_about_the_face() -> None:
    grid = framings()
    assert FRAMING in grid
    assert len(set(grid)) == len(grid) == 20
    larger = framings(zooms=(1.1,), shifts=(0.0,))[0]
    assert larger.eye_y < FRAMING.eye_y < FRAMING.mouth_y < larger.mouth_y
    assert 1 - 2 * larger.eye_left_x == pytest.approx(1.1 * (1 - 2 * FRAMING.eye_left_x), abs=1e-3)


def test_crops_are_compressed_as_the_agent_compresses_first() -> None:
    from edge_agent.tracking.crop_encoding import LADDER

    assert LADDER[0].quality == JPEG_QUALITY


def test_the_command_ranks_framings_of_any_labelled_folder(
    pictures: list[Picture], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import argparse
    import json

    from models.cli import add_models_commands

    for split in ("train", "validation"):
        folder = tmp_path / "data" / split / "happy"
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / f"{split}.png"), pictures[0].pixels[..., ::-1])
    parser = argparse.ArgumentParser()
    add_models_commands(parser.add_subparsers())
    words = ["models", "framing", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out.json")]
    arguments = parser.parse_args(words)
    assert arguments.handler(arguments) == 0
    figures = json.loads((tmp_path / "out.json").read_text("utf-8"))
    assert (figures["faces"], figures["pictures"], len(figures["tried"])) == (1, 1, 19)
    assert "(shipped)" in capsys.readouterr().out
