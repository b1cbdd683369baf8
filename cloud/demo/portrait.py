"""The known picture that the self-made viewer is made of, with its hand-placed landmarks.

The picture is scikit-image's `astronaut` (NASA portrait, public domain), which ships inside the package. It smiles
with teeth; every other expression is a set of landmark displacements from that. All coordinates are pixels of the
512x512 picture, x to the right, y downwards; left and right are the picture's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt
from skimage import data

UInt8Array = npt.NDArray[np.uint8]
Point = tuple[float, float]

LANDMARKS: Mapping[str, Point] = MappingProxyType(
    {
        "eye_l_outer": (192.8, 101.0),
        "eye_l_top": (202.0, 96.7),
        "eye_l_inner": (213.3, 102.2),
        "eye_l_bottom": (202.8, 104.4),
        "iris_l": (202.8, 101.1),
        "eye_r_inner": (235.6, 104.4),
        "eye_r_top": (245.5, 98.3),
        "eye_r_outer": (258.9, 103.7),
        "eye_r_bottom": (246.7, 106.7),
        "iris_r": (246.7, 103.3),
        "brow_l_outer": (190.6, 90.6),
        "brow_l_mid": (198.9, 88.3),
        "brow_l_near": (206.7, 90.2),
        "brow_l_inner": (213.3, 92.4),
        "brow_r_inner": (238.9, 93.3),
        "brow_r_near": (247.8, 92.2),
        "brow_r_mid": (256.7, 92.2),
        "brow_r_outer": (262.8, 95.6),
        "nose_bridge": (224.5, 108.0),
        "nose_l": (213.9, 130.2),
        "nose_tip": (223.3, 127.4),
        "nose_base": (222.8, 133.6),
        "nose_r": (235.0, 130.8),
        "cheek_l": (198.0, 124.0),
        "cheek_r": (252.0, 126.0),
        "fold_l": (196.0, 136.3),
        "fold_r": (250.6, 139.0),
        "corner_l": (202.6, 139.1),
        "corner_r": (244.8, 140.8),
        "upper_top_l": (212.8, 138.0),
        "upper_top": (222.8, 138.4),
        "upper_top_r": (233.9, 139.7),
        "upper_in_l": (209.0, 142.0),
        "upper_in": (222.8, 143.9),
        "upper_in_r": (236.0, 143.2),
        "lower_in_l": (211.0, 146.8),
        "lower_in": (222.8, 149.8),
        "lower_in_r": (233.5, 147.8),
        "lower_bottom_l": (209.4, 149.4),
        "lower_bottom": (222.8, 154.6),
        "lower_bottom_r": (236.0, 152.6),
        "chin": (223.5, 166.0),
        "jaw_bottom": (223.9, 178.0),
        "jaw_bottom_l": (211.7, 177.0),
        "jaw_bottom_r": (235.0, 175.8),
        "jaw_l": (197.0, 167.0),
        "jaw_r": (247.0, 169.0),
        "jaw_side_l": (187.0, 155.8),
        "jaw_side_r": (259.4, 159.0),
    }
)

PINNED: tuple[Point, ...] = (
    (183.0, 95.0), (182.0, 112.0), (182.0, 135.0), (269.0, 98.0), (270.0, 112.0), (267.0, 137.0),
    (190.0, 80.0), (205.0, 79.0), (224.0, 78.0), (243.0, 80.0), (262.0, 83.0),
    (186.0, 185.0), (205.0, 194.0), (224.0, 196.0), (243.0, 194.0), (258.0, 185.0),
    (172.0, 75.0), (282.0, 75.0), (168.0, 130.0), (284.0, 130.0), (172.0, 198.0), (282.0, 198.0),
)  # fmt: skip
"""Points around the face that never move, so that a displacement ends at the hair, the neck and the background."""

UPPER_IN: tuple[str, ...] = ("corner_l", "upper_in_l", "upper_in", "upper_in_r", "corner_r")
LOWER_IN: tuple[str, ...] = ("corner_l", "lower_in_l", "lower_in", "lower_in_r", "corner_r")
"""The lips' inner edges from corner to corner: what lies between is the open mouth."""

