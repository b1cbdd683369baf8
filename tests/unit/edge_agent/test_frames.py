import numpy as np
import pytest

from edge_agent.camera.frames import VIEW_SIDE_PX, Frame, as_bgr, make_view
from edge_agent.errors import FrameError


@pytest.mark.parametrize("shape", [(48, 64), (48, 64, 1), (48, 64, 3), (48, 64, 4)])
def test_every_channel_layout_becomes_three_channels(shape):
    assert as_bgr(np.full(shape, 7, np.uint8)).shape == (48, 64, 3)


def test_a_grey_cameras_luma_is_repeated_in_every_channel():
    assert (as_bgr(np.full((48, 64), 77, np.uint8)) == 77).all()


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((48, 64, 3), np.float32),
        np.zeros((48, 64, 2), np.uint8),
        np.zeros((16, 64, 3), np.uint8),
        np.zeros(64, np.uint8),
        np.zeros((40, 9000), np.uint8),
    ],
)
def test_what_is_no_camera_picture_is_refused(picture):
    with pytest.raises(FrameError):
        as_bgr(picture)


def test_a_4k_frame_gets_a_small_view_at_a_whole_factor():
    view = make_view(Frame(pixels=np.zeros((2160, 3840, 3), np.uint8), index=0, monotonic_us=0))
    assert view.bgr.shape[1] <= VIEW_SIDE_PX
    assert (1 / view.scale) == round(1 / view.scale)
    assert view.grey.shape == view.bgr.shape[:2]


def test_a_frame_never_prints_its_pixels():
    frame = Frame(pixels=np.full((48, 64, 3), 123, np.uint8), index=3, monotonic_us=9)
    assert "123" not in repr(frame)
    assert "123" not in repr(make_view(frame))
