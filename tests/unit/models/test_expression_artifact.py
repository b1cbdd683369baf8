import argparse
import os
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.cards.render import render_card
from models.cli import add_models_commands
from models.errors import ArtifactDigestError, ManifestError
from models.expression.loading import EXPRESSION_DIR, load_expression
from models.expression.preprocessing import prepare_batch
from models.expression.taxonomy import LABELS
from models.runtime.manifest import load_manifest, write_manifest

INT8_OPERATORS = {"ADD", "CONV_2D", "DEQUANTIZE", "FULLY_CONNECTED", "MEAN", "QUANTIZE"}


def command(*words: str) -> int:
    parser = argparse.ArgumentParser(prog="countenance")
    add_models_commands(parser.add_subparsers(required=True))
    arguments = parser.parse_args(["models", *words])
    return int(arguments.handler(arguments))


def test_the_shipped_manifest_describes_what_serving_expects() -> None:
    artifact = load_expression()
    assert artifact.manifest.labels == LABELS
    assert artifact.manifest.parameters["crop_side_px"] == 96
    assert artifact.manifest.parameters["macs"] <= 35_000_000
    assert artifact.manifest.parameters["network_parameters"] <= 2_000_000
    for variant in artifact.manifest.variants:
        assert len(artifact.manifest.read(variant.id)) == variant.size_bytes < 5_000_000


def test_changed_bytes_are_refused(tmp_path: Path) -> None:
    shutil.copytree(EXPRESSION_DIR, tmp_path / "copy")
    path = tmp_path / "copy" / "expression.int8.tflite"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtifactDigestError):
        load_expression(tmp_path / "copy").manifest.read("int8")


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "detector"},
        {"labels": LABELS[::-1]},
        {"parameters": {"temperature": 0.0}},
        {"parameters": {}},
        {"outputs": ()},
    ],
)
def test_a_manifest_of_another_layout_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    write_manifest(replace(load_manifest(EXPRESSION_DIR), directory=tmp_path, **change))  # type: ignore[arg-type]
    with pytest.raises(ManifestError):
        load_expression(tmp_path)


@pytest.mark.parametrize("variant", ["int8", "float32"])
def test_a_batch_scores_as_its_crops_do_one_by_one(variant: str) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT")
    from models.training.expression.evaluation.engines import LiteRtNetwork

    artifact = load_expression()
    network = LiteRtNetwork(artifact.manifest.read(variant))
    coarse = np.random.default_rng(0).integers(0, 256, (7, 12, 12), np.uint8)
    batch = prepare_batch([cv2.resize(c, (96, 96)) for c in coarse], side_px=artifact.input_side_px)
    together = network(batch)
    assert together.shape == (7, 7)
    np.testing.assert_allclose(np.concatenate([network(row[None]) for row in batch]), together, atol=1e-4)


def test_the_int8_file_holds_only_operators_with_int8_kernels() -> None:
    pytest.importorskip("ai_edge_litert", reason="needs LiteRT")
    from models.training.expression.evaluation.engines import LiteRtNetwork

    assert set(LiteRtNetwork(load_expression().manifest.read("int8")).operators()) <= INT8_OPERATORS


def test_the_card_states_terms_figures_and_forbidden_uses(figures: dict[str, object]) -> None:
    card = render_card(load_manifest(EXPRESSION_DIR), figures)
    assert "Research and evaluation only until rights are cleared" in card
    assert "0.812 [0.790, 0.830]" in card
    assert "In a workplace or in education".lower() in card.lower()
    assert "| disgust |" in card


@pytest.fixture
def figures() -> dict[str, object]:
    share = dict.fromkeys(LABELS, 0.5) | {"disgust": None}
    model = {
        "n": 100,
        "accuracy": 0.812,
        "accuracy_95": [0.79, 0.83],
        "macro_recall": 0.7,
        "macro_recall_95": [0.6, 0.8],
        "recall": share,
        "recall_95": {label: [0.4, 0.6] for label in LABELS},
        "confusion": [[1] * 6] * 6,
        "ece_15": 0.03,
        "coverage_at_threshold": 0.4,
        "accuracy_at_threshold": 0.98,
    }
    return {
        "measured": "2026-01-01T00:00:00Z",
        "sets": {"rafdb": {"int8": model, "float32": model, "int8_loss_points": [0.1, -0.2, 0.4]}},
        "headline": {"accuracy_at_threshold": 0.98},
    }


@pytest.mark.data
@pytest.mark.filterwarnings("default")
def test_the_shipped_int8_network_beats_the_floor_on_its_test_sets() -> None:
    folder = os.environ.get("COUNTENANCE_DATA")
    if not folder or not (Path(folder) / "rafdb.zip").exists():
        pytest.skip("COUNTENANCE_DATA does not name the data folder")
    from models.training.expression.evaluation.engines import litert_predictor
    from models.training.expression.evaluation.evaluate import load_test_sets
    from models.training.expression.evaluation.scoring import accuracy, macro_recall

    artifact = load_expression()
    predict = litert_predictor(artifact.manifest.read("int8"), side_px=artifact.input_side_px)
    sets = {s.name: s for s in load_test_sets(Path(folder))}
    predicted = {name: predict(list(sets[name].crops))[:, :6].argmax(axis=1) for name in ("rafdb", "ferplus")}
    # mini_XCEPTION, measured by `countenance models evaluate` on the same pictures.
    assert accuracy(sets["rafdb"].labels, predicted["rafdb"]) > 0.645
    assert macro_recall(sets["rafdb"].labels, predicted["rafdb"]) > 0.553
    assert accuracy(sets["ferplus"].labels, predicted["ferplus"]) > 0.764
