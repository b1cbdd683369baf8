import cv2
import numpy as np
import pytest

from edge_agent.flow import carry
from edge_agent.geometry import Box


def grey(faces, paint_faces):
    return cv2.cvtColor(paint_faces(faces, width=320, height=240), cv2.COLOR_BGR2GRAY)


@pytest.mark.parametrize("side", [40, 80, 140])
def test_a_small_step_is_followed_whatever_the_size_of_the_face(paint_faces, side):
    before, after = grey([(150, 120, side)], paint_faces), grey([(154, 123, side)], paint_faces)
    half = side / 2
    matrix = carry(before, after, Box.of([150 - half, 120 - half, 150 + half, 120 + half]))
    assert matrix is not None
    assert matrix @ np.array([150, 120, 1]) == pytest.approx([154, 123], abs=0.7)


def test_a_face_that_is_gone_is_not_followed(paint_faces):
    before = grey([(150, 120, 80)], paint_faces)
    after = np.random.default_rng(5).integers(0, 255, before.shape).astype(np.uint8)
    assert carry(before, after, Box.of([110, 80, 190, 160])) is None


def test_views_of_another_size_are_not_compared(paint_faces):
    before = grey([(150, 120, 80)], paint_faces)
    assert carry(before, before[:200], Box.of([110, 80, 190, 160])) is None


def test_a_box_outside_the_view_is_not_followed(paint_faces):
    before = grey([(150, 120, 80)], paint_faces)
    assert carry(before, before, Box.of([500, 500, 560, 560])) is None
