from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data as samples

from models.cli import add_models_commands
from models.errors import ManifestError, PictureError
from models.expression.loading import load_expression
from models.expression.own_neutral import neutral_offset, read_neutral_logits
from models.expression.taxonomy import LABELS
from models.face_crop.quality import Pose, Quality
from models.face_detector.still_search import FoundFace, find_faces
from models.predict.pictures import read_picture, shown
from models.predict.reading import Doubt, DoubtLimits, answer, outside_share, quality_doubts, sample_crop
from models.runtime.image_files import declared_size

PORTRAIT = np.ascontiguousarray(samples.astronaut()[..., ::-1])
FACE_BOX = np.array([174.0, 74.0, 275.0, 175.0])
GOOD = Quality(
    pose=Pose(yaw_deg=0, pitch_deg=0, roll_deg=0), eyes_px=40.0, brightness=120, sharpness=60, score=200, attention=255
)  # fmt: skip


def command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_models_commands(parser.add_subparsers())
    parsed = parser.parse_args(["models", *arguments])
    return int(parsed.handler(parsed))


def stored(folder: Path, name: str, picture: np.ndarray) -> str:
    path = folder / name
    assert cv2.imwrite(str(path), picture)
    return str(path)


def predicted(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict]:
    assert command("predict", *arguments, "--json") == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("variant", ["int8", "float32"])
def test_a_smile_in_an_ordinary_picture_is_found_and_read(
    variant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [found] = predicted(capsys, stored(tmp_path, "astronaut.png", PORTRAIT), "--variant", variant)
    [face] = found["faces"]
    assert face["expression"] == "happy" and not face["uncertain"] and face["reasons"] == []
    assert set(face["probabilities"]) == set(LABELS)
    assert np.abs(np.array(face["box_xyxy_px"]) - FACE_BOX).max() < 8
    assert found["artifacts"]["expression"] == load_expression().manifest.variant(variant).sha256
    assert (found["width_px"], found["height_px"]) == (512, 512)


def test_several_faces_give_several_answers_largest_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = np.full((600, 1200, 3), 120, np.uint8)
    wide[300:556, 100:356] = cv2.resize(PORTRAIT, (256, 256), interpolation=cv2.INTER_AREA)
    wide[40:552, 650:1162] = PORTRAIT
    path = stored(tmp_path, "two.png", wide)
    [found] = predicted(capsys, path)
    assert [face["expression"] for face in found["faces"]] == ["happy", "happy"]
    assert found["faces"][0]["box_xyxy_px"][0] > 650 > found["faces"][1]["box_xyxy_px"][2]
    assert command("predict", path) == 0
    text = capsys.readouterr().out.splitlines()
    assert text[0].endswith("2 faces, prior uniform") and "happy" in text[1] and "happy" in text[2]


def test_a_picture_without_a_face_says_so_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grey, black = np.full((200, 300, 3), 128, np.uint8), np.zeros((200, 300, 3), np.uint8)
    paths = [stored(tmp_path, "grey.png", grey), stored(tmp_path, "black.png", black)]
    assert [(f["faces"], f["reasons"]) for f in predicted(capsys, *paths)] == [
        ([], ["no_face"]),
        ([], ["no_face", "too_dark"]),
    ]


def test_a_crop_is_read_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crop = PORTRAIT[70:200, 165:295]
    [sharp] = predicted(capsys, stored(tmp_path, "crop.png", crop), "--crop")
    assert sharp["faces"][0]["expression"] == "happy" and not sharp["faces"][0]["uncertain"]
    blurred = stored(tmp_path, "blurred.png", cv2.GaussianBlur(crop, (0, 0), 7))
    [soft] = predicted(capsys, blurred, "--crop")
    assert soft["faces"][0]["uncertain"] and "blurred" in soft["faces"][0]["reasons"]
    assert "face_detector" not in soft["artifacts"]


def test_an_opted_out_expression_is_not_in_the_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [found] = predicted(capsys, stored(tmp_path, "astronaut.png", PORTRAIT), "--opt-out", "happy")
    [face] = found["faces"]
    assert "happy" not in face["probabilities"]
    assert sum(face["probabilities"].values()) == pytest.approx(1.0, abs=1e-3)
    assert "low_confidence" in face["reasons"]


def test_a_file_that_cannot_be_read_does_not_keep_others_from_being_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "note.jpg").write_text("no picture")
    crop = stored(tmp_path, "crop.png", PORTRAIT[70:200, 165:295])
    gone = str(tmp_path / "gone.jpg")
    assert command("predict", "--crop", str(tmp_path / "note.jpg"), crop, gone, "--json") == 2
    said = capsys.readouterr()
    first, second, third = (json.loads(line) for line in said.out.splitlines())
    assert "not a picture" in first["error"] and "No such file" in third["error"]
    assert second["faces"][0]["expression"] == "happy"
    assert "note.jpg is not a picture" in said.err


