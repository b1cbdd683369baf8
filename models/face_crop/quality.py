"""Measure how usable a face crop is: light, sharpness, size, head pose."""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, degrees

import cv2
import numpy as np

from models.face_crop.landmarks import LEFT_EAR, LEFT_EYE, MOUTH, NOSE, RIGHT_EAR, RIGHT_EYE, Float32Array
from models.face_crop.shrinking import UInt8Array

DARK_FRAME_LUMA = 8.0
"""A view whose mean luma is below this shows nothing: a covered lens or no light."""

_NEUTRAL_NOSE = 0.535
_NOSE_DEPTH = 1.1
_PITCH_DEG_PER_RATIO = 130.0
_LAPLACIAN_TO_BYTE = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Head pose from six landmarks, in whole degrees within -90..90; coarse, about 10 degrees.

    Attributes:
        yaw_deg: positive where the viewer turns to their left.
        pitch_deg: positive where the viewer looks up.
        roll_deg: positive where the head tilts clockwise in the picture.
    """

    yaw_deg: int
    pitch_deg: int
    roll_deg: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Measures of one crop.

    Attributes:
        pose: head pose.
        eyes_px: distance between the eyes on the frame, in pixels.
        brightness: mean luma, 0..255.
        sharpness: spread of the Laplacian, 0..255, saturating.
        score: overall, 0..255.
        attention: how far the face is turned towards the screen, 0..255.
    """

    pose: Pose
    eyes_px: float
    brightness: int
    sharpness: int
    score: int
    attention: int


def is_dark(grey: UInt8Array) -> bool:
    """Tell whether a view of shape (h, w) shows nothing for want of light."""
    return float(np.mean(grey[::4, ::4])) < DARK_FRAME_LUMA


def estimate_pose(landmarks: Float32Array) -> Pose:
    """Estimate head pose from landmarks of shape (6, 2), in any unit.

    Yaw compares the nose's distance to either ear on a ball of a head, pitch its height between eyes and mouth, roll the
    line of the eyes: orthographic, without a head model.
    """
    points = landmarks.astype(np.float64)
    across = points[LEFT_EYE] - points[RIGHT_EYE]
    roll = atan2(across[1], across[0])
    cosine, sine = np.cos(-roll), np.sin(-roll)
    level = (points - points[NOSE]) @ np.array([[cosine, sine], [-sine, cosine]])
    right, left = -level[RIGHT_EAR, 0], level[LEFT_EAR, 0]
    # The nose stands out from the line of the ears by about 1.1 half-widths of the head.
    yaw = atan2(right - left, _NOSE_DEPTH * max(1e-6, right + left))
    eyes_y = (level[RIGHT_EYE, 1] + level[LEFT_EYE, 1]) / 2
    height = level[MOUTH, 1] - eyes_y
    ratio = -eyes_y / height if height > 1e-6 else _NEUTRAL_NOSE
    pitch = (_NEUTRAL_NOSE - ratio) * _PITCH_DEG_PER_RATIO
    return Pose(yaw_deg=_degrees(degrees(yaw)), pitch_deg=_degrees(pitch), roll_deg=_degrees(degrees(roll)))


def measure(crop: UInt8Array, landmarks: Float32Array) -> Quality:
    """Measure one aligned crop.

    Args:
        crop: uint8 of shape (side, side, 3), B, G, R.
        landmarks: float32 of shape (6, 2), in frame pixels.
    """
    grey = np.asarray(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), np.uint8)
    brightness, sharpness = brightness_of(grey), sharpness_of(grey)
    eyes_px = float(np.hypot(*(landmarks[LEFT_EYE] - landmarks[RIGHT_EYE])))
    pose = estimate_pose(landmarks)
    frontal = max(0.0, 1 - abs(pose.yaw_deg) / 70) * max(0.0, 1 - abs(pose.pitch_deg) / 80)
    light = min(1.0, brightness / 60) * min(1.0, (255 - brightness) / 30)
    size = min(1.0, eyes_px / 36)
    score = 255 * frontal * light * size * min(1.0, sharpness / 40)
    return Quality(
        pose=pose,
        eyes_px=eyes_px,
        brightness=round(brightness),
        sharpness=round(sharpness),
        score=round(min(255.0, score)),
        attention=round(255 * frontal),
    )


def brightness_of(grey: UInt8Array) -> float:
    """Return the mean luma of a crop, uint8 of shape (side, side); 0..255."""
    return float(grey.mean())


def sharpness_of(grey: UInt8Array) -> float:
    """Return the spread of the Laplacian of a crop, uint8 of shape (side, side); 0..255, saturating."""
    _, spread = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    return min(255.0, float(spread[0, 0]) * _LAPLACIAN_TO_BYTE)


def _degrees(value: float) -> int:
    return round(min(90.0, max(-90.0, value))) if np.isfinite(value) else 0
