import argparse
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.cli import add_models_commands
from models.errors import DatasetError
from models.training.expression.data.augmentation import AugmentationSettings
from models.training.expression.data.datasets import PackedFaces

pytest.importorskip("keras", reason="needs the train extra")

from models.training.expression.training.views import (
    BATCH,
    Drawing,
    LabelledViews,
    ViewBatches,
    label_views,
    load_views,
    views_origin,
)

# Converters and runtimes warn about their own internals.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]

PLAIN = AugmentationSettings(
    rotation_deg=0, shift=0, scale_min=1, scale_max=1, aspect=0, shear=0, gamma=0, gradient_share=0, blur_share=0,
    coarse_share=0, jpeg_share=0, noise_share=0, cover_share=0,
)  # fmt: skip


def halves(count: int) -> PackedFaces:
    """Pictures dark above and light below (happy), or the other way round (sad)."""
    labels = np.arange(count) % 2
    dark = np.full((16, 32), 40, np.uint8)
    light = np.full((16, 32), 210, np.uint8)
    return PackedFaces(
        grey=np.stack([np.vstack([dark, light] if label == 0 else [light, dark]) for label in labels]),
        targets=np.eye(7, dtype=np.float32)[labels],
        labels=labels.astype(np.int64),
        sources=("halves",) * count,
        digests=tuple(f"{i:064x}" for i in range(count)),
    )


def lower_half_is_light(crops: np.ndarray) -> np.ndarray:
    """A teacher of seven logits that compares the halves of what it is shown."""
    middle = crops.shape[1] // 2
    gap = crops[:, middle:].mean(axis=(1, 2, 3)) - crops[:, :middle].mean(axis=(1, 2, 3))
    logits = np.full((len(crops), 7), -20.0, np.float32)
    logits[:, 0], logits[:, 1] = 4 * gap, -4 * gap
    return logits


def drawn_evenly(augmentation: AugmentationSettings, *, count: int = BATCH, seed: int = 1) -> Drawing:
    return Drawing(count=count, side_px=16, weights=np.full(64, 1 / 64), augmentation=augmentation, seed=seed)


def views(augmentation: AugmentationSettings, *, count: int = BATCH, seed: int = 1) -> LabelledViews:
    drawing = drawn_evenly(augmentation, count=count, seed=seed)
    return label_views(
        halves(64),
        [(lower_half_is_light, 24), (lower_half_is_light, 32)],
        drawing,
        origin=views_origin(halves(64), drawing, teachers=["one", "another"]),
    )


def test_each_view_carries_the_teachers_answer_and_its_pictures_label() -> None:
    drawn = views(PLAIN)
    assert drawn.grey.shape == (BATCH, 16, 16)
    assert set(drawn.labels[:, :2].argmax(axis=1)) == {0, 1}
    np.testing.assert_array_equal(drawn.answers.argmax(axis=1), drawn.labels.argmax(axis=1))
    np.testing.assert_allclose(drawn.answers.astype(np.float32).sum(axis=1), 1, atol=2e-3)


def test_the_answer_belongs_to_the_blend_and_not_to_the_pictures_in_it() -> None:
    drawn = views(replace(PLAIN, mix_share=1.0), count=4 * BATCH)
    shares = drawn.labels[:, 0].astype(np.float32)
    mixed = (shares > 0.3) & (shares < 0.7)
    assert mixed.any()
    # What is light below in the blend is what the teacher calls happy.
    light_below = drawn.grey[mixed, 8:].mean(axis=(1, 2)) > drawn.grey[mixed, :8].mean(axis=(1, 2))
    np.testing.assert_array_equal(drawn.answers[mixed, 0] > 0.5, light_below)


def test_teachers_are_asked_about_the_mirror_image_too() -> None:
    def upper_left_is_light(crops: np.ndarray) -> np.ndarray:
        corner = crops[:, : crops.shape[1] // 2, : crops.shape[2] // 2].mean(axis=(1, 2, 3))
        logits = np.full((len(crops), 7), -20.0, np.float32)
        logits[:, 0], logits[:, 1] = 9 * np.sign(corner), -9 * np.sign(corner)
        return logits

    quarter = np.full((1, 32, 32), 40, np.uint8)
    quarter[:, :16, :16] = 210
    faces = replace(halves(1), grey=quarter)
    drawing = replace(drawn_evenly(PLAIN), weights=np.ones(1))
    drawn = label_views(faces, [(upper_left_is_light, 16)], drawing, origin="")
    np.testing.assert_allclose(drawn.answers[:, :2], 0.5, atol=1e-3)


def test_a_spoiled_view_is_nobody_whatever_the_teachers_say() -> None:
    drawn = views(replace(PLAIN, spoil_share=1.0))
    np.testing.assert_array_equal(drawn.answers, np.eye(7)[np.full(BATCH, 6)])
    np.testing.assert_array_equal(drawn.labels, drawn.answers)


def test_the_same_seed_draws_the_same_views_and_a_file_keeps_them(tmp_path: Path) -> None:
    settings = AugmentationSettings(mix_share=0.3)
    first, again, other = views(settings), views(settings), views(settings, seed=2)
    np.testing.assert_array_equal(first.grey, again.grey)
    assert not np.array_equal(first.grey, other.grey)
    first.save(tmp_path / "views.npz")
    kept = load_views(tmp_path / "views.npz", origin=first.origin)
    np.testing.assert_array_equal(kept.grey, first.grey)
    np.testing.assert_array_equal(kept.answers, first.answers)


def test_a_file_that_holds_no_views_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"cannot read the labelled views in none\.npz"):
        load_views(tmp_path / "none.npz", origin="")
    np.savez(tmp_path / "other.npz", grey=np.zeros((1, 8, 8), np.uint8))
    with pytest.raises(DatasetError, match=r"cannot read the labelled views in other\.npz"):
        load_views(tmp_path / "other.npz", origin="")


