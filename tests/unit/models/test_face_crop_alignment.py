import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.face_crop.alignment import FRAMING, Framing, crop_matrix, cut_crop

MARKS = np.array([[-20, -13], [20, -13], [0, 3], [0, 22], [-42, -5], [42, -5]], np.float32)


@settings(deadline=None)
@given(st.floats(-1.0, 1.0), st.floats(0.3, 6.0))
def test_eyes_and_mouth_land_near_the_framing_whatever_the_pose(angle, scale):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    marks = np.asarray(MARKS @ turn.T * scale + (400, 300), np.float32)
    matrix = crop_matrix(marks)
    placed = marks @ matrix[:, :2].T + matrix[:, 2] + 0.5
    assert np.abs(placed[[0, 1, 3]] - 0.5 - FRAMING.points(96)).max() < 4.0


def test_a_framing_moves_the_face_within_the_crop():
    usual, lower = (
        crop_matrix(MARKS, framing=framing)
        for framing in (
            Framing(eye_left_x=0.3, eye_y=0.35, mouth_y=0.77),
            Framing(eye_left_x=0.3, eye_y=0.45, mouth_y=0.87),
        )
    )
    np.testing.assert_allclose(lower - usual, [[0, 0, 0], [0, 0, 9.6]], atol=1e-3)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0, 4.0, 9.0])
def test_the_same_face_gives_the_same_crop_at_any_size(scale):
    canvas = np.full((200, 200, 3), 60, np.uint8)
    cv2.circle(canvas, (80, 87), 9, (200, 90, 30), -1)
    cv2.circle(canvas, (120, 87), 9, (30, 90, 200), -1)
    cv2.circle(canvas, (100, 122), 12, (30, 200, 30), -1)
    marks = MARKS + np.float32(100)
    small = cut_crop(canvas, marks)
    method = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA
    resized = cv2.resize(canvas, None, fx=scale, fy=scale, interpolation=method)
    moved = (marks + 0.5) * np.float32(scale) - np.float32(0.5)
    large = cut_crop(resized, moved)
    assert small.shape == large.shape == (96, 96, 3)
    assert np.abs(small.astype(int) - large.astype(int)).mean() < 6.0


def test_a_face_half_outside_the_frame_is_cut_with_black():
    frame = np.full((100, 100, 3), 200, np.uint8)
    crop = cut_crop(frame, MARKS + np.array([0, 50], np.float32))
    assert (crop[:, :20] == 0).all()
    assert (crop[:, -20:] > 150).any()


def test_a_large_face_wholly_outside_the_frame_gives_a_black_crop():
    frame = np.full((100, 100, 3), 200, np.uint8)
    assert cut_crop(frame, MARKS * 8 + np.float32(5000)).max() == 0


def test_landmarks_that_coincide_are_refused():
    frame = np.zeros((100, 100, 3), np.uint8)
    with pytest.raises(ValueError, match="coincide"):
        cut_crop(frame, np.ones((6, 2), np.float32))
