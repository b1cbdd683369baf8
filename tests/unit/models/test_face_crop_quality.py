import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.face_crop.quality import estimate_pose, is_dark, measure

FRONTAL = np.array([[30, 40], [70, 40], [50, 57], [50, 72], [12, 46], [88, 46]], np.float32)


def turned(dx=0.0, dy=0.0):
    marks = FRONTAL.copy()
    marks[2] += (dx, dy)
    return marks


def test_a_frontal_face_has_no_angles():
    pose = estimate_pose(FRONTAL)
    assert abs(pose.yaw_deg) <= 2
    assert abs(pose.pitch_deg) <= 3
    assert pose.roll_deg == 0


def test_yaw_follows_the_nose_and_is_mirrored():
    left, right = estimate_pose(turned(dx=15)), estimate_pose(turned(dx=-15))
    assert left.yaw_deg > 15
    assert right.yaw_deg == pytest.approx(-left.yaw_deg, abs=1)


def test_pitch_is_positive_where_the_nose_rises():
    assert estimate_pose(turned(dy=-6)).pitch_deg > 10
    assert estimate_pose(turned(dy=6)).pitch_deg < -10


@given(st.floats(-60, 60))
def test_roll_is_the_angle_of_the_eyes_and_leaves_yaw_alone(angle):
    turn = np.radians(angle)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    pose = estimate_pose(np.asarray((FRONTAL - 50) @ matrix.T + 50, np.float32))
    assert pose.roll_deg == pytest.approx(angle, abs=1)
    assert abs(pose.yaw_deg) <= 3


@given(hnp.arrays(np.float32, (6, 2), elements=st.floats(-1e4, 1e4, width=32)))
def test_any_landmarks_give_angles_within_range(marks):
    pose = estimate_pose(marks)
    assert all(-90 <= value <= 90 for value in (pose.yaw_deg, pose.pitch_deg, pose.roll_deg))


def test_a_black_view_is_dark_and_a_dim_one_is_not():
    assert is_dark(np.full((240, 320), 3, np.uint8))
    assert not is_dark(np.full((240, 320), 25, np.uint8))


def test_blurring_lowers_sharpness_and_score():
    crop = np.random.default_rng(0).integers(60, 200, (96, 96, 3)).astype(np.uint8)
    sharp = measure(crop, FRONTAL)
    blurred = measure(cv2.GaussianBlur(crop, (0, 0), 8), FRONTAL)
    assert blurred.sharpness < sharp.sharpness
    assert blurred.score < sharp.score


@given(hnp.arrays(np.uint8, (96, 96, 3)), st.floats(0.05, 20))
def test_measures_always_fit_one_byte(crop, scale):
    quality = measure(crop, FRONTAL * np.float32(scale))
    values = (quality.brightness, quality.sharpness, quality.score, quality.attention)
    assert all(isinstance(value, int) and 0 <= value <= 255 for value in values)