def test_the_prior_is_named_and_much_neutral_makes_neutral_likelier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soft = cv2.GaussianBlur(PORTRAIT[70:200, 165:295], (0, 0), 6)
    path = stored(tmp_path, "soft.png", soft)
    said = {}
    for name in ("uniform", "audience", "carried"):
        [found] = predicted(capsys, path, "--crop", "--prior", name)
        assert found["prior"]["name"] == name
        assert sum(found["prior"]["shares"].values()) == pytest.approx(1.0, abs=1e-3)
        said[name] = found["faces"][0]["probabilities"]
    odds = {name: shares["neutral"] / shares["sad"] for name, shares in said.items()}
    assert odds["audience"] == pytest.approx(4 * odds["uniform"], rel=0.1)
    [default] = predicted(capsys, path, "--crop")
    assert default["faces"][0]["probabilities"] == said["uniform"]
    with pytest.raises(SystemExit):
        command("predict", path, "--prior", "natural")


def test_what_a_persons_face_always_shows_is_taken_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    smile = stored(tmp_path, "smile.png", PORTRAIT)
    [plain] = predicted(capsys, smile)
    [known] = predicted(capsys, smile, "--neutral", smile, smile)
    assert plain["own_neutral"] is False and known["own_neutral"] is True
    was, now = (found["faces"][0]["probabilities"]["neutral"] for found in (plain, known))
    assert was < 0.05 < now
    assert command("predict", smile, "--neutral", smile) == 0
    assert "own neutral taken out" in capsys.readouterr().out
    empty = stored(tmp_path, "empty.png", np.full((99, 99, 3), 128, np.uint8))
    assert command("predict", smile, "--neutral", empty) == 2
    assert "no face was found in" in capsys.readouterr().err


def test_the_more_pictures_at_rest_the_more_of_them_is_taken_out() -> None:
    usual, person = np.zeros(6), np.array([[2.0, 0, 0, 0, 0, -2.0, 9.0]])
    offsets = [neutral_offset(np.repeat(person, n, axis=0), usual)[0] for n in (1, 2, 9)]
    assert offsets == pytest.approx([2 * 1 / 1.5, 2 * 2 / 2.5, 2 * 9 / 9.5])
    assert neutral_offset(person + 5.0, usual) == pytest.approx(neutral_offset(person, usual))


@pytest.mark.parametrize("stated", [[1.0], "x", [0, 0, 0, 0, 0, 1000.0]])
def test_what_is_no_table_of_neutral_logits_is_refused(stated: object) -> None:
    with pytest.raises(ManifestError, match="neutral_logits"):
        read_neutral_logits({"neutral_logits": stated})
    assert read_neutral_logits({}) is None


def test_a_name_that_is_no_text_or_cannot_be_printed_is_escaped_and_the_next_picture_is_read(
    tmp_path: Path,
) -> None:
    portrait = Path(stored(tmp_path, "a:b 100%.png", PORTRAIT[40:230, 140:320])).read_bytes()
    for name in (b"caf\xe9.png", "größe 顔.png".encode(), b"-dash.png", b"12", b"x" * 240, b"new\nline"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(portrait)
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/gone\xff.png")).write_bytes(b"no picture")
    names = sorted(path.name for path in tmp_path.iterdir())
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from cloud.cli import main; sys.exit(main())",
            "models",
            "predict",
            *names,
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=False,
    )
    said, complaint = ended.stdout.decode("ascii"), ended.stderr.decode("ascii")
    assert ended.returncode == 2 and "Traceback" not in complaint
    assert said.count("1 face") == len(names) - 1 and said.count("happy") == len(names) - 1
    assert "caf\\xe9.png: 1 face" in said and "new\\nline: 1 face" in said and "-dash.png: 1 face" in said
    [line] = complaint.splitlines()
    assert "gone\\xff.png is not a picture" in line


def test_a_name_is_shown_as_it_is_unless_a_terminal_would_stumble_over_it() -> None:
    assert shown(Path("größe 顔.png")) == "größe 顔.png"
    assert shown(Path(os.fsdecode(b"caf\xe9\x1b[2J"))) == "caf\\xe9\\x1b[2J"


