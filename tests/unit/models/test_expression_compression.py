from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from models.errors import ArtifactDigestError, DatasetError
from models.training.expression.data.datasets import PackedFaces
from models.training.expression.networks.architectures import NetworkSettings, build_network, count_macs
from models.training.expression.networks.face_weights import N_CONVOLUTIONS, read_face_layers
from models.training.expression.training.soft_labels import (
    SoftLabels,
    average_answers,
    label_softly,
    load_soft_labels,
    mix_labels,
    soften,
    write_labels_artifact,
)

keras = pytest.importorskip("keras", reason="needs the train extra")

pytestmark = [pytest.mark.filterwarnings("default")]

SETTINGS = NetworkSettings(input_side_px=24, stem_channels=8, stages=((16, 1), (32, 2)), dropout=0.0)
TABLE = {"input_side_px": 24, "stem_channels": 8, "stages": ((16, 1), (32, 2)), "dropout": 0.0}


def network(seed: int = 0) -> "keras.Model":
    """A network whose batch normalisation has seen something, so that folding it is no trifle."""
    keras.utils.set_random_seed(seed)
    model = build_network(SETTINGS)
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            width = layer.gamma.shape[0]
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, width),
                    rng.normal(0, 0.2, width),
                    rng.normal(0, 0.2, width),
                    rng.uniform(0.5, 2, width),
                ]
            )
    return model


def crops(count: int = 16) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 1, (count, 24, 24, 1)).clip(-3, 3).astype(np.float32)