FOLDS: tuple[tuple[Point, ...], ...] = (
    ((209.0, 122.5), (204.5, 127.5), (200.6, 132.0), (197.0, 135.0), (195.8, 138.0)),
    ((238.5, 124.5), (242.5, 129.5), (246.5, 134.0), (249.8, 137.5), (250.8, 142.0)),
)
"""The folds beside the nose that only a smile shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """One held expression: how far each landmark moves, in picture pixels, and how the mouth's inside looks.

    `smile_folds` in 0..1 is how much of the picture's own smile folds is left; `teeth` in 0..1 how bright the
    teeth are; `mouth_depth` in 0..1 how dark the opening is.
    """

    moves: Mapping[str, Point] = field(default_factory=dict)
    smile_folds: float = 1.0
    teeth: float = 1.0
    mouth_depth: float = 0.0


_CLOSED: Mapping[str, Point] = {
    "corner_l": (6.0, 7.6), "corner_r": (-6.0, 7.2), "fold_l": (2.0, 4.0), "fold_r": (-2.0, 4.0),
    "upper_top_l": (2.0, 2.2), "upper_top": (0.0, 1.6), "upper_top_r": (-2.0, 2.0),
    "upper_in_l": (3.0, 4.4), "upper_in": (0.0, 2.4), "upper_in_r": (-3.0, 4.1),
    "lower_in_l": (1.0, -1.8), "lower_in": (0.0, -4.9), "lower_in_r": (-0.5, -1.9),
    "lower_bottom_l": (3.0, 0.6), "lower_bottom": (0.0, -1.8), "lower_bottom_r": (-3.0, 0.0),
    "chin": (0.0, -1.0), "cheek_l": (0.5, 1.5), "cheek_r": (-0.5, 1.5),
}  # fmt: skip

POSES: Mapping[str, Pose] = MappingProxyType(
    {
        "happy": Pose(
            moves={
                "corner_l": (-1.5, -1.2), "corner_r": (1.5, -1.2), "cheek_l": (0.0, -1.0), "cheek_r": (0.0, -1.0),
                "eye_l_bottom": (0.0, -0.5), "eye_r_bottom": (0.0, -0.5),
                "lower_in": (0.0, 0.8), "lower_bottom": (0.0, 0.8),
            },
        ),
        "neutral": Pose(moves=_CLOSED, smile_folds=0.0, teeth=0.0, mouth_depth=1.0),
        "surprised": Pose(
            moves={
                "corner_l": (9.0, 11.0), "corner_r": (-9.0, 10.6), "fold_l": (3.0, 5.0), "fold_r": (-3.0, 5.0),
                "upper_top_l": (3.5, 1.5), "upper_top": (0.0, -0.3), "upper_top_r": (-3.5, 1.5),
                "upper_in_l": (4.5, 1.2), "upper_in": (0.0, -0.9), "upper_in_r": (-4.5, 1.0),
                "lower_in_l": (4.0, 13.2), "lower_in": (0.0, 14.0), "lower_in_r": (-2.5, 12.8),
                "cheek_l": (2.0, 2.5), "cheek_r": (-2.0, 2.5), "lower_bottom_l": (5.5, 12.6), "lower_bottom": (0.0, 13.2), "lower_bottom_r": (-5.5, 12.6),
                "chin": (0.0, 11.0), "jaw_bottom": (0.0, 9.0), "jaw_bottom_l": (0.0, 8.5), "jaw_bottom_r": (0.0, 8.5),
                "jaw_l": (0.5, 5.0), "jaw_r": (-0.5, 5.0),
                "brow_l_outer": (0.0, -4.0), "brow_l_mid": (0.0, -4.6), "brow_l_near": (0.0, -5.0),
                "brow_l_inner": (0.0, -5.0), "brow_r_inner": (0.0, -5.0), "brow_r_near": (0.0, -5.0),
                "brow_r_mid": (0.0, -4.6), "brow_r_outer": (0.0, -4.0),
                "eye_l_top": (0.0, -2.2), "eye_r_top": (0.0, -2.2), "eye_l_bottom": (0.0, 1.2),
                "eye_r_bottom": (0.0, 1.2),
            },
            smile_folds=0.1, teeth=0.0, mouth_depth=1.0,
        ),
    }
)  # fmt: skip
"""What warping can honestly make of the portrait, by the label a reader would give it.

