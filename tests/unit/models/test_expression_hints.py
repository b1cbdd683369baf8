import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.cli import add_models_commands
from models.errors import DatasetError
from models.training.expression.data.augmentation import AugmentationSettings
from models.training.expression.data.datasets import PackedFaces

pytest.importorskip("keras", reason="needs the train extra")

import keras

from models.training.expression.networks.architectures import NetworkSettings, build_network
from models.training.expression.networks.building import load_network
from models.training.expression.training.hints import (
    gather_hints,
    inner_view,
    load_hints,
    main_directions,
    with_hints,
    without_hints,
)
from models.training.expression.training.train import train
from models.training.expression.training.training_config import TRAINED_FILE, TrainingConfig, TrainingSettings
from models.training.expression.training.views import LabelledViews, ViewBatches

# Converters and runtimes warn about their own internals.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]

SMALL = {"input_side_px": 16, "stem_channels": 8, "stages": ((8, 1),), "dropout": 0.0}


def light_views(count: int, *, seed: int = 0) -> tuple[LabelledViews, np.ndarray]:
    """Noise whose lower half is as much lighter as it is happy, and by how much."""
    rng = np.random.default_rng(seed)
    lift = rng.uniform(-60, 60, count)
    grey = rng.normal(128, 10, (count, 16, 16))
    grey[:, 8:] += lift[:, None, None]
    labels = np.eye(7)[(lift < 0).astype(int)].astype(np.float16)
    views = LabelledViews(grey=grey.clip(0, 255).astype(np.uint8), answers=labels, labels=labels, origin="o")
    return views, lift


def halves(crops: np.ndarray) -> np.ndarray:
    """An inner view of three channels: upper half, lower half, left half."""
    middle = crops.shape[1] // 2
    parts = (crops[:, :middle], crops[:, middle:], crops[:, :, :middle])
    return np.stack([part.mean(axis=(1, 2, 3)) for part in parts], axis=1)


def test_main_directions_have_mean_zero_and_say_how_much_they_hold() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(500, 4)) * [10.0, 5.0, 0.1, 0.1] + 7
    values, explained = main_directions(features, 2)
    assert values.shape == (500, 2)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(values.var(axis=0).mean(), 1, rtol=1e-3)
    assert abs(np.corrcoef(values[:, 0], features[:, 0])[0, 1]) > 0.99
    share = features.var(axis=0)[:2].sum() / features.var(axis=0).sum()
    assert explained == pytest.approx(share, rel=1e-3)
    with pytest.raises(DatasetError, match=r"must lie in 1\.\.4"):
        main_directions(features, 5)


def test_hints_are_the_same_for_a_view_and_its_mirror_image() -> None:
    views, lift = light_views(300)
    mirrored = replace(views, grey=np.ascontiguousarray(views.grey[:, :, ::-1]))
    # The second direction is the left half's light, and a mirrored view has another left half.
    one, other = (gather_hints(v, [(halves, 16)], directions=2) for v in (views, mirrored))
    np.testing.assert_allclose(one.values, other.values, atol=2e-2)
    assert abs(np.corrcoef(one.values[:, 0].astype(float), lift)[0, 1]) > 0.9


def test_a_file_keeps_hints_for_the_views_that_they_belong_to(tmp_path: Path) -> None:
    views, _ = light_views(64)
    hints = gather_hints(views, [(halves, 16), (halves, 12)], directions=2)
    hints.save(tmp_path / "hints.npz")
    kept = load_hints(tmp_path / "hints.npz", origin="o", directions=2)
    np.testing.assert_array_equal(kept.values, hints.values)
    assert kept.explained == hints.explained
    with pytest.raises(DatasetError, match="belongs to other views"):
        load_hints(tmp_path / "hints.npz", origin="other", directions=2)
    with pytest.raises(DatasetError, match="holds 2 directions, the configuration asks for 3"):
        load_hints(tmp_path / "hints.npz", origin="o", directions=3)
    with pytest.raises(DatasetError, match=r"cannot read the hints in none\.npz"):
        load_hints(tmp_path / "none.npz", origin="o", directions=2)


