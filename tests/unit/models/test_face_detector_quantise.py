"""How the detector becomes int8: exact rescalings, ranges, levelling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("tensorflow", reason="quantising needs the train extra")

from models.training.face_detector.building.equalise import (
    ChannelPeaks,
    balance_blocks,
    rescale_stream,
    stream_factors,
)
from models.training.face_detector.building.flatbuffer import Operation, SourceNetwork
from models.training.face_detector.building.graph import build_probe, read_weights
from models.training.face_detector.building.level import score_shift
from models.training.face_detector.building.quantise import (
    best_range,
    blocks,
    channel_peaks,
    int8_tensors,
    scale_pixels,
    value_ranges,
)

PIXELS, STEM, STEM_ON, DEEP, POINT, SUM, BODY, HEAD, FLAT = range(9)
STRIDED = {"strideH": 2, "strideW": 2, "padding": 0}
PLAIN = {"strideH": 1, "strideW": 1, "padding": 0}


def tiny_network() -> SourceNetwork:
    rng = np.random.default_rng(3)

    def weights(*shape: int) -> np.ndarray:
        spread = np.exp(rng.normal(0, 1, shape[-1]))
        return (rng.normal(0, 0.3, shape) * spread).astype(np.float32)

    constants = {
        20: weights(6, 3, 3, 3), 21: weights(6),
        22: weights(1, 3, 3, 6), 23: weights(6),
        24: weights(6, 1, 1, 6), 25: weights(6),
        26: weights(2, 1, 1, 6), 27: weights(2),
    }  # fmt: skip
    operations = (
        Operation(kind="CONV_2D", inputs=(PIXELS, 20, 21), output=STEM, options=STRIDED),
        Operation(kind="RELU", inputs=(STEM,), output=STEM_ON),
        Operation(kind="DEPTHWISE_CONV_2D", inputs=(STEM_ON, 22, 23), output=DEEP, options=PLAIN),
        Operation(kind="CONV_2D", inputs=(DEEP, 24, 25), output=POINT, options=PLAIN),
        Operation(kind="ADD", inputs=(STEM_ON, POINT), output=SUM),
        Operation(kind="RELU", inputs=(SUM,), output=BODY),
        Operation(kind="CONV_2D", inputs=(BODY, 26, 27), output=HEAD, options=PLAIN),
        Operation(kind="RESHAPE", inputs=(HEAD,), output=FLAT, options={"newShape": np.array([1, -1, 1])}),
    )
    names = {i: f"t{i}" for i in range(9)}
    return SourceNetwork(
        operations=operations, constants=constants, names=names, input=PIXELS, outputs=(FLAT,)
    )


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), np.uint8)


def output(network: SourceNetwork, pixels: np.ndarray) -> np.ndarray:
    return np.asarray(build_probe(network, [FLAT, HEAD])(pixels, training=False)[0])


def test_equalising_changes_ranges_but_no_output(pictures: np.ndarray) -> None:
    network, pixels = tiny_network(), scale_pixels(pictures)
    peaks = channel_peaks(network, pixels)
    evened = rescale_stream(network, stream_factors(network, peaks))
    evened = balance_blocks(evened, channel_peaks(evened, pixels))
    np.testing.assert_allclose(output(evened, pixels), output(network, pixels), rtol=2e-4, atol=2e-4)


def test_the_stream_as_a_whole_becomes_evener(pictures: np.ndarray) -> None:
    network, pixels = tiny_network(), scale_pixels(pictures)
    before = channel_peaks(network, pixels)
    after = channel_peaks(rescale_stream(network, stream_factors(network, before)), pixels)

    def spread(peaks: ChannelPeaks) -> float:
        return sum(float(np.log(peaks[tensor]).var()) for tensor in (STEM_ON, BODY))

    assert spread(after) < spread(before)


def test_int8_covers_the_middle_and_leaves_stem_heads_and_late_blocks() -> None:
    network = tiny_network()
    assert int8_tensors(network, range(1, 2)) == (STEM_ON, DEEP, POINT, BODY)
    assert int8_tensors(network, range(1, 1)) == (STEM_ON,)
    assert blocks(network)[BODY] == 1


def test_weights_are_rounded_in_the_int8_blocks_alone(pictures: np.ndarray) -> None:
    network = tiny_network()
    ranges = dict.fromkeys(int8_tensors(network, range(1, 2)), (-8.0, 8.0))
    kinds = {layer.name: type(layer).__name__ for layer in build_probe(network, [FLAT], ranges=ranges).layers}
    rounded = {name for name, kind in kinds.items() if kind in ("_RoundedConv2D", "_RoundedDepthwiseConv2D")}
    assert rounded == {f"t{DEEP}", f"t{POINT}"}


def test_rounding_moves_the_output_a_little_and_trains_only_what_becomes_int8(pictures: np.ndarray) -> None:
    network, pixels = tiny_network(), scale_pixels(pictures)
    ranges = value_ranges(network, int8_tensors(network, range(1, 2)), pixels)
    rounded = np.asarray(build_probe(network, [FLAT, HEAD], ranges=ranges)(pixels, training=False)[0])
    exact = output(network, pixels)
    error = np.abs(rounded - exact).mean() / exact.std()
    assert 0 < error < 0.2


def test_weights_read_back_from_a_model_are_the_ones_put_in() -> None:
    network = tiny_network()
    again = read_weights(build_probe(network, [FLAT]), network)
    for index, constant in network.constants.items():
        np.testing.assert_array_equal(again.constants[index], constant)


def test_the_best_range_cuts_off_a_lone_outlier() -> None:
    values = np.random.default_rng(0).normal(0, 1, 400_000).astype(np.float32)
    values[0] = 12.0
    low, high = best_range(values, float(values.min()), 12.0)
    assert high < 10
    assert low < 0


@given(
    st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=60, unique=True),
    st.lists(st.floats(-3, 3, width=32), min_size=3, max_size=60, unique=True),
)
def test_levelled_scores_find_as_many_faces(wanted: list[float], given_logits: list[float]) -> None:
    target = np.array(wanted, np.float32)
    logits = np.array(given_logits, np.float32)
    count = int((target > 0).sum())
    shift = score_shift(target, logits)
    if 0 < count < len(logits):
        assert int((logits.astype(np.float64) + shift >= 0).sum()) in (count, count + 1)
        assert int((logits.astype(np.float64) + shift > 0).sum()) in (count, count - 1)
    else:
        assert shift == 0.0
