"""Soft labels never carry validation pictures into a student's training."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from models.errors import DatasetError
from models.runtime.manifest import load_manifest
from models.training.expression.commands.training import with_soft_labels
from models.training.expression.data.datasets import PackedFaces
from models.training.expression.training.soft_label_splits import load_student_labels, teachers_share
from models.training.expression.training.soft_labels import (
    LABELS_FILE,
    SHIPPED_LABELS,
    SoftLabels,
    write_labels_artifact,
)
from models.training.expression.training.training_config import CONFIGS_DIR, TrainingConfig, read_config


def faces(*numbers: int) -> PackedFaces:
    return PackedFaces(
        grey=np.zeros((len(numbers), 8, 8), np.uint8),
        targets=np.eye(7, dtype=np.float32)[[0] * len(numbers)],
        labels=np.zeros(len(numbers), np.int64),
        sources=("made",) * len(numbers),
        digests=tuple(f"{n:016x}{n:048x}" for n in numbers),
    )


TRAINING, VALIDATION = faces(1, 2, 3), faces(4, 5)


def artifact(folder: Path, *, pictures: PackedFaces = TRAINING, share: float = 0.1) -> Path:
    keys = np.array([int(d[:16], 16) for d in pictures.digests], np.uint64)
    labels = SoftLabels(keys=keys, probabilities=np.full((len(keys), 7), 1 / 7, np.float16))
    write_labels_artifact(
        labels,
        folder,
        command="-",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        sources=(),
        validation_share=share,
    )
    return folder


def config(share: float) -> TrainingConfig:
    return TrainingConfig(
        network={},
        training=replace(read_config().training, validation_share=share),
        augmentation=read_config().augmentation,
    )


def learn_from(path: Path, *, share: float = 0.1) -> PackedFaces:
    return with_soft_labels(TRAINING, VALIDATION, path, config(share))


def test_labels_of_the_same_split_are_learned_from_as_folder_and_as_file(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "labels")
    for path in (folder, folder / LABELS_FILE):
        assert learn_from(path).targets[0, 1] == pytest.approx(0.7 / 7, abs=1e-3)


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_teachers_of_another_validation_share_are_refused(tmp_path: Path, share: float) -> None:
    folder = artifact(tmp_path / "labels", share=share)
    for path in (folder, folder / LABELS_FILE):
        with pytest.raises(DatasetError, match=rf"share of {share}, this run has 0\.1"):
            learn_from(path)
    learn_from(folder, share=share)


def test_labels_that_answer_for_a_validation_picture_are_refused(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "labels", pictures=faces(1, 2, 3, 5))
    with pytest.raises(DatasetError, match="answers for 1 validation pictures"):
        learn_from(folder)


def test_labels_that_do_not_say_their_share_are_refused(tmp_path: Path) -> None:
    folder = artifact(tmp_path / "labels")
    lonely = tmp_path / "lonely.npz"
    lonely.write_bytes((folder / LABELS_FILE).read_bytes())
    (folder / "other.npz").write_bytes(lonely.read_bytes())
    for path in (lonely, folder / "other.npz"):
        with pytest.raises(DatasetError, match="does not say"):
            learn_from(path)
    body = json.loads((folder / "manifest.json").read_text("utf-8"))
    del body["parameters"]["validation_share"]
    (folder / "manifest.json").write_text(json.dumps(body), "utf-8")
    with pytest.raises(DatasetError, match="does not say"):
        learn_from(folder)
    with pytest.raises(DatasetError, match="no such file"):
        learn_from(tmp_path / "missing")


def test_teachers_of_different_shares_do_not_label_together() -> None:
    assert teachers_share([config(0.1), config(0.1)]) == 0.1
    with pytest.raises(DatasetError, match=r"\[0\.1, 0\.2\]"):
        teachers_share([config(0.2), config(0.1)])


def test_the_shipped_labels_say_the_share_of_every_shipped_configuration() -> None:
    share = load_manifest(SHIPPED_LABELS).parameters["validation_share"]
    assert {read_config(path).training.validation_share for path in CONFIGS_DIR.glob("*.toml")} == {share}
    load_student_labels(SHIPPED_LABELS, validation_share=share, validation=VALIDATION)