def test_each_teacher_counts_the_same_however_large_its_features_are() -> None:
    views, lift = light_views(300)

    def loud_noise(crops: np.ndarray) -> np.ndarray:
        """Large features that have nothing to do with how happy a view is, none of them with another."""
        return (1000 * np.random.default_rng(len(crops)).normal(size=(len(crops), 4))).astype(np.float32)

    hints = gather_hints(views, [(halves, 16), (loud_noise, 16)], directions=1)
    assert abs(np.corrcoef(hints.values[:, 0].astype(float), lift)[0, 1]) > 0.9


def test_batches_give_each_view_its_own_hint() -> None:
    views, _ = light_views(40)
    own = np.arange(40, dtype=np.float16)[:, None]
    batches = ViewBatches(views, answer_share=0.5, batch_size=64, steps_per_epoch=1, seed=5, hints=own)
    plain = ViewBatches(views, answer_share=0.5, batch_size=64, steps_per_epoch=1, seed=5)
    crops, (targets, hints) = batches[0]
    np.testing.assert_array_equal(crops, plain[0][0])
    np.testing.assert_array_equal(targets, plain[0][1])
    np.testing.assert_array_equal(targets, views.answers[hints[:, 0].astype(int)])


def test_the_student_comes_out_of_training_with_hints_as_it_went_in() -> None:
    student = build_network(NetworkSettings(**SMALL))
    crops = np.random.default_rng(2).normal(size=(3, 16, 16, 1)).astype(np.float32)
    both = with_hints(student, 5)
    assert [tuple(out.shape[1:]) for out in both.outputs] == [(7,), (5,)]
    again = without_hints(both)
    np.testing.assert_array_equal(again(crops), student(crops))
    assert without_hints(student) is student


def test_a_network_without_pooled_features_gives_no_hints() -> None:
    crop = keras.Input((4, 4, 1))
    flat = keras.Model(crop, keras.layers.Flatten()(crop), name="flat")
    with pytest.raises(DatasetError, match="flat has no layer 'pool'"):
        inner_view(flat)


def test_a_student_learns_hints_and_keeps_only_its_answer(tmp_path: Path) -> None:
    views, _ = light_views(512)
    config = TrainingConfig(
        network=SMALL,
        training=TrainingSettings(
            epochs=6,
            epoch_pictures=512,
            batch_size=32,
            peak_learning_rate=0.02,
            ema_decay=0.8,
            hint_directions=1,
        ),
        augmentation=AugmentationSettings(),
    )
    faces = PackedFaces(
        grey=views.grey[:64],
        targets=views.labels[:64].astype(np.float32),
        labels=views.labels[:64].argmax(axis=1).astype(np.int64),
        sources=("lifted",) * 64,
        digests=tuple(f"{i:064x}" for i in range(64)),
    )
    validation = replace(faces, digests=tuple(f"{1000 + i:064x}" for i in range(64)))
    hints = gather_hints(views, [(halves, 16)], directions=1)
    out = tmp_path / "run"
    train(config, training=faces, validation=validation, out=out, views=views, hints=hints)
    student = load_network(out / TRAINED_FILE)
    assert student.output_shape == (None, 7)
    both = load_network(out / "checkpoint.keras")
    assert [tuple(o.shape) for o in both.outputs] == [(None, 7), (None, 1)]
    # It has learned the hints, not only carried them along.
    batch, (_, wanted) = ViewBatches(
        views, answer_share=1.0, batch_size=256, steps_per_epoch=1, seed=9, hints=hints.values
    )[0]
    given = keras.ops.convert_to_numpy(both(batch, training=False)[1])
    assert ((given - wanted) ** 2).mean() < 0.3 * wanted.var()

    longer = config.with_training(epochs=7)
    train(longer, training=faces, validation=validation, out=out, resume=True, views=views, hints=hints)
    assert len(json.loads((out / "history.json").read_text("utf-8"))) == 7
    assert load_network(out / TRAINED_FILE).output_shape == (None, 7)
    # A checkpoint that gives hints is no checkpoint of a network that gives none.
    with pytest.raises(
        DatasetError, match=r"it has hints/kernel .* where the configuration asks for nothing"
    ):
        train(longer, training=faces, validation=validation, out=out, resume=True, views=views)


def test_train_says_where_hints_come_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_models_commands(parser.add_subparsers(dest="command", required=True))
    words = ["models", "train", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    arguments = parser.parse_args([*words, "--config", "student_hints.toml"])
    assert arguments.handler(arguments) != 0
    assert "distil --views N --teacher RUN" in capsys.readouterr().err
