"""The teacher that starts from a MobileNet, and networks that start from another."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from models.errors import DatasetError
from models.training.expression.data.augmentation import AugmentationSettings
from models.training.expression.data.datasets import PackedFaces
from models.training.expression.networks.face_weights import FaceLayer
from models.training.expression.networks.mobile_weights import STEM_CHANNELS, read_mobile_layers
from models.training.expression.training.training_config import TrainingConfig, TrainingSettings

keras = pytest.importorskip("keras", reason="needs the train extra")

# Keras warns about its own internals.
pytestmark = pytest.mark.filterwarnings("default")

CHANNELS = (8, 12, 16)


def write_graph(folder: Path) -> Path:
    """Write the weights of three blocks as TensorFlow.js does, with an odd constant among them."""
    rng = np.random.default_rng(4)
    shapes: dict[str, tuple[int, ...]] = {
        "conv1/convolution/merged_input": (3, 3, 3, STEM_CHANNELS),
        "conv1_bn/batchnorm_1/sub": (STEM_CHANNELS,),
        "conv1_relu/Cast": (),
        "global_pooling/Mean/reduction_indices": (2,),
    }
    inputs = STEM_CHANNELS
    for i, channels in enumerate(CHANNELS, start=1):
        shapes |= {
            f"conv_dw_{i}/depthwise_kernel": (3, 3, inputs, 1),
            f"conv_dw_{i}_bn/batchnorm_1/mul": (inputs,),
            f"conv_dw_{i}_bn/batchnorm_1/sub": (inputs,),
            f"conv_pw_{i}/convolution/merged_input": (1, 1, inputs, channels),
            f"conv_pw_{i}_bn/batchnorm_1/sub": (channels,),
        }
        inputs = channels
    content, entries = b"", []
    for name, shape in shapes.items():
        kind = "int32" if "indices" in name else "float32"
        content += rng.normal(0, 0.3, shape).astype("<i4" if kind == "int32" else "<f4").tobytes()
        entries.append({"name": name, "shape": list(shape), "dtype": kind})
    path = folder / "graph.json"
    path.write_text(json.dumps({"weightsManifest": [{"paths": ["graph.bin"], "weights": entries}]}), "utf-8")
    (folder / "graph.bin").write_bytes(content)
    return path


def changed(path: Path, **entry: object) -> Path:
    """Change the entry of the first weight."""
    body = json.loads(path.read_text("utf-8"))
    body["weightsManifest"][0]["weights"][0] |= entry
    path.write_text(json.dumps(body), "utf-8")
    return path


def test_mobile_weights_are_read_by_name(tmp_path: Path) -> None:
    layers = read_mobile_layers(write_graph(tmp_path), block_channels=CHANNELS)
    assert [layer.kernel.shape for layer in layers[:3]] == [
        (3, 3, 3, STEM_CHANNELS),
        (3, 3, STEM_CHANNELS, 1),
        (1, 1, STEM_CHANNELS, CHANNELS[0]),
    ]
    content = np.frombuffer((tmp_path / "graph.bin").read_bytes(), "<f4")
    stem = 27 * STEM_CHANNELS
    np.testing.assert_array_equal(layers[0].kernel.ravel(), content[:stem])
    np.testing.assert_array_equal(layers[0].offset, content[stem : stem + STEM_CHANNELS])
    # Behind the stem lie one float and two integers.
    first = stem + STEM_CHANNELS + 3
    gain = first + 9 * STEM_CHANNELS
    np.testing.assert_array_equal(layers[1].kernel.ravel(), content[first:gain])
    np.testing.assert_array_equal(layers[1].gain, content[gain : gain + STEM_CHANNELS])
    np.testing.assert_array_equal(layers[1].offset, content[gain + STEM_CHANNELS :][:STEM_CHANNELS])
    assert set(layers[2].gain) == {1.0}


def test_other_weights_are_refused(tmp_path: Path) -> None:
    path = write_graph(tmp_path)
    with pytest.raises(DatasetError, match="is not the expected MobileNet: it has no conv_dw_4"):
        read_mobile_layers(path, block_channels=(*CHANNELS, 16))
    with pytest.raises(DatasetError, match=r"conv_pw_3\S+ has shape \(1, 1, 12, 16\), not \(1, 1, 12, 20\)"):
        read_mobile_layers(path, block_channels=(*CHANNELS[:2], 20))
    whole = (tmp_path / "graph.bin").read_bytes()
    (tmp_path / "graph.bin").write_bytes(whole[:-4])
    with pytest.raises(DatasetError, match="is damaged"):
        read_mobile_layers(path, block_channels=CHANNELS)
    (tmp_path / "graph.bin").unlink()
    with pytest.raises(DatasetError, match=r"cannot read .* graph\.bin"):
        read_mobile_layers(path, block_channels=CHANNELS)
    with pytest.raises(DatasetError, match="type float16"):
        read_mobile_layers(changed(path, dtype="float16"), block_channels=CHANNELS)
    with pytest.raises(DatasetError, match=r"no TensorFlow\.js graph model"):
        read_mobile_layers(changed(path, shape="wide"), block_channels=CHANNELS)
    with pytest.raises(DatasetError, match="cannot read"):
        read_mobile_layers(tmp_path / "missing.json")


def convolve(x: np.ndarray, layer: FaceLayer, stride: int) -> np.ndarray:
    """Compute ReLU6(gain * conv(x) + offset) over (n, h, w, c), padded as TensorFlow does, in plain loops."""
    kernel, side = layer.kernel.astype(np.float64), x.shape[1]
    size, out = kernel.shape[0], -(-side // stride)
    missing = max((out - 1) * stride + size - side, 0)
    x = np.pad(x, ((0, 0), *[(missing // 2, missing - missing // 2)] * 2, (0, 0)))
    depthwise = kernel.shape[3] == 1
    total = np.zeros((len(x), out, out, kernel.shape[2 if depthwise else 3]))
    for row in range(size):
        for column in range(size):
            part = x[:, row : row + stride * out : stride, column : column + stride * out : stride][
                :, :out, :out
            ]
            total += part * kernel[row, column, :, 0] if depthwise else part @ kernel[row, column]
    return np.clip(total * layer.gain + layer.offset, 0, 6)


@pytest.mark.parametrize("frozen_blocks", [0, 2])
def test_the_mobile_teacher_starts_as_the_network_whose_weights_it_takes(
    tmp_path: Path, frozen_blocks: int
) -> None:
    from models.training.expression.networks.face_network import start_from_faces
    from models.training.expression.networks.mobile_network import MobileNetworkSettings, build_mobile_network

    layers = read_mobile_layers(write_graph(tmp_path), block_channels=CHANNELS)
    model = build_mobile_network(
        MobileNetworkSettings(input_side_px=18, frozen_blocks=frozen_blocks, block_channels=CHANNELS)
    )
    crops = np.random.default_rng(5).normal(0, 1, (6, 18, 18, 1)).astype(np.float32)
    start_from_faces(model, layers, crops, input_gain=2.0)
    expected = np.repeat(crops.astype(np.float64) * 2.0, 3, axis=3)
    for index, layer in enumerate(layers):
        expected = convolve(expected, layer, stride=2 if index in (0, 3) else 1)
    assert expected.std() > 0.1
    pooled = keras.Model(model.input, model.get_layer("pool").output)
    for training in (False, True)[: 1 + (frozen_blocks == 0)]:
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(pooled(crops, training=training)),
            expected.mean(axis=(1, 2)),
            rtol=1e-3,
            atol=1e-3,
        )


CONFIG = TrainingConfig(
    network={"kind": "face_mobile", "input_side_px": 18, "frozen_blocks": 1, "block_channels": CHANNELS},
    training=TrainingSettings(epochs=1, epoch_pictures=32, batch_size=16),
    augmentation=AugmentationSettings(),
)


def faces(count: int, first: int) -> PackedFaces:
    rng = np.random.default_rng(first)
    return PackedFaces(
        grey=rng.integers(0, 255, (count, 18, 18), dtype=np.uint8),
        targets=np.eye(7, dtype=np.float32)[np.arange(count) % 6],
        labels=(np.arange(count) % 6).astype(np.int64),
        sources=("made",) * count,
        digests=tuple(f"{first + i:064x}" for i in range(count)),
    )


def test_frozen_blocks_stay_as_they_were_and_the_others_learn(tmp_path: Path) -> None:
    from models.training.expression.networks.building import build_from_table, load_network
    from models.training.expression.training.train import train

    started = build_from_table(CONFIG.network)
    result = train(
        CONFIG,
        training=faces(32, 0),
        validation=faces(12, 1000),
        out=tmp_path,
        prepare=lambda model: model.set_weights(started.get_weights()),
    )
    trained = load_network(result.model_path)
    for layer in started.layers:
        pairs = zip(layer.get_weights(), trained.get_layer(layer.name).get_weights(), strict=True)
        same = [np.array_equal(before, after) for before, after in pairs]
        frozen = layer.name in ("conv0", "conv1", "conv2")
        assert same == [frozen] * len(same), layer.name


def test_a_student_starts_from_a_network_of_its_own_shape_only(tmp_path: Path) -> None:
    from models.training.expression.networks.building import build_from_table
    from models.training.expression.training.starting import from_network

    table = {"input_side_px": 24, "stem_channels": 4, "stages": ((4, 1), (8, 1))}
    earlier = build_from_table(table)
    earlier.save(tmp_path / "earlier.keras")
    start = from_network(tmp_path / "earlier.keras")
    fast = build_from_table(table, fast=True)
    start(fast)
    for before, after in zip(earlier.get_weights(), fast.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    with pytest.raises(
        DatasetError, match=r"it has s1b0_a_conv/kernel \(3, 3, 4, 8\) where .* \(3, 3, 4, 9\)"
    ):
        start(build_from_table({**table, "stages": ((4, 1), (9, 1))}))
    with pytest.raises(
        DatasetError, match=r"input \(24, 24, 1\) where the configuration asks for input \(32"
    ):
        start(build_from_table({**table, "input_side_px": 32}))
    with pytest.raises(DatasetError, match=r"it has logits/kernel .* s2b0"):
        start(build_from_table({**table, "stages": ((4, 1), (8, 1), (8, 1))}))


def test_a_start_that_is_no_network_is_refused(tmp_path: Path) -> None:
    from models.training.expression.training.starting import from_network

    (tmp_path / "text.keras").write_text("no network", "utf-8")
    for name in ("text.keras", "missing.keras"):
        with pytest.raises(DatasetError, match=f"cannot read the network .*{name}"):
            from_network(tmp_path / name)
