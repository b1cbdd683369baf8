import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.tracking.crop_encoding import LADDER, encode_crop
from edge_agent.tracking.self_test import draw_face
from privacy.protocol.envelope import Codec
from privacy.protocol.payload import max_content_bytes


def noise(seed=0, side=96):
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def test_a_smooth_face_goes_out_at_the_best_quality():
    encoded = encode_crop(draw_face(96), limit_bytes=max_content_bytes())
    assert encoded is not None
    assert encoded.step is LADDER[0]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_even_noise_fits_an_envelope(seed):
    encoded = encode_crop(noise(seed), limit_bytes=max_content_bytes())
    assert encoded is not None
    assert len(encoded.content) <= max_content_bytes()


@pytest.mark.parametrize("limit", [1200, 1800, 2400, 3000, 9000])
def test_the_first_step_that_fits_is_taken(limit):
    crop = cv2.GaussianBlur(noise(), (0, 0), 1.2)
    encoded = encode_crop(crop, limit_bytes=limit)
    assert encoded is not None
    assert len(encoded.content) <= limit
    above = LADDER[: LADDER.index(encoded.step)]
    for step in above:
        again = encode_crop(crop, limit_bytes=len(encoded.content) - 1)
        assert again is None or LADDER.index(again.step) > LADDER.index(step)


def test_the_content_decodes_to_the_size_and_colour_that_the_step_names():
    seen = set()
    for limit in range(700, 9000, 250):
        encoded = encode_crop(noise(), limit_bytes=limit)
        if encoded is None:
            continue
        picture = cv2.imdecode(np.frombuffer(encoded.content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert picture.shape[:2] == (encoded.step.side_px,) * 2
        assert (picture.ndim == 2) == (encoded.step.codec is Codec.JPEG_GRAY)
        seen.add(encoded.step.name)
    assert len(seen) >= 4


def test_nothing_fits_a_limit_of_zero():
    assert encode_crop(noise(), limit_bytes=0) is None


def test_an_encoded_crop_never_prints_its_content():
    encoded = encode_crop(draw_face(96), limit_bytes=4000)
    assert encoded is not None
    assert repr(encoded) == f"EncodedCrop({encoded.step.name}, {len(encoded.content)} bytes)"
