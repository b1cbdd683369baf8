import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge_agent.tracking.contrast_stretch import DARK_HIGHLIGHT, lift


def ramp(top):
    return np.repeat(np.linspace(0, top, 64 * 64).reshape(64, 64, 1), 3, axis=2).astype(np.uint8)


def test_a_picture_in_normal_light_is_left_alone():
    picture = ramp(200)
    assert lift(picture) is picture


def test_a_dark_picture_is_lifted_until_its_highlights_are_bright():
    lifted = lift(ramp(40))
    assert np.percentile(lifted, 97) == pytest.approx(235, abs=10)
    assert lifted.mean() > 4 * ramp(40).mean()


def test_a_lamp_in_a_dark_room_does_not_decide():
    picture = ramp(40)
    picture[:6, :6] = 255
    assert np.median(lift(picture)) > 3 * np.median(picture)


def test_the_order_of_brightness_is_kept():
    lifted = lift(ramp(30))[..., 0].reshape(-1).astype(int)
    assert (np.diff(lifted) >= 0).all()


@settings(deadline=None, max_examples=40)
@given(
    arrays.arrays(
        np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3)), elements=st.integers(0, 255)
    )
)
def test_any_picture_keeps_its_shape_and_is_never_darkened(picture):
    lifted = lift(picture)
    assert lifted.shape == picture.shape
    assert lifted.dtype == np.uint8
    assert (lifted >= picture).all()
    brightest = np.sort(picture.max(axis=2).reshape(-1))
    highlight = brightest[int(0.97 * (brightest.size - 1))]
    assert (lifted is picture) == (highlight >= DARK_HIGHLIGHT)
