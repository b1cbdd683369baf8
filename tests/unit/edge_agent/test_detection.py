import numpy as np
import pytest

from edge_agent.tracking.detection import detect


@pytest.mark.parametrize("size", [(640, 480), (1280, 720), (3840, 2160), (480, 640), (320, 320)])
def test_a_face_is_found_where_it_is_whatever_the_frame_size(patch_network, paint_faces, size):
    width, height = size
    side = min(size) // 3
    picture = paint_faces([(width * 0.6, height * 0.4, side)], width=width, height=height)
    (face,) = detect(patch_network, picture, min_score=0.5)
    assert face.box.centre == pytest.approx((width * 0.6, height * 0.4), abs=width / 64)
    assert face.box.side == pytest.approx(side, rel=0.15)
    assert face.landmarks.shape == (6, 2)
    assert face.landmarks[0, 0] < face.landmarks[1, 0]


@pytest.mark.parametrize("size", [(140, 140), (250, 200), (257, 250), (480, 500), (640, 640), (1400, 900)])
def test_a_quick_look_finds_a_face_in_the_same_place(patch_network, paint_faces, size):
    width, height = size
    side = min(size) // 3
    picture = paint_faces([(width * 0.6, height * 0.4, side)], width=width, height=height)
    (exact,) = detect(patch_network, picture, min_score=0.5)
    (quick,) = detect(patch_network, picture, min_score=0.5, is_quick=True)
    assert quick.landmarks == pytest.approx(exact.landmarks, abs=1.5 * max(size) / 128)


def test_scores_below_the_threshold_are_left_out(patch_network, paint_faces):
    patch_network.score = 0.4
    assert detect(patch_network, paint_faces([(320, 240, 150)]), min_score=0.5) == ()


def test_an_empty_wall_has_no_face(patch_network):
    assert detect(patch_network, np.full((48, 64, 3), 90, np.uint8), min_score=0.1) == ()