def test_channels_that_let_nothing_through_are_dropped_without_a_trace() -> None:
    from models.training.expression.exporting.prune import prune_network

    model = network()
    rng = np.random.default_rng(5)
    for block, inner in (("s0b0", 16), ("s1b0", 32), ("s1b1", 32)):
        gamma, beta, mean, variance = model.get_layer(f"{block}_a_bn").get_weights()
        dead = rng.permutation(inner)[: inner // 2]
        gamma[dead], beta[dead] = 0.0, 0.0
        model.get_layer(f"{block}_a_bn").set_weights([gamma, beta, mean, variance])
    narrow, table = prune_network(model, TABLE, keep=0.5)
    assert table["inner_channels"] == [8, 16, 16]
    assert count_macs(narrow) < 0.7 * count_macs(model)
    np.testing.assert_allclose(np.asarray(narrow(crops())), np.asarray(model(crops())), atol=1e-4)


def test_only_a_residual_network_can_be_pruned_and_only_by_a_share() -> None:
    from models.training.expression.exporting.prune import prune_network

    with pytest.raises(DatasetError, match="residual"):
        prune_network(network(), {**TABLE, "kind": "face"}, keep=0.5)
    with pytest.raises(DatasetError, match="keep"):
        prune_network(network(), TABLE, keep=0.0)


def test_folding_changes_no_answer_and_rounding_only_a_little() -> None:
    from models.training.expression.exporting.rounding import build_rounded, fold_network, unround

    model = network()
    answer = np.asarray(model(crops(), training=False))
    folded = fold_network(model, SETTINGS)
    np.testing.assert_allclose(np.asarray(folded(crops())), answer, atol=1e-4)
    rounded = build_rounded(folded, SETTINGS, crops())
    difference = np.abs(np.asarray(rounded(crops())) - answer).max()
    assert 1e-5 < difference < 0.2 * answer.std()
    np.testing.assert_allclose(np.asarray(unround(rounded, SETTINGS)(crops())), answer, atol=1e-4)


@pytest.mark.slow
def test_a_rounded_network_learns_although_rounding_has_no_slope() -> None:
    from models.training.expression.exporting.rounding import build_rounded, fold_network, recover_rounded

    rounded = build_rounded(fold_network(network(), SETTINGS), SETTINGS, crops())
    targets = np.eye(7, dtype=np.float32)[np.arange(16) % 7]
    losses = recover_rounded(rounded, iter([(crops(), targets)] * 60), peak=0.05, steps=60)
    assert losses[-1] < 0.7 * losses[0]


def faces(count: int) -> PackedFaces:
    rng = np.random.default_rng(0)
    return PackedFaces(
        grey=rng.integers(0, 255, (count, 32, 32), dtype=np.uint8),
        targets=np.eye(7, dtype=np.float32)[np.arange(count) % 7],
        labels=(np.arange(count) % 7).astype(np.int64),
        sources=("made",) * count,
        digests=tuple(f"{(i * 7919) % 65536:04x}{i:060x}" for i in range(count)),
    )


def test_soft_labels_find_their_picture_by_digest_alone(tmp_path: Path) -> None:
    packed = faces(70)

    def teacher(crops: np.ndarray) -> np.ndarray:
        return np.tile(np.arange(7, dtype=np.float32), (len(crops), 1))

    made = label_softly(packed, [(teacher, 24)])
    manifest = write_labels_artifact(
        made,
        tmp_path / "labels",
        command="-",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        sources=(),
        validation_share=0.1,
    )
    labels = load_soft_labels(tmp_path / "labels")
    assert manifest.variant().size_bytes < 70 * 40
    known, found = labels.lookup([packed.digests[5], "f" * 64])
    assert known.tolist() == [True, False]
    expected = np.exp(np.arange(7)) / np.exp(np.arange(7)).sum()
    np.testing.assert_allclose(found[0], expected, atol=1e-3)
    assert not found[1].any()
    softened = soften(packed, labels, share=0.5)
    np.testing.assert_allclose(softened.targets[3], 0.5 * packed.targets[3] + 0.5 * expected, atol=1e-3)


def test_earlier_soft_labels_are_averaged_with_new_ones_about_the_same_pictures() -> None:
    def labels(keys: list[int], column: int) -> SoftLabels:
        answers = np.eye(7, dtype=np.float16)[[column] * len(keys)]
        return SoftLabels(keys=np.array(keys, np.uint64), probabilities=answers)

    mixed = mix_labels(labels([3, 5], 0), labels([3, 5], 6), weight=0.25)
    assert mixed.keys.tolist() == [3, 5]
    assert mixed.probabilities.tolist() == [[0.75, 0, 0, 0, 0, 0, 0.25]] * 2
    with pytest.raises(
        DatasetError, match="for 2 pictures and the earlier ones for 3, of which they share 1"
    ):
        mix_labels(labels([3, 5], 0), labels([1, 3, 7], 6), weight=0.25)
    with pytest.raises(DatasetError, match=r"\[0, 1\], not 1\.5"):
        mix_labels(labels([3, 5], 0), labels([3, 5], 6), weight=1.5)


def test_a_file_without_soft_labels_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", keys=np.zeros(3), probabilities=np.zeros((3, 7)))
    for name in ("other.npz", "missing.npz"):
        with pytest.raises(DatasetError, match=name.split(".")[0]):
            load_soft_labels(tmp_path / name)


def integer(value: int) -> bytes:
    size = max(1, (value.bit_length() + 7) // 8)
    return bytes([size]) + value.to_bytes(size, "little")


def tensor(values: np.ndarray) -> bytes:
    head = integer(2) + integer(values.size) + integer(1) * 3
    return head + values.astype("<f4").tobytes()


def face_file(path: Path, *, convolutions: int = N_CONVOLUTIONS) -> np.ndarray:
    """Write a file laid out as dlib does, all layers with two filters; returns the first kernel."""
    rng = np.random.default_rng(2)
    content, inputs, first = b"", 3, None
    for index in range(convolutions):
        side = 7 if index == 0 else 3
        kernel = rng.normal(0, 1, (2, inputs, side, side)).astype(np.float32)
        first = kernel if first is None else first
        content += b"con_4" + tensor(np.concatenate([kernel.ravel(), [index, index]]))
        content += integer(2) + integer(side) * 2 + integer(1) * 4
        content += b"affine_" + tensor(np.array([1.0, 2.0, 3.0, 4.0]))
        inputs = 2
    path.write_bytes(content)
    return first


def test_face_weights_are_read_in_the_order_of_the_data(tmp_path: Path) -> None:
    first = face_file(tmp_path / "faces.dat")
    layers = read_face_layers(tmp_path / "faces.dat")
    assert len(layers) == N_CONVOLUTIONS
    np.testing.assert_array_equal(layers[0].kernel, first.transpose(2, 3, 1, 0))
    assert layers[7].bias.tolist() == [7.0, 7.0]
    assert (layers[7].gain.tolist(), layers[7].offset.tolist()) == ([1.0, 2.0], [3.0, 4.0])


def test_another_network_or_half_a_file_is_refused(tmp_path: Path) -> None:
    face_file(tmp_path / "short.dat", convolutions=5)
    with pytest.raises(DatasetError, match="is not dlib_face"):
        read_face_layers(tmp_path / "short.dat")
    face_file(tmp_path / "whole.dat")
    (tmp_path / "cut.dat").write_bytes((tmp_path / "whole.dat").read_bytes()[:-20])
    with pytest.raises(DatasetError, match="damaged"):
        read_face_layers(tmp_path / "cut.dat")


@pytest.mark.slow
def test_the_teacher_starts_as_the_network_whose_weights_it_takes() -> None:
    from models.training.expression.networks.face_network import (
        FaceNetworkSettings,
        build_face_network,
        start_from_faces,
    )
    from models.training.expression.networks.face_weights import FaceLayer

    model = build_face_network(FaceNetworkSettings(input_side_px=32))
    rng = np.random.default_rng(1)
    weights = []
    for index in range(N_CONVOLUTIONS):
        shape = model.get_layer(f"conv{index}").get_weights()[0].shape
        inputs = 3 if index == 0 else shape[2]
        weights.append(
            FaceLayer(
                kernel=rng.normal(0, 0.1, (*shape[:2], inputs, shape[3])).astype(np.float32),
                bias=rng.normal(0, 0.1, shape[3]).astype(np.float32),
                gain=rng.uniform(0.5, 1.5, shape[3]).astype(np.float32),
                offset=rng.normal(0, 0.1, shape[3]).astype(np.float32),
            )
        )
    pictures = rng.normal(0, 1, (8, 32, 32, 1)).astype(np.float32)
    start_from_faces(model, weights, pictures)
    last = N_CONVOLUTIONS - 1
    before = keras.Model(model.input, model.get_layer(f"conv{last}").output)(pictures, training=False)
    after = keras.Model(model.input, model.get_layer(f"norm{last}").output)(pictures, training=False)
    expected = weights[last].gain * (np.asarray(before) + weights[last].bias) + weights[last].offset
    np.testing.assert_allclose(np.asarray(after), expected, rtol=1e-3, atol=1e-3)


def test_the_training_layers_hold_the_weights_of_the_plain_ones() -> None:
    plain, fast = build_network(SETTINGS), build_network(SETTINGS, fast=True)
    fast.set_weights(plain.get_weights())
    np.testing.assert_allclose(
        np.asarray(fast(crops(), training=False)), np.asarray(plain(crops(), training=False)), atol=1e-5
    )


def test_a_teacher_of_six_logits_has_no_say_on_what_is_none_of_them() -> None:
    wide = np.log(np.array([[0.4, 0.1, 0.1, 0.1, 0.1, 0.0001, 0.2]], np.float32))
    narrow = np.log(np.array([[0.1, 0.5, 0.1, 0.1, 0.1, 0.1]], np.float32))
    mean = average_answers([wide, narrow])
    assert mean[0, 6] == pytest.approx(0.2, abs=1e-3)
    assert mean[0, :2].tolist() == pytest.approx([0.8 * (0.5 + 0.1) / 2, 0.8 * (0.125 + 0.5) / 2], abs=1e-3)
    with pytest.raises(DatasetError, match="none of the six"):
        average_answers([narrow])


def test_soft_labels_that_were_changed_are_refused(tmp_path: Path) -> None:
    made = label_softly(faces(14), [(lambda crops: np.zeros((len(crops), 7), np.float32), 24)])
    write_labels_artifact(
        made,
        tmp_path,
        command="-",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        sources=(),
        validation_share=0.1,
    )
    content = bytearray((tmp_path / "teacher_labels.npz").read_bytes())
    content[40] ^= 1
    (tmp_path / "teacher_labels.npz").write_bytes(bytes(content))
    with pytest.raises(ArtifactDigestError):
        load_soft_labels(tmp_path)
