import numpy as np
import pytest

from edge_agent.tracking.geometry import Box
from edge_agent.tracking.region_pass import Glance, look
from models.face_crop.landmarks import LEFT_EYE, RIGHT_EYE

WHOLE = Box.of([0, 0, 640, 480])


def test_a_region_gives_faces_in_pixels_of_the_whole_picture(patch_network, paint_faces):
    picture = paint_faces([(400, 300, 90)])
    (face,) = look(patch_network, picture, Glance(region=Box.of([300, 200, 520, 420])), min_score=0.5)
    assert face.box.centre == pytest.approx((400, 300), abs=3)
    assert face.box.side == pytest.approx(90, abs=5)


def test_the_mirrored_look_finds_the_same_face_with_right_and_left_in_their_places(
    patch_network, paint_faces
):
    picture = paint_faces([(400, 300, 90)])
    region = Box.of([280, 180, 600, 460])
    plain, mirrored = (
        look(patch_network, picture, Glance(region=region, is_mirrored=flag), min_score=0.5)[0]
        for flag in (False, True)
    )
    assert mirrored.box.centre == pytest.approx(plain.box.centre, abs=2)
    assert np.abs(mirrored.landmarks - plain.landmarks).max() < 3
    assert mirrored.landmarks[RIGHT_EYE, 0] < mirrored.landmarks[LEFT_EYE, 0]


@pytest.mark.parametrize("roll_deg", [-60, -25, 30, 45, 90])
@pytest.mark.parametrize("place", [(320, 240), (430, 180), (120, 330)])
def test_a_turned_look_gives_the_place_in_the_unturned_picture(patch_network, paint_faces, roll_deg, place):
    picture = paint_faces([(*place, 80)])
    glance = Glance(region=WHOLE.squared(1.3), roll_deg=roll_deg)
    (face,) = look(patch_network, picture, glance, min_score=0.5)
    assert face.box.centre == pytest.approx(place, abs=8)
    across = face.landmarks[LEFT_EYE] - face.landmarks[RIGHT_EYE]
    assert np.degrees(np.arctan2(across[1], across[0])) == pytest.approx(roll_deg, abs=1)


def test_a_turned_look_at_a_large_picture_costs_no_large_turn(patch_network, paint_faces):
    picture = paint_faces([(2000, 1000, 500)], width=3840, height=2160)
    glance = Glance(region=Box.of([1000, 0, 3000, 2000]), roll_deg=40)
    (face,) = look(patch_network, picture, glance, min_score=0.5)
    assert face.box.centre == pytest.approx((2000, 1000), abs=40)


@pytest.mark.parametrize("roll_deg", [0, 40])
def test_a_region_off_the_picture_is_not_looked_at(patch_network, paint_faces, roll_deg):
    glance = Glance(region=Box.of([900, 900, 960, 960]), roll_deg=roll_deg)
    assert look(patch_network, paint_faces([]), glance, min_score=0.5) is None
    assert patch_network.inferences == 0