def test_views_of_other_pictures_draws_or_teachers_are_refused(tmp_path: Path) -> None:
    views(PLAIN).save(tmp_path / "views.npz")
    both, pictures = ["one", "another"], halves(64)
    as_it_was = drawn_evenly(PLAIN)
    kept = views_origin(pictures, as_it_was, teachers=both)
    assert load_views(tmp_path / "views.npz", origin=kept).origin == kept
    for origin in (
        views_origin(halves(66), as_it_was, teachers=both),
        views_origin(pictures, as_it_was, teachers=["one", "a third"]),
        views_origin(pictures, replace(as_it_was, seed=2), teachers=both),
        views_origin(pictures, replace(as_it_was, count=2 * BATCH), teachers=both),
        views_origin(pictures, replace(as_it_was, side_px=24), teachers=both),
        views_origin(pictures, replace(as_it_was, weights=np.eye(64)[0]), teachers=both),
        views_origin(pictures, drawn_evenly(replace(PLAIN, mix_share=0.3)), teachers=both),
    ):
        with pytest.raises(DatasetError, match="remove it, or give another --out"):
            load_views(tmp_path / "views.npz", origin=origin)


def test_batches_mix_answers_with_labels_and_mirror_half_of_the_views() -> None:
    side = np.zeros((1, 8, 8), np.uint8)
    side[:, :, :4] = 200
    bank = LabelledViews(
        grey=side,
        answers=np.eye(7, dtype=np.float16)[[0]],
        labels=np.eye(7, dtype=np.float16)[[1]],
        origin="",
    )
    batches = ViewBatches(bank, answer_share=0.75, batch_size=64, steps_per_epoch=3, seed=5)
    crops, targets = batches[0]
    assert crops.shape == (64, 8, 8, 1)
    np.testing.assert_allclose(targets[:, :2], np.tile([0.75, 0.25], (64, 1)))
    assert 10 < int((crops[:, 0, 0, 0] > 0).sum()) < 54
    np.testing.assert_array_equal(batches[0][0], crops)
    assert not np.array_equal(batches[1][0], crops)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--views", "500"], "--views needs a --teacher RUN"),
        (["--views", "500", "--teacher", "run", "--labels-only"], "leave out --add-labels and --labels-only"),
    ],
)
def test_distil_refuses_what_views_cannot_go_with(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_models_commands(parser.add_subparsers(dest="command", required=True))
    words = ["models", "distil", "--data", str(tmp_path), "--out", str(tmp_path / "out"), *options]
    arguments = parser.parse_args(words)
    assert arguments.handler(arguments) != 0
    assert message in "".join(itertools.chain(*capsys.readouterr()))


def test_a_student_learns_from_views_and_refuses_those_of_another_size(tmp_path: Path) -> None:
    from models.training.expression.training.train import train
    from models.training.expression.training.training_config import TrainingConfig, TrainingSettings

    config = TrainingConfig(
        network={"input_side_px": 16, "stem_channels": 8, "stages": ((8, 1),)},
        training=TrainingSettings(
            epochs=3, epoch_pictures=256, batch_size=32, peak_learning_rate=0.05, ema_decay=0.8
        ),
        augmentation=PLAIN,
    )
    validation = replace(halves(32), digests=tuple(f"{1000 + i:064x}" for i in range(32)))
    parts = {"training": halves(64), "validation": validation}
    result = train(config, out=tmp_path / "run", views=views(PLAIN), **parts)
    assert result.validation["halves_accuracy"] > 0.9
    wide = replace(config, network={**config.network, "input_side_px": 24})
    with pytest.raises(DatasetError, match="the views have 16 px, the network reads 24 px"):
        train(wide, out=tmp_path / "wide", views=views(PLAIN), **parts)
