"""Cut a face out upright, its eyes and mouth always in the same places."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from models.face_crop.landmarks import LEFT_EYE, MOUTH, RIGHT_EYE, Float32Array, fit_similarity
from models.face_crop.shrinking import UInt8Array, shrink

CROP_SIDE_PX = 96
"""Side of the crop; small enough that JPEG at quality 75 fits one datagram."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """Where the eyes and the mouth of an upright face lie in the crop, in crop sides.

    Attributes:
        eye_left_x: of the eye that is left in the picture; the other one mirrors it.
        eye_y: of both eyes.
        mouth_y: of the mouth's middle.
    """

    eye_left_x: float
    eye_y: float
    mouth_y: float

    def points(self, side_px: int) -> Float32Array:
        """Return left eye, right eye and mouth in pixels of a crop, float32 (3, 2)."""
        shares = [[self.eye_left_x, self.eye_y], [1 - self.eye_left_x, self.eye_y], [0.5, self.mouth_y]]
        return np.array(shares, np.float32) * np.float32(side_px) - np.float32(0.5)


FRAMING = Framing(eye_left_x=0.295, eye_y=0.385, mouth_y=0.815)
"""What the shipped network reads best of validation pictures (`countenance models framing`, ADR 0095)."""

_POINTS = [RIGHT_EYE, LEFT_EYE, MOUTH]


def crop_matrix(
    landmarks: Float32Array, *, side_px: int = CROP_SIDE_PX, framing: Framing = FRAMING
) -> Float32Array:
    """Return the similarity that puts eyes and mouth where the framing wants them.

    The mouth is fitted as well as the eyes because a turned head brings the eyes together: from the
    eyes alone, its crop would zoom in.

    Args:
        landmarks: float32 of shape (6, 2), in picture pixels.
        side_px: side of the crop.
        framing: where to put them.

    Returns:
        float32 of shape (2, 3), from picture to crop pixels.

    Raises:
        ValueError: eyes and mouth coincide.
    """
    return fit_similarity(landmarks[_POINTS], framing.points(side_px))


def cut_crop(
    picture: UInt8Array,
    landmarks: Float32Array,
    *,
    side_px: int = CROP_SIDE_PX,
    framing: Framing = FRAMING,
) -> UInt8Array:
    """Cut a face out of a picture.

    Args:
        picture: uint8 of shape (h, w, 3), B, G, R.
        landmarks: float32 of shape (6, 2), in its pixels.
        side_px: side of the crop.
        framing: where eyes and mouth shall lie.

    Returns:
        uint8 of shape (side_px, side_px, 3), B, G, R; black outside the picture.

    Raises:
        ValueError: eyes and mouth coincide.
    """
    matrix = crop_matrix(landmarks, side_px=side_px, framing=framing)
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    pixels = picture
    if scale < 0.5:
        pixels, matrix = _averaged_region(picture, matrix, scale=scale, side_px=side_px)
    return np.asarray(cv2.warpAffine(pixels, matrix, (side_px, side_px), flags=cv2.INTER_LINEAR), np.uint8)


def _averaged_region(
    picture: UInt8Array, matrix: Float32Array, *, scale: float, side_px: int
) -> tuple[UInt8Array, Float32Array]:
    """Shrink the region around a large face first: bilinear sampling would skip most of its pixels."""
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0], [side_px, 0], [0, side_px], [side_px, side_px]], np.float32)
    region = corners @ inverse[:, :2].T + inverse[:, 2]
    x_min, y_min = (int(max(0, v)) for v in np.floor(region.min(axis=0)) - 1)
    x_max, y_max = (int(v) for v in np.ceil(region.max(axis=0)) + 1)
    x_max, y_max = min(picture.shape[1], x_max), min(picture.shape[0], y_max)
    if x_max - x_min < 2 or y_max - y_min < 2:
        return picture, matrix
    part, by = shrink(picture[y_min:y_max, x_min:x_max], _longer_side(x_max - x_min, y_max - y_min, scale))
    # Pixel centres: full = (small + 0.5) / by - 0.5 + origin.
    back, middle = 1.0 / by, 0.5 / by - 0.5
    to_full = np.array([[back, 0, middle + x_min], [0, back, middle + y_min], [0, 0, 1]], np.float32)
    return part, np.asarray(matrix @ to_full, np.float32)


def _longer_side(width: int, height: int, scale: float) -> int:
    """Ask for the largest whole factor that still leaves more pixels than the crop has."""
    return -(-max(width, height) // int(1.0 / scale))
