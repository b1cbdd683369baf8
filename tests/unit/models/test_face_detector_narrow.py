"""The narrow beginning: what it replaces, and that training brings it back to the source network."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="building the detector needs the train extra")

from models.training.face_detector.building import build
from models.training.face_detector.building.flatbuffer import Operation, SourceNetwork
from models.training.face_detector.building.graph import build_probe
from models.training.face_detector.building.narrow import REPLACED_BLOCKS, front_output, narrow_beginning
from models.training.face_detector.building.quantise import blocks
from models.training.face_detector.building.recover import recover, recover_front
from models.training.face_detector.building.wheel import SourceWheel

CHANNELS = 8
WINDOW = {"strideH": 1, "strideW": 1, "padding": 0}
HALVING = {"strideH": 2, "strideW": 2, "padding": 0}
BOXES, SCORES = 90, 91


def source_network() -> SourceNetwork:
    """Four activations on the way to a 32 x 32 map, one block behind it, and the two heads."""
    rng = np.random.default_rng(5)
    constants: dict[int, np.ndarray] = {}
    operations: list[Operation] = []

    def convolve(source: int, inputs: int, outputs: int, target: int, options: dict[str, int]) -> int:
        constants[100 + target] = rng.normal(0, 0.3, (outputs, 3, 3, inputs)).astype(np.float32)
        constants[200 + target] = rng.normal(0, 0.1, outputs).astype(np.float32)
        weights = (source, 100 + target, 200 + target)
        operations.append(Operation(kind="CONV_2D", inputs=weights, output=target, options=options))
        return target

    tensor, inputs = 0, 3
    for index, options in enumerate((HALVING, WINDOW, WINDOW, HALVING, WINDOW)):
        convolve(tensor, inputs, CHANNELS, 2 * index + 1, options)
        operations.append(Operation(kind="RELU", inputs=(2 * index + 1,), output=2 * index + 2))
        tensor, inputs = 2 * index + 2, CHANNELS
    for target, outputs in ((BOXES, 16), (SCORES, 1)):
        convolve(tensor, CHANNELS, outputs, target - 10, WINDOW)
        shape = {"newShape": np.array([1, -1, outputs])}
        operations.append(Operation(kind="RESHAPE", inputs=(target - 10,), output=target, options=shape))
    names = {i: f"t{i}" for i in (*range(11), *constants, BOXES - 10, SCORES - 10)}
    names |= {BOXES: "regressors", SCORES: "classificators"}
    return SourceNetwork(
        operations=tuple(operations), constants=constants, names=names, input=0, outputs=(BOXES, SCORES)
    )


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)
    return small.repeat(16, axis=1).repeat(16, axis=2)


def features(network: SourceNetwork, pictures: np.ndarray) -> np.ndarray:
    probe = build_probe(network, [front_output(network)])
    return np.asarray(probe(pictures.astype(np.float32) / 127.5 - 1.0, training=False))


def test_only_the_beginning_is_replaced_and_blocks_keep_their_numbers() -> None:
    source = source_network()
    narrow = narrow_beginning(source, seed=0)
    meeting = front_output(source)
    assert front_output(narrow) == meeting
    after = [o for o in source.operations if o.output > meeting]
    assert list(narrow.operations[-len(after) :]) == after
    assert not {o.output for o in source.operations if o.output < meeting} & {
        o.output for o in narrow.operations
    }
    assert blocks(narrow)[meeting] == blocks(source)[meeting] == REPLACED_BLOCKS - 1
    assert features(narrow, np.zeros((1, 128, 128, 3))).shape == (1, 32, 32, CHANNELS)


def test_the_beginning_learns_the_source_network_s_features_and_leaves_the_rest(pictures: np.ndarray) -> None:
    source = source_network()
    narrow = narrow_beginning(source, seed=0)
    losses: list[float] = []
    trained = recover_front(
        source, narrow, pictures, steps=40, seed=0, progress=lambda _step, loss: losses.append(loss)
    )

    def error(network: SourceNetwork) -> float:
        return float(np.square(features(network, pictures) - features(source, pictures)).mean())

    assert len(losses) == 40
    assert error(trained) < 0.5 * error(narrow)
    for index in source.constants:
        np.testing.assert_array_equal(trained.constants[index], source.constants[index])


def test_a_network_like_its_teacher_loses_nothing_and_a_changed_one_comes_back(pictures: np.ndarray) -> None:
    source = source_network()
    key = 100 + 9  # the convolution behind the meeting point
    changed = replace(
        source, constants={**source.constants, key: (source.constants[key] * 0.7).astype(np.float32)}
    )
    losses: dict[str, list[float]] = {"same": [], "changed": []}
    for name, student in (("same", source), ("changed", changed)):
        recover(
            source,
            student,
            pictures,
            steps=30,
            rate=2e-3,
            seed=0,
            progress=lambda _step, loss, name=name: losses[name].append(loss),
        )
    assert losses["same"][0] == pytest.approx(0.0, abs=1e-6)
    assert losses["changed"][-1] < 0.5 * losses["changed"][0]


@pytest.mark.parametrize("with_narrow", [False, True])
def test_a_family_with_a_narrow_variant_says_so_and_how_it_was_made(
    tmp_path: Path, with_narrow: bool
) -> None:
    for name in (build.INT8_FILE, build.FLOAT32_FILE, build.NARROW_FILE):
        (tmp_path / name).write_bytes(b"network")
    wheel = SourceWheel(name="w", sha256="0" * 64, network=b"", network_sha256="1" * 64, licence="")
    measured = {"int8_score_shift": 0.1} | ({"narrow_score_shift": 0.2} if with_narrow else {})
    manifest = build.describe(wheel, tmp_path, now=datetime(2026, 1, 1, tzinfo=UTC), measured=measured)
    assert ("narrow" in {v.id for v in manifest.variants}) is with_narrow
    assert manifest.command.endswith("--narrow") is with_narrow
    assert manifest.default_variant == "int8"
