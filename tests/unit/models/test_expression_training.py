import argparse
import itertools
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.cli import add_models_commands
from models.errors import DatasetError
from models.expression.taxonomy import LABELS
from models.training.expression.data.augmentation import AugmentationSettings
from models.training.expression.data.datasets import PackedFaces
from models.training.expression.training.training_config import TrainingConfig, TrainingSettings

keras = pytest.importorskip("keras", reason="needs the train extra")

# Converters and runtimes warn about their own internals.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.slow]

CONFIG = TrainingConfig(
    network={"input_side_px": 24, "stem_channels": 8, "stages": ((8, 1), (16, 1))},
    training=TrainingSettings(
        epochs=4, epoch_pictures=256, batch_size=32, peak_learning_rate=0.05, ema_decay=0.8
    ),
    augmentation=AugmentationSettings(rotation_deg=2, shift=0.02, cover_share=0, coarse_min_px=16),
)


def stripes(label: int, seed: int) -> np.ndarray:
    """A texture that tells its label: stripes of one of six directions."""
    angle = np.pi * (label % 3) / 6 + (np.pi / 2 if label >= 3 else 0)
    ys, xs = np.mgrid[0:32, 0:32]
    wave = np.sin((xs * np.cos(angle) + ys * np.sin(angle)) * 0.8 + np.random.default_rng(seed).uniform(0, 6))
    return (127 + 90 * wave).astype(np.uint8)


