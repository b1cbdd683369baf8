"""Scaling a frame onto the detector's input."""

from __future__ import annotations

import numpy as np
import pytest

from models.errors import TensorShapeError
from models.face_detector.decoding import letterbox_parameters
from models.face_detector.preprocessing import letterbox_frame


def test_a_webcam_frame_becomes_rgb_between_black_bars() -> None:
    frame = np.zeros((480, 640, 3), np.uint8)
    frame[..., 0] = 200
    pixels = letterbox_frame(frame, letterbox_parameters(480, 640))
    assert pixels.shape == (1, 128, 128, 3)
    assert not pixels[0, :16].any()
    assert not pixels[0, 112:].any()
    np.testing.assert_array_equal(pixels[0, 64, 64], [0, 0, 200])


def test_a_frame_smaller_than_the_input_is_enlarged() -> None:
    frame = np.full((32, 32, 3), 7, np.uint8)
    assert (letterbox_frame(frame, letterbox_parameters(32, 32)) == 7).all()


@pytest.mark.parametrize("side", [130, 171, 200, 250, 256])
def test_down_to_half_the_size_sampling_leaves_no_pixel_out(side: int) -> None:
    """What one bright row adds to the input is, by sampling, within half of what it adds by averaging."""
    letterbox = letterbox_parameters(side, side)
    shares = []
    for row in range(side // 2, side // 2 + 8):
        frame = np.zeros((side, side, 3), np.uint8)
        frame[row] = 255
        sampled = letterbox_frame(frame, letterbox, area_from=2.0).sum(dtype=np.int64)
        shares.append(sampled / letterbox_frame(frame, letterbox).sum(dtype=np.int64))
    assert min(shares) > 0.6
    assert max(shares) < 1.6


def test_beyond_half_the_size_areas_are_averaged_as_before() -> None:
    frame = np.random.default_rng(3).integers(0, 256, (240, 320, 3), np.uint8)
    letterbox = letterbox_parameters(240, 320)
    np.testing.assert_array_equal(
        letterbox_frame(frame, letterbox, area_from=2.0), letterbox_frame(frame, letterbox)
    )


@pytest.mark.parametrize("frame", [np.zeros((480, 640), np.uint8), np.zeros((480, 640, 3), np.float32)])
def test_a_frame_that_the_letterbox_was_not_made_for_is_refused(frame: np.ndarray) -> None:
    with pytest.raises(TensorShapeError, match="frame is"):
        letterbox_frame(frame, letterbox_parameters(480, 640))
