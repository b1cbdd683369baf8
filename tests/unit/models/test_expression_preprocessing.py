import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.errors import TensorShapeError
from models.expression.preprocessing import (
    INPUT_LIMIT,
    INPUT_SIDE_PX,
    prepare_batch,
    prepare_crop,
    resize_grey,
    to_grey,
)

picture = hnp.arrays(
    np.uint8,
    st.one_of(
        st.tuples(st.integers(1, 130), st.integers(1, 130)),
        st.tuples(st.integers(1, 130), st.integers(1, 130), st.just(1)),
        st.tuples(st.integers(1, 130), st.integers(1, 130), st.just(3)),
    ),
)


@settings(max_examples=60, deadline=None)
@given(picture)
def test_any_crop_becomes_bounded_finite_input(crop: np.ndarray) -> None:
    prepared = prepare_crop(crop)
    assert prepared.shape == (1, INPUT_SIDE_PX, INPUT_SIDE_PX, 1)
    assert prepared.dtype == np.float32
    assert np.isfinite(prepared).all()
    assert np.abs(prepared).max() <= INPUT_LIMIT


def textured(side_px: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(60, 180, (8, 8), np.uint8)
    return np.asarray(cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_a_batch_equals_its_crops_one_by_one() -> None:
    crops = [textured(96, 1), np.dstack([textured(48, 2)] * 3), textured(100, 3)[:, :, None]]
    single = np.concatenate([prepare_crop(c) for c in crops])
    np.testing.assert_array_equal(prepare_batch(crops), single)


def test_exposure_and_contrast_are_taken_out() -> None:
    crop = textured(96)
    darker = (crop * 0.5 + 10).astype(np.uint8)
    assert np.abs(prepare_crop(crop) - prepare_crop(darker)).mean() < 0.03


def test_a_flat_crop_stays_flat_instead_of_amplifying_noise() -> None:
    flat = np.full((96, 96), 80, np.uint8)
    flat[::2] += 1
    assert np.abs(prepare_crop(flat)).max() < 0.2


def test_channels_are_read_as_red_green_blue() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    assert to_grey(red)[0, 0] == 76


def test_shrinking_averages_areas_so_that_fine_texture_does_not_alias() -> None:
    stripes = np.zeros((112, 112), np.uint8)
    stripes[:, ::2] = 200
    assert resize_grey(stripes, 56).std() < 1


@pytest.mark.parametrize(
    "crop",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4,), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
    ],
)
def test_anything_but_a_grey_or_colour_picture_is_refused(crop: np.ndarray) -> None:
    with pytest.raises(TensorShapeError):
        prepare_batch([crop])


def test_no_crops_make_an_empty_batch() -> None:
    assert prepare_batch([]).shape == (0, INPUT_SIDE_PX, INPUT_SIDE_PX, 1)