def faces(count: int, first_seed: int) -> PackedFaces:
    # Mirrored stripes of other directions coincide, so only those that mirror onto themselves are used.
    labels = np.arange(count) % 2 * 3
    return PackedFaces(
        grey=np.stack([stripes(int(label), first_seed + i) for i, label in enumerate(labels)]),
        targets=np.eye(7, dtype=np.float32)[labels],
        labels=labels.astype(np.int64),
        sources=("stripes",) * count,
        digests=tuple(f"{first_seed + i:064x}" for i in range(count)),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from models.training.expression.training.train import train

    out = tmp_path_factory.mktemp("run")
    train(CONFIG, training=faces(128, 0), validation=faces(64, 1000), out=out)
    return out


def test_training_learns_what_can_be_seen(run: Path) -> None:
    history = json.loads((run / "history.json").read_text("utf-8"))
    assert len(history) == 4
    assert history[-1]["stripes_accuracy"] > 0.9


def test_a_run_goes_on_after_its_last_finished_epoch(run: Path, tmp_path: Path) -> None:
    import shutil
    from dataclasses import replace

    from models.training.expression.training.train import train

    shutil.copytree(run, tmp_path / "run")
    longer = replace(CONFIG, training=replace(CONFIG.training, epochs=5))
    train(longer, training=faces(128, 0), validation=faces(64, 1000), out=tmp_path / "run", resume=True)
    history = json.loads((tmp_path / "run" / "history.json").read_text("utf-8"))
    assert [row["epoch"] for row in history] == [0, 1, 2, 3, 4]


def test_training_on_validation_pictures_is_refused(tmp_path: Path) -> None:
    from models.training.expression.training.train import train

    with pytest.raises(DatasetError, match="also a training picture"):
        train(CONFIG, training=faces(32, 0), validation=faces(32, 0), out=tmp_path)


def test_the_schedule_ends_at_zero_by_steps_or_by_time() -> None:
    from models.training.expression.training.train import learning_rate

    rates = [learning_rate(p / 100, peak=0.1, warmup_share=0.05) for p in range(101)]
    assert max(rates) == pytest.approx(0.1)
    assert rates[0] < 0.01
    assert rates[-1] == pytest.approx(0.0)


def test_the_exported_family_agrees_with_itself(run: Path, tmp_path: Path) -> None:
    from datetime import UTC, datetime

    from models.runtime.manifest import load_manifest
    from models.training.expression.evaluation.engines import keras_predictor, litert_predictor
    from models.training.expression.exporting.artifact import ExportRequest, export_artifact, rebuild_float32

    validation = faces(60, 2000)
    outside = [np.full((32, 32), level, np.uint8) for level in range(0, 250, 5)]
    export_artifact(
        rebuild_float32(run / "averaged.keras", CONFIG),
        training=faces(60, 0),
        validation=validation,
        out=tmp_path,
        request=ExportRequest(version="0", command="-", created=datetime(2026, 1, 1, tzinfo=UTC), sources=()),
        config=CONFIG,
        outside=outside,
    )
    manifest = load_manifest(tmp_path)
    pictures = list(validation.grey)
    full = litert_predictor(manifest.read("float32"), side_px=24)(pictures)
    trained = keras_predictor(tmp_path / "expression.keras", side_px=24)(pictures)
    quantised = litert_predictor(manifest.read("int8"), side_px=24)(pictures)
    np.testing.assert_allclose(full, trained, atol=1e-3)
    assert (quantised.argmax(axis=1) == full.argmax(axis=1)).mean() > 0.95
    assert 0.2 <= manifest.parameters["temperature"] <= 5


def test_the_prior_of_an_audience_is_folded_into_the_offsets_of_the_last_layer(run: Path) -> None:
    from datetime import UTC, datetime

    from models.expression.preprocessing import resize_grey, standardise
    from models.expression.prior import AUDIENCE, PRIORS
    from models.training.expression.exporting.artifact import (
        ExportRequest,
        carried_prior,
        fold_prior,
        rebuild_float32,
    )

    validation = faces(60, 2000)
    crops = standardise(np.stack([resize_grey(grey, 24) for grey in validation.grey]))
    before = rebuild_float32(run / "averaged.keras", CONFIG)
    after = rebuild_float32(run / "averaged.keras", CONFIG)
    trained = (0.3, 0.1, 0.1, 0.3, 0.1, 0.1)
    request = ExportRequest(version="1", command="c", created=datetime.now(UTC), sources=(), prior=trained)
    shift = fold_prior(after, validation, request)
    plain, moved = (model.predict(crops, verbose=0) for model in (before, after))
    np.testing.assert_allclose(moved[:, :6], plain[:, :6] + shift, atol=1e-3)
    np.testing.assert_allclose(moved[:, 6], plain[:, 6], atol=1e-4)
    temperature = float(shift[0] / np.log(PRIORS[AUDIENCE][0] / trained[0]))
    assert temperature > 0
    np.testing.assert_allclose(carried_prior(trained, shift, temperature), PRIORS[AUDIENCE], atol=1e-4)


def test_the_mean_of_two_runs_lies_between_them_and_states_its_prior(run: Path, tmp_path: Path) -> None:
    import shutil

    from models.training.expression.networks.building import load_network

    def command(*words: str) -> int:
        parser = argparse.ArgumentParser()
        add_models_commands(parser.add_subparsers())
        parsed = parser.parse_args(["models", *words])
        return int(parsed.handler(parsed))

    priors = ([0.5, 0.1, 0.1, 0.1, 0.1, 0.1], [0.1, 0.5, 0.1, 0.1, 0.1, 0.1])
    for name, prior in zip("ab", priors, strict=True):
        (tmp_path / name).mkdir()
        shutil.copy(run / "averaged.keras", tmp_path / name)
        (tmp_path / name / "run.json").write_text(json.dumps({"logit_prior": prior, "command": name}))
    other = load_network(tmp_path / "b" / "averaged.keras")
    other.set_weights([w * 3 for w in other.get_weights()])
    other.save(tmp_path / "b" / "averaged.keras")
    assert command("average", f"{tmp_path}/a:3", f"{tmp_path}/b:1", "--out", str(tmp_path / "mean")) == 0
    first, mean = (load_network(tmp_path / n / "averaged.keras").get_weights() for n in ("a", "mean"))
    for was, now in zip(first, mean, strict=True):
        np.testing.assert_allclose(now, was * 1.5, rtol=1e-4, atol=1e-6)
    facts = json.loads((tmp_path / "mean" / "run.json").read_text())
    assert sum(facts["logit_prior"]) == pytest.approx(1, abs=1e-3)
    assert facts["logit_prior"][0] / facts["logit_prior"][1] == pytest.approx(5**0.5, rel=1e-2)
    assert facts["command"] == "a && countenance models average a:3 b:1 --out RUN"
    for words in (("nowhere",), (f"{tmp_path}/a:0",), (f"{tmp_path}/a:much",)):
        assert command("average", *words, "--out", str(tmp_path / "x")) == 2
    (tmp_path / "b" / "run.json").write_text("{}")
    assert command("average", f"{tmp_path}/a:1", f"{tmp_path}/b:1", "--out", str(tmp_path / "x")) == 2


def test_comparing_files_pairs_every_picture_with_the_first_file(run: Path, tmp_path: Path) -> None:
    from models.training.expression.evaluation.compare import compare_files
    from models.training.expression.evaluation.evaluate import TestSet
    from models.training.expression.exporting.artifact import rebuild_float32
    from models.training.expression.exporting.quantise import to_float_tflite

    model = rebuild_float32(run / "averaged.keras", CONFIG)
    right = to_float_tflite(model)
    kernel, bias = model.get_layer("logits").get_weights()
    model.get_layer("logits").set_weights([kernel * 0, bias * 0 + np.eye(7)[3] * 9])
    always_surprised = to_float_tflite(model)
    shown = faces(40, 3000)
    test_set = TestSet(name="stripes", crops=tuple(shown.grey), labels=shown.labels)
    table = compare_files({"a": right, "b": always_surprised}, [test_set], rounds=3)
    assert table["a"]["sets"]["stripes"]["loss_points"] == [0.0, 0.0, 0.0]
    assert table["b"]["sets"]["stripes"]["accuracy"] == 0.5
    lost, low, high = table["b"]["sets"]["stripes"]["loss_points"]
    assert low < lost < high
    assert lost == pytest.approx(100 * (table["a"]["sets"]["stripes"]["accuracy"] - 0.5))
    assert table["a"]["ms_1_thread"] > 0 and table["a"]["ms_2_threads"] > 0


TINY_CONFIG = """
[network]
input_side_px = 24
stem_channels = 8
stages = [[8, 1], [16, 1]]
[training]
epochs = 1
epoch_pictures = 64
batch_size = 16
stored_side_px = 32
validation_share = 0.3
"""


def command(*words: object) -> int:
    parser = argparse.ArgumentParser(prog="countenance")
    add_models_commands(parser.add_subparsers(required=True))
    arguments = parser.parse_args(["models", *map(str, words)])
    return int(arguments.handler(arguments))


def labelled_folder(folder: Path) -> Path:
    pictures = itertools.chain(
        itertools.product(("train",), range(6), range(8)), itertools.product(("test",), range(6), range(2))
    )
    for split, label, index in pictures:
        path = folder / split / LABELS[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), stripes(label, index + 100 * (split == "test")))
    return folder


