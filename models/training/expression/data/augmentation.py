"""What webcams do to faces: seeded distortions of grey training crops.

The serving crop is aligned by other landmarks than the training sets were, and comes from a webcam in
bad light through a JPEG. So pictures are shifted, scaled, turned, re-lit, blurred, coarsened, compressed,
covered and made noisy. Each distortion draws from a `numpy` generator, so a seed fixes the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentationSettings:
    """Strength of each distortion; every `*_share` is a probability in [0, 1]."""

    rotation_deg: float = 14.0
    """Standard deviation is half of this; turns are clipped to twice it."""
    shift: float = 0.08
    """Largest shift each way, as a share of the side."""
    scale_min: float = 0.82
    scale_max: float = 1.22
    aspect: float = 0.08
    shear: float = 0.08
    gamma: float = 0.5
    """Largest absolute log-gamma."""
    gradient_share: float = 0.3
    blur_share: float = 0.2
    coarse_share: float = 0.25
    coarse_min_px: int = 20
    jpeg_share: float = 0.25
    jpeg_min_quality: int = 25
    noise_share: float = 0.3
    noise_levels: float = 14.0
    cover_share: float = 0.3
    cover_max: float = 0.4
    """Largest covered side, as a share of the picture's."""
    spoil_share: float = 0.0
    """Share of pictures turned into something that is no readable face, to be called out of scope."""
    mix_share: float = 0.0
    """Share of batches in which each picture is blended with another, and their targets alike."""


def augment(
    picture: UInt8Array, *, side_px: int, settings: AugmentationSettings, rng: np.random.Generator
) -> UInt8Array:
    """Distort one grey picture as a webcam would.

    Args:
        picture: uint8 of shape (h, w).
        side_px: side of the result, in pixels.
        settings: strengths.
        rng: source of every draw.

    Returns:
        uint8 of shape (side_px, side_px).
    """
    draws = rng.random(8)
    out = warp(picture, side_px=side_px, settings=settings, rng=rng)
    if draws[0] < settings.coarse_share:
        out = coarsen(out, settings=settings, rng=rng)
    if draws[1] < settings.blur_share:
        out = blur(out, rng=rng)
    out = relight(out, gradient=bool(draws[2] < settings.gradient_share), settings=settings, rng=rng)
    if draws[3] < settings.cover_share:
        out = cover(out, settings=settings, rng=rng)
    if draws[4] < settings.noise_share:
        level = rng.uniform(2.0, settings.noise_levels)
        noisy = out + rng.standard_normal(out.shape, np.float32) * np.float32(level)
        out = np.clip(noisy, 0, 255).astype(np.uint8)
    if draws[5] < settings.jpeg_share:
        out = recompress(out, quality=int(rng.integers(settings.jpeg_min_quality, 90)))
    return out


def warp(
    picture: UInt8Array, *, side_px: int, settings: AugmentationSettings, rng: np.random.Generator
) -> UInt8Array:
    """Mirror, turn, scale, shear and shift in one resampling; returns uint8 (side_px, side_px)."""
    height, width = picture.shape
    turn = np.deg2rad(
        np.clip(
            rng.normal(0, settings.rotation_deg / 2), -2 * settings.rotation_deg, 2 * settings.rotation_deg
        )
    )
    log_scale = rng.uniform(np.log(settings.scale_min), np.log(settings.scale_max))
    stretch = rng.uniform(-settings.aspect, settings.aspect)
    shear = rng.uniform(-settings.shear, settings.shear)
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    x_gain = np.exp(log_scale + stretch) * side_px / width * mirror
    y_gain = np.exp(log_scale - stretch) * side_px / height
    cosine, sine = np.cos(turn), np.sin(turn)
    linear = (
        np.array([[cosine, -sine], [sine, cosine]])
        @ np.array([[1.0, shear], [0.0, 1.0]])
        @ np.diag([x_gain, y_gain])
    )
    shift = rng.uniform(-settings.shift, settings.shift, 2) * side_px
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = (side_px - 1) / 2 + shift - linear @ centre
    matrix = np.column_stack([linear, offset])
    border = (cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101, cv2.BORDER_CONSTANT)[int(rng.integers(3))]
    warped = cv2.warpAffine(
        picture,
        matrix,
        (side_px, side_px),
        flags=cv2.INTER_LINEAR,
        borderMode=border,
        borderValue=int(rng.integers(256)),
    )
    return np.asarray(warped, np.uint8)