def test_a_person_erased_by_transparency_is_not_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = np.hstack([PORTRAIT, PORTRAIT[:, ::-1]])
    seen = np.zeros(both.shape[:2], np.uint8)
    seen[:, : both.shape[1] // 2] = 255
    [found] = predicted(capsys, stored(tmp_path, "erased.png", np.dstack([both, seen])))
    [face] = found["faces"]
    assert face["box_xyxy_px"][2] < both.shape[1] / 2


def test_what_decoders_complain_of_stays_off_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole = Path(stored(tmp_path, "whole.png", PORTRAIT)).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 3])
    deep = cv2.imencode(".png", PORTRAIT.astype(np.uint16) * 257)[1].tobytes()
    (tmp_path / "cut_deep.png").write_bytes(deep[: len(deep) // 3])
    for name in ("cut.png", "cut_deep.png"):
        with pytest.raises(PictureError, match="not a picture"):
            read_picture(tmp_path / name)
    assert capfd.readouterr() == ("", "")


def test_a_pipe_that_never_ends_is_read_no_further_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.predict.pictures.FILE_LIMIT_BYTES", 4096)
    with pytest.raises(PictureError, match="MiB"):
        read_picture(Path("/dev/zero"))


def test_an_unknown_expression_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("predict", "x.jpg", "--opt-out", "joy") == 2
    assert "surprised" in capsys.readouterr().err


def test_a_folder_an_empty_file_and_a_picture_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.png").touch()
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 60_000, 60_000, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(bomb)
    for name, said in (("", "is a folder"), ("empty.png", "is empty"), ("bomb.png", "60000 x 60000")):
        with pytest.raises(PictureError, match=said):
            read_picture(tmp_path / name)
    monkeypatch.setattr("models.predict.pictures.FILE_LIMIT_BYTES", 10)
    with pytest.raises(PictureError, match="MiB"):
        read_picture(tmp_path / "bomb.png")


@given(st.binary(max_size=64), st.sampled_from([b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"]))
def test_any_header_declares_a_size_or_none(noise: bytes, start: bytes) -> None:
    found = declared_size(start + noise)
    assert found is None or min(found) >= 0


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_header_declares_the_size_of_its_picture(suffix: str) -> None:
    ok, encoded = cv2.imencode(suffix, np.zeros((31, 57, 3), np.uint8))
    assert ok and declared_size(encoded.tobytes()) == (57, 31)


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        ({"sharpness": 9}, Doubt.BLURRED),
        ({"eyes_px": 11.9}, Doubt.TOO_SMALL),
        ({"brightness": 11}, Doubt.TOO_DARK),
        ({"brightness": 251}, Doubt.TOO_BRIGHT),
        ({"pose": Pose(yaw_deg=-76, pitch_deg=0, roll_deg=0)}, Doubt.TURNED_AWAY),
    ],
)
def test_what_is_wrong_with_a_face_is_named(change: dict, doubt: Doubt) -> None:
    values = {name: getattr(GOOD, name) for name in Quality.__slots__} | change
    assert quality_doubts(GOOD, 0.0, DoubtLimits()) == ()
    assert quality_doubts(Quality(**values), 0.0, DoubtLimits()) == (doubt,)
    assert quality_doubts(GOOD, 0.2, DoubtLimits()) == (Doubt.CUT_OFF,)


def test_the_share_outside_the_picture_grows_as_the_face_leaves_it() -> None:
    marks = np.array([[80, 90], [120, 90], [100, 100], [100, 130], [60, 95], [140, 95]], np.float32)
    picture = np.zeros((200, 200, 3), np.uint8)
    shares = [outside_share(picture, marks + np.float32([shift, 0])) for shift in (0, 80, 300)]
    assert shares[0] == 0.0 < shares[1] < shares[2] == 1.0


def test_a_crop_of_a_few_pixels_is_refused() -> None:
    with pytest.raises(PictureError, match="too few"):
        sample_crop(np.zeros((15, 40, 3), np.uint8), "x.png", DoubtLimits())


def test_no_sample_gives_no_answer() -> None:
    assert (
        answer([], lambda _: np.empty((0, 6), np.float32), load_expression(), opted_out=np.zeros(6, bool))
        == []
    )


class NothingThere:
    """A detector that never finds a face and counts its looks."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def detect(self, frame_bgr: np.ndarray, *, min_score: float):
        from models.face_detector.decoding import Detections

        self.shapes.append(frame_bgr.shape)
        empty = np.zeros
        return Detections(
            boxes_xyxy=empty((0, 4), np.float32), landmarks=empty((0, 6, 2), np.float32), scores=empty(0, np.float32)
        )  # fmt: skip


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 900), (100, 100), (3000, 4000)])
def test_the_looks_at_a_picture_are_bounded_whatever_its_size(height: int, width: int) -> None:
    detector = NothingThere()
    found: tuple[FoundFace, ...] = find_faces(detector, np.zeros((height, width, 3), np.uint8))
    assert found == ()
    assert 1 <= len(detector.shapes) <= 320
    assert max(max(shape[:2]) for shape in detector.shapes) <= 512