def test_a_student_of_views_and_hints_goes_on_only_as_it_began(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, teacher, out = labelled_folder(tmp_path / "data"), tmp_path / "teacher", tmp_path / "student"
    (tmp_path / "teacher.toml").write_text(TINY_CONFIG, "utf-8")
    assert command("train", "--data", data, "--config", tmp_path / "teacher.toml", "--out", teacher) == 0

    def distil(*, directions: int = 4, epochs: int = 1, mix_share: float = 0.3, resume: bool = True) -> int:
        config = TINY_CONFIG.replace("epochs = 1", f"epochs = {epochs}\nhint_directions = {directions}")
        mine = tmp_path / "student.toml"
        mine.write_text(f"{config}[augmentation]\nmix_share = {mix_share}\n", "utf-8")
        words = ["--data", data, "--config", mine, "--teacher", teacher, "--views", 128, "--out", out]
        return command("distil", *words, *(["--resume"] if resume else []))

    assert distil(directions=17, resume=False) == 2
    assert "hint_directions must lie in 1..16" in capsys.readouterr().err
    assert not out.exists()
    assert distil(resume=False) == 0
    with np.load(out / "hints.npz") as kept:
        assert kept["values"].shape == (128, 4)
    facts = (out / "run.json").read_text("utf-8")
    drawn = (out / "views.npz").stat().st_mtime_ns

    assert distil(mix_share=0.4) == 2
    assert "drawn otherwise" in capsys.readouterr().err
    assert distil(directions=5) == 2
    assert "holds 4 directions, the configuration asks for 5" in capsys.readouterr().err
    (out / "hints.npz").unlink()
    assert distil(directions=5, epochs=2) == 2
    assert "cannot go on from" in capsys.readouterr().err
    assert (out / "run.json").read_text("utf-8") == facts

    (out / "hints.npz").unlink()
    assert distil(epochs=2) == 0
    assert len(json.loads((out / "history.json").read_text("utf-8"))) == 2
    assert (out / "views.npz").stat().st_mtime_ns == drawn
    assert json.loads((out / "run.json").read_text("utf-8"))["command"].endswith("--resume")


def test_the_commands_lead_from_any_labelled_folder_to_a_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(TINY_CONFIG, "utf-8")
    data, run, artifact = labelled_folder(tmp_path / "data"), tmp_path / "run", tmp_path / "artifact"
    figures, card = tmp_path / "figures.json", tmp_path / "card.md"
    assert command("train", "--data", data, "--config", config, "--out", run) == 0
    network = run / "averaged.keras"
    capsys.readouterr()
    chosen = ("choose", "--data", data, "--config", config, network, f"{network},{network}")
    assert command(*chosen, "--mirrored", "--json") == 0
    alone, mean = json.loads(capsys.readouterr().out).values()
    assert alone == mean and 0 < sum(row["n"] for row in alone["sources"].values()) < 48
    assert command("choose", "--data", data, "--config", config, tmp_path / "none.keras") == 2
    assert "cannot read the network" in capsys.readouterr().err
    assert command("quantise", "--data", data, "--run", run, "--out", tmp_path / "quantised") == 0
    assert command("export", "--data", data, "--run", run, "--out", artifact, "--version", "7") == 0
    assert command("calibrate", "--data", data, "--config", config, "--artifact", artifact) == 0
    capsys.readouterr()
    assert (
        command(
            "evaluate",
            "--data",
            data,
            "--artifact",
            artifact,
            "--out",
            figures,
            "--no-latency",
            "--record",
            "--json",
        )
        == 0
    )
    printed = json.loads(capsys.readouterr().out)
    measured = json.loads(figures.read_text("utf-8"))
    assert printed == measured["headline"]
    assert measured["sets"]["folder"]["int8"]["n"] == 12
    assert command("card", "--artifact", artifact, "--metrics", figures, "--out", card) == 0
    assert card.read_text("utf-8").startswith("# Expression network 7")
    assert str(tmp_path) not in (artifact / "manifest.json").read_text("utf-8")


def test_sampling_gives_sources_their_share_and_lifts_rare_labels() -> None:
    from models.training.expression.training.sampling import sampling_weights

    sources = ("a",) * 90 + ("b",) * 10
    labels = np.array([0] * 80 + [4] * 10 + [1] * 10)
    weights = sampling_weights(sources, labels, source_shares={"a": 0.4, "b": 0.6}, balance=0.5)
    assert weights.sum() == pytest.approx(1.0)
    assert weights[:90].sum() == pytest.approx(0.4)
    assert weights[80:90].sum() / weights[:90].sum() == pytest.approx(1 / (1 + 8**0.5))


def test_batches_depend_on_seed_epoch_and_index_alone() -> None:
    from models.training.expression.training.sampling import AugmentedBatches

    def batches(first_epoch: int) -> AugmentedBatches:
        return AugmentedBatches(
            faces(32, 0),
            weights=np.full(32, 1 / 32),
            batch_size=8,
            steps_per_epoch=3,
            side_px=24,
            label_smoothing=0.1,
            augmentation=CONFIG.augmentation,
            seed=1,
            first_epoch=first_epoch,
        )

    unbroken, resumed = batches(0), batches(1)
    unbroken.on_epoch_end()
    inputs, targets = unbroken[2]
    np.testing.assert_array_equal(inputs, resumed[2][0])
    np.testing.assert_allclose(targets.sum(axis=1), 1.0, rtol=1e-5)
    assert not np.array_equal(inputs, batches(0)[2][0])


def test_the_shipped_network_keeps_its_budget() -> None:
    from models.training.expression.networks.architectures import NetworkSettings, build_network, count_macs
    from models.training.expression.training.training_config import read_config

    model = build_network(NetworkSettings(**read_config().network))
    assert model.count_params() <= 2_000_000
    assert count_macs(model) <= 35_000_000
