from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data as samples

from models.audit.answers import AnswerRule
from models.audit.parity import interval_by_person, measure_parity, read_london
from models.cards.audited import parity
from models.errors import DatasetError
from models.face_detector.runtime import Detector
from models.runtime.manifest import ARTIFACTS_DIR, load_manifest

RULE = AnswerRule(temperature=1.0, confident_above=0.9)
PORTRAIT = samples.astronaut()[..., ::-1]


def archive(folder: Path, people: int = 6) -> Path:
    with zipfile.ZipFile(folder / "london_faces.zip", "w") as opened:
        rows = ["file,label,subject,age,gender,ethnicity"]
        for person in range(people):
            for label in ("neutral", "happy"):
                name = f"{label}_{person}.png"
                picture = np.roll(PORTRAIT, person, axis=1) if person else np.zeros((99, 99, 3), np.uint8)
                opened.writestr(name, cv2.imencode(".png", picture)[1].tobytes())
                rows.append(f"{name},{label},{person},30,female,{'white' if person else 'black'}")
        opened.writestr("labels.csv", "\n".join(rows))
    return folder


def always_happy(crops: list[np.ndarray]) -> np.ndarray:
    logits = np.zeros((len(crops), 7), np.float32)
    logits[:, 0] = 9.0
    return logits


def test_accuracy_is_told_by_what_people_say_of_themselves(tmp_path: Path) -> None:
    detector = Detector(load_manifest(ARTIFACTS_DIR / "face_detector").read())
    seen = read_london(archive(tmp_path), detector)
    assert seen is not None and seen.missed == 2 and len(seen.crops) == 10
    figures = measure_parity(seen, always_happy, RULE, move=np.asarray)
    [row] = figures["groups"]["ethnicity"]
    assert (row["group"], row["people"], row["n"]) == ("white", 5, 10)
    assert row["accuracy"] == 0.5 and row["accuracy_95"] == (0.5, 0.5) and row["answered"] == 1.0
    text = parity(figures)
    assert "| ethnicity | white | 5 | 50.0 % [50.0, 50.0] | 100.0 % [100.0, 100.0] |" in text
    assert "2 not" in text
    assert read_london(tmp_path / "nowhere", detector) is None


def test_pictures_of_one_person_stand_and_fall_together() -> None:
    people = np.repeat([f"p{i}" for i in range(10)], 8)
    alike = np.repeat([1.0, 0.0] * 5, 8)
    apart = np.tile([1.0, 0.0], 40)
    wide, narrow = interval_by_person(alike, people), interval_by_person(apart, people)
    assert wide[1] - wide[0] > 0.4 and narrow == (0.5, 0.5)


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "london_faces.zip").write_bytes(b"no archive")
    with pytest.raises(DatasetError, match=r"london_faces\.zip is damaged"):
        read_london(tmp_path, Detector(load_manifest(ARTIFACTS_DIR / "face_detector").read()))
