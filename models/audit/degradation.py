"""Make test pictures worse in one known way at a time: light, blur, size, roll, yaw, cover.

Everything is made from upright, lit, frontal test pictures, so a slice shows what one cause does alone. Two are
approximations. Yaw turns the flat picture before a camera four faces away: it foreshortens and slants, but
shows no other cheek and hides none. Darkness scales the pixels and adds a sensor's noise; it does not
move the light, which `side light` does with a ramp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]
Change = Callable[[UInt8Array, np.random.Generator], UInt8Array]

GREY = (128, 128, 128)
NOISE_LEVELS = 3.0
"""Standard deviation of the noise that is added in the dark, in grey levels."""

CAMERA_FACES_AWAY = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One way to make a picture worse, and how much."""

    cause: str
    degree: str
    change: Change


def all_slices() -> tuple[Slice, ...]:
    """Return every slice, beginning with the one that changes nothing."""
    made = [Slice(cause="none", degree="as it is", change=lambda p, _: p)]
    made += [
        _made("light", f"x {gain:g}", lambda p, rng, g=gain: dim(p, g, rng)) for gain in (0.5, 0.25, 0.1)
    ]
    made += [
        _made("light", "x 1.8, clipped", lambda p, rng: dim(p, 1.8, rng)),
        _made("light", "from one side", lambda p, _: side_light(p)),
    ]
    made += [_made("blur", f"sigma {s:g} %", lambda p, _, s=s: blur(p, s)) for s in (1.0, 2.0, 3.0)]
    made += [_made("size", f"{side} px", lambda p, _, s=side: shrink(p, s)) for side in (48, 32, 24, 16)]
    made += [_made("roll", f"{angle} deg", lambda p, _, a=angle: turn(p, a)) for angle in (15, 30, 45)]
    made += [_made("yaw", f"{angle} deg, flat", lambda p, _, a=angle: swivel(p, a)) for angle in (20, 40, 60)]
    made += [
        _made("cover", "mouth", lambda p, _: cover(p, 0.58, 1.0)),
        _made("cover", "eyes", lambda p, _: cover(p, 0.24, 0.44)),
    ]
    return tuple(made)


def dim(picture: UInt8Array, gain: float, rng: np.random.Generator) -> UInt8Array:
    """Multiply by a gain, add sensor noise, clip."""
    noise = rng.normal(0.0, NOISE_LEVELS, picture.shape)
    return np.asarray(np.clip(picture * gain + noise, 0, 255), np.uint8)


def side_light(picture: UInt8Array) -> UInt8Array:
    """Darken from full light at the left edge to a sixth at the right."""
    ramp = np.linspace(1.0, 1 / 6, picture.shape[1])
    return np.asarray(picture * (ramp if picture.ndim == 2 else ramp[:, None]), np.uint8)


def blur(picture: UInt8Array, sigma_percent: float) -> UInt8Array:
    """Blur by a Gaussian whose sigma is given in hundredths of the picture's width."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma_percent * picture.shape[1] / 100), np.uint8)


def shrink(picture: UInt8Array, side_px: int) -> UInt8Array:
    """Make the picture `side_px` wide and high: that many pixels are all there is of the face."""
    return np.asarray(cv2.resize(picture, (side_px, side_px), interpolation=cv2.INTER_AREA), np.uint8)


def turn(picture: UInt8Array, angle_deg: float) -> UInt8Array:
    """Rotate about the centre; grey where nothing was."""
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2 - 0.5, height / 2 - 0.5), angle_deg, 1.0)
    return np.asarray(cv2.warpAffine(picture, matrix, (width, height), borderValue=GREY), np.uint8)


def swivel(picture: UInt8Array, angle_deg: float) -> UInt8Array:
    """Turn the flat picture about its upright axis before a camera; grey where nothing is left."""
    height, width = picture.shape[:2]
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    angle = np.radians(angle_deg)
    depth = CAMERA_FACES_AWAY + corners[:, 0] * np.sin(angle)
    seen = np.stack([corners[:, 0] * np.cos(angle), corners[:, 1]], axis=1)
    seen = seen * (CAMERA_FACES_AWAY / depth)[:, None]
    size = np.array([width, height])
    matrix = cv2.getPerspectiveTransform(
        ((corners + 0.5) * size).astype(np.float32), ((seen + 0.5) * size).astype(np.float32)
    )
    return np.asarray(cv2.warpPerspective(picture, matrix, (width, height), borderValue=GREY), np.uint8)


def cover(picture: UInt8Array, top: float, bottom: float) -> UInt8Array:
    """Paint a band of the picture grey, from `top` to `bottom` in heights."""
    covered = picture.copy()
    height = picture.shape[0]
    covered[round(top * height) : round(bottom * height)] = 110
    return covered


def _made(cause: str, degree: str, change: Callable[..., UInt8Array]) -> Slice:
    return Slice(cause=cause, degree=degree, change=change)
