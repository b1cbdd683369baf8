import cv2
import numpy as np
import pytest

from edge_agent.bench.degradations import DEGRADATIONS, FAR_FACE_PX, Still, darken, move_away, tilt
from edge_agent.tracking.geometry import Box

MARK = (20, 30, 240)


@pytest.fixture
def still():
    """A red square on grey: its place can be found again in the pixels."""
    pixels = np.full((224, 224, 3), 120, np.uint8)
    pixels[60:130, 80:150] = MARK
    return Still(pixels=pixels, faces=(Box.of([80, 60, 150, 130]),))


def place_of_mark(pixels):
    red = (pixels[..., 2].astype(int) - pixels[..., 0] > 100).astype(np.uint8)
    x, y, width, height = cv2.boundingRect(red)
    return (x + width / 2, y + height / 2), max(width, height)


@pytest.mark.parametrize("name", ["as_it_is", "far", "tilted"])
@pytest.mark.parametrize("seed", range(5))
def test_the_box_goes_where_the_face_goes(still, name, seed):
    spoilt = DEGRADATIONS[name](still, np.random.default_rng(seed))
    (face,) = spoilt.faces
    centre, _ = place_of_mark(spoilt.pixels)
    assert face.centre == pytest.approx(centre, abs=2)


def test_darkening_leaves_a_tenth_of_the_light(still):
    spoilt = darken(still, np.random.default_rng(0))
    assert spoilt.pixels.mean() == pytest.approx(still.pixels.mean() / 10, abs=1)
    assert spoilt.faces == still.faces


def test_a_face_moved_away_is_small_in_a_camera_frame(still):
    spoilt = move_away(still, np.random.default_rng(0))
    assert spoilt.pixels.shape == (480, 640, 3)
    assert spoilt.faces[0].side == pytest.approx(FAR_FACE_PX)
    assert place_of_mark(spoilt.pixels)[1] == pytest.approx(FAR_FACE_PX, abs=3)


def test_a_tilted_face_keeps_its_size(still):
    assert tilt(still, np.random.default_rng(0)).faces[0].side == pytest.approx(70)