def relight(
    picture: UInt8Array, *, gradient: bool, settings: AugmentationSettings, rng: np.random.Generator
) -> UInt8Array:
    """Change gamma, contrast and brightness with saturation; light one side more if `gradient`."""
    levels = np.linspace(0.0, 1.0, 256)
    curve = levels ** np.exp(rng.uniform(-settings.gamma, settings.gamma))
    curve = (curve - 0.5) * np.exp(rng.uniform(-0.5, 0.35)) + 0.5 + rng.uniform(-0.18, 0.18)
    table = np.clip(curve * 255.0, 0, 255).astype(np.uint8)
    lit: UInt8Array = table[picture]
    if not gradient:
        return lit
    side_px = picture.shape[0]
    axis = np.linspace(-1.0, 1.0, side_px, dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    strength = rng.uniform(0.2, 0.7)
    ramp = 1.0 + strength * (np.cos(angle) * axis[None, :] + np.sin(angle) * axis[:, None])
    return np.asarray(np.clip(lit * ramp.astype(np.float32), 0, 255), np.uint8)


def coarsen(picture: UInt8Array, *, settings: AugmentationSettings, rng: np.random.Generator) -> UInt8Array:
    """Lose resolution as a far or small face does."""
    side_px = picture.shape[0]
    small_px = int(rng.integers(settings.coarse_min_px, max(side_px, settings.coarse_min_px + 1)))
    small = cv2.resize(picture, (small_px, small_px), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (side_px, side_px), interpolation=cv2.INTER_LINEAR), np.uint8)


def blur(picture: UInt8Array, *, rng: np.random.Generator) -> UInt8Array:
    """Blur by defocus or, half of the time, by motion along one axis."""
    if rng.random() < 0.5:
        sigma = rng.uniform(0.5, 1.6)
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)
    length = int(rng.integers(3, 8))
    kernel = (length, 1) if rng.random() < 0.5 else (1, length)
    return np.asarray(cv2.blur(picture, kernel), np.uint8)


def cover(picture: UInt8Array, *, settings: AugmentationSettings, rng: np.random.Generator) -> UInt8Array:
    """Hide a rectangle behind a flat grey, as a hand, a cup or hair would."""
    side_px = picture.shape[0]
    height, width = (rng.uniform(0.12, settings.cover_max, 2) * side_px).astype(int)
    top = int(rng.integers(0, side_px - height))
    left = int(rng.integers(0, side_px - width))
    covered = picture.copy()
    covered[top : top + height, left : left + width] = rng.integers(256)
    return covered


def recompress(picture: UInt8Array, *, quality: int) -> UInt8Array:
    """Pass a grey picture through a JPEG of the given quality (1 to 100)."""
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)


def spoil(picture: UInt8Array, *, rng: np.random.Generator) -> UInt8Array:
    """Make a picture in which nobody could read an expression: torn apart, a mere corner, head down, or dark.

    Args:
        picture: uint8 (side, side).
        rng: source of every draw.
    """
    side_px = picture.shape[0]
    kind = int(rng.integers(4))
    if kind == 0:
        half = side_px // 2
        quarters = [picture[y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
        # A face's own order and its mirror image are left out.
        a, b, c, d = (quarters[i] for i in ((3, 2, 1, 0), (2, 0, 3, 1), (1, 3, 0, 2))[int(rng.integers(3))])
        torn = np.vstack([np.hstack([a, b]), np.hstack([c, d])])
        return np.asarray(cv2.resize(torn, (side_px, side_px)), np.uint8)
    if kind == 1:
        part = int(side_px * rng.uniform(0.2, 0.35))
        top, left = (int(v) * (side_px - part) for v in rng.integers(0, 2, 2))
        corner = picture[top : top + part, left : left + part]
        return np.asarray(cv2.resize(corner, (side_px, side_px), interpolation=cv2.INTER_LINEAR), np.uint8)
    if kind == 2:
        return np.ascontiguousarray(picture[::-1])
    blurred = cv2.GaussianBlur(picture, (0, 0), side_px * rng.uniform(0.12, 0.2))
    noise = rng.standard_normal(picture.shape, np.float32) * np.float32(rng.uniform(2, 14))
    return np.asarray(np.clip(blurred * rng.uniform(0.1, 1.0) + noise, 0, 255), np.uint8)


def spoiled_copies(pictures: UInt8Array, *, seed: int) -> list[UInt8Array]:
    """Return a spoiled copy of each picture of uint8 (n, side, side); the same for the same seed."""
    rng = np.random.default_rng(seed)
    return [spoil(picture, rng=rng) for picture in pictures]