Sadness and anger are left out: they live in wrinkles that this picture does not have, and no displacement makes them.
"""

CHEEKS: tuple[tuple[Point, Point], ...] = (
    ((197.0, 125.0), (12.0, 10.0)),
    ((252.0, 127.0), (10.0, 10.0)),
    ((199.0, 135.0), (8.0, 10.0)),
    ((249.0, 137.0), (8.0, 10.0)),
    ((198.0, 147.0), (8.0, 8.0)),
    ((250.0, 147.0), (8.0, 8.0)),
)
"""Centres and half axes of the cheeks, which a smile raises."""

CHEEK_BLUR_PX = 5.0
FACE_EDGES_X = (184, 266)

LIP_OUTLINE: tuple[str, ...] = (
    "corner_l", "upper_top_l", "upper_top", "upper_top_r", "corner_r", "lower_bottom_r", "lower_bottom",
    "lower_bottom_l",
)  # fmt: skip

EYE_OUTLINES: tuple[tuple[str, ...], ...] = (
    ("eye_l_outer", "eye_l_top", "eye_l_inner", "eye_l_bottom"),
    ("eye_r_inner", "eye_r_top", "eye_r_outer", "eye_r_bottom"),
)
LASH_RGB = (92, 58, 44)


def load_portrait() -> UInt8Array:
    """Return the picture: uint8 of shape (512, 512, 3), R, G, B."""
    return np.asarray(data.astronaut(), np.uint8)


def without_smile(picture: UInt8Array) -> UInt8Array:
    """Return the picture with the cheeks of a resting face: folds and bulges of the smile smoothed away.

    The mouth itself is left alone, and lends no colour to the cheeks; displacements close it.
    """
    folds = np.zeros(picture.shape[:2], np.uint8)
    for fold in FOLDS:
        line = np.round(np.asarray(fold) * 16).astype(np.int32)
        cv2.polylines(folds, [line], False, 255, thickness=5, lineType=cv2.LINE_AA, shift=4)
    filled = cv2.inpaint(picture, (folds > 64).astype(np.uint8), 6, cv2.INPAINT_TELEA)
    lent = np.ones(picture.shape[:2], np.float32)
    lips = [LANDMARKS[name] for name in LIP_OUTLINE]
    cv2.fillPoly(lent, [np.round(np.asarray(lips)).astype(np.int32)], 0.0)
    lent = cv2.erode(lent, np.ones((5, 5), np.uint8))
    lent[:, : FACE_EDGES_X[0]] = lent[:, FACE_EDGES_X[1] :] = 0
    blurred = cv2.GaussianBlur(filled * lent[..., None], (0, 0), CHEEK_BLUR_PX)
    blurred /= np.maximum(cv2.GaussianBlur(lent, (0, 0), CHEEK_BLUR_PX), 1e-3)[..., None]
    cheeks = folds.astype(np.float32) / 255
    for centre, half_axes in CHEEKS:
        cv2.ellipse(cheeks, (centre, (2 * half_axes[0], 2 * half_axes[1]), 0.0), 1.0, thickness=-1)
    weight = (cv2.GaussianBlur(cheeks, (0, 0), 1.8) * cv2.GaussianBlur(lent, (0, 0), 0.8))[..., None]
    return np.asarray(np.clip(picture * (1 - weight) + blurred * weight, 0, 255), np.uint8)


def with_closed_eyes(picture: UInt8Array) -> UInt8Array:
    """Return the picture with lowered lids, same shape and colour order: skin over the eyes, lashes below."""
    mask = np.zeros(picture.shape[:2], np.uint8)
    for outline in EYE_OUTLINES:
        corners = np.array([LANDMARKS[name] for name in outline])
        centre = corners.mean(axis=0)
        axes = (float(np.ptp(corners[:, 0]) / 2 + 2.0), float(np.ptp(corners[:, 1]) / 2 + 2.2))
        cv2.ellipse(mask, (tuple(centre), (2 * axes[0], 2 * axes[1]), 3.0), 255, thickness=-1)
    lids = cv2.GaussianBlur(cv2.inpaint(picture, mask, 4, cv2.INPAINT_TELEA), (0, 0), 1.5)
    for outline in EYE_OUTLINES:
        start, _, end, bottom = (np.array(LANDMARKS[name]) for name in outline)
        ease = np.linspace(0, 1, 12)[:, None]
        lash = (
            start * (1 - ease) ** 2 + (2 * bottom - (start + end) / 2) * 2 * ease * (1 - ease) + end * ease**2
        )
        line = np.round(lash * 16).astype(np.int32)
        cv2.polylines(lids, [line], False, LASH_RGB, thickness=1, lineType=cv2.LINE_AA, shift=4)
    weight = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 1.0)[..., None]
    return np.asarray(np.clip(picture * (1 - weight) + lids * weight, 0, 255), np.uint8)
