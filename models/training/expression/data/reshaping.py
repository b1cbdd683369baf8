"""Frowns, wrinkled noses and raised inner brows, made from faces at rest by warping and shading.

Closed mouths with lowered brows hardly occur in the training sets, and networks that learned those read them as
neutral. Landmarks say where brows, lids, nose and lips lie; they are moved by what the expression moves (Ekman & Friesen's action
units), and the folds that skin throws there are shaded.

References:
    Ekman & Friesen (1978), Facial Action Coding System: AU 4 and 7, 9 and 10, 1 and 15.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
import numpy.typing as npt

from models.expression.taxonomy import LABELS, N_OUTPUTS

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

N_POINTS = 478
"""Landmarks of MediaPipe's face mesh with irises; indices below are of that mesh, left and right as in the picture."""

EYE_CORNERS = (33, 263)
MIDDLE = 168
"""Root of the nose, between the eyes: origin of the folds' coordinates."""

_INNER_BROWS = ((107, 55, 66), (336, 285, 296))
_MIDDLE_BROWS = ((105, 52, 65), (334, 282, 295))
_UPPER_LIDS = ((159, 158, 160), (386, 385, 387))
_LOWER_LIDS = ((145, 144, 153), (374, 373, 380))
_NOSE_WINGS = ((129, 64, 48), (358, 294, 278))
_MOUTH_CORNERS = ((61,), (291,))
_UPPER_LIP = ((37, 40), (267, 270))
_UPPER_LIP_MIDDLE = (0,)
_LOWER_LIP = ((84,), (314,))
_LOWER_LIP_MIDDLE = (17,)
_ANCHORS = (1, 4, 33, 133, 362, 263, 10, 67, 297, 103, 332, 152, 172, 397, 136, 365, 234, 454, 50, 280)

_QUIET = (50, 280, 152, 172, 397, 10, 67, 297, 234, 454, 205, 425, 117, 346)

SPREAD = 0.11
"""Standard deviation of the Gaussian by which a displacement spreads, in distances between outer eye corners."""

FULL_SHARE = 0.75
"""Share of the label in the target of a shape at full strength."""


FROWN, WRINKLED_NOSE, RAISED_INNER_BROWS = "frown", "wrinkled_nose", "raised_inner_brows"

SHAPES: Mapping[str, tuple[str, Mapping[str, float]]] = MappingProxyType(
    {
        FROWN: ("angry", {"neutral": 0.6, "disgust": 0.2, "sad": 0.2}),
        WRINKLED_NOSE: ("disgust", {"neutral": 0.5, "angry": 0.5}),
        RAISED_INNER_BROWS: ("sad", {"neutral": 0.8, "disgust": 0.1, "angry": 0.1}),
    }
)
"""What each shape is called, and which labels share the rest of its target."""

# Per shape: groups of points by side, and their movement (inwards, down) in eye-corner distances.
_MOVES: Mapping[str, tuple[tuple[tuple[tuple[int, ...], tuple[int, ...]], float, float], ...]] = (
    MappingProxyType(
        {
            FROWN: (
                (_INNER_BROWS, 0.07, 0.11),
                (_MIDDLE_BROWS, 0.02, 0.10),
                (_UPPER_LIDS, 0.0, 0.02),
                (_LOWER_LIDS, 0.0, -0.02),
                (_UPPER_LIP, 0.0, 0.03),
                (_LOWER_LIP, 0.0, -0.03),
                ((_UPPER_LIP_MIDDLE, ()), 0.0, 0.03),
                ((_LOWER_LIP_MIDDLE, ()), 0.0, -0.03),
                (_MOUTH_CORNERS, 0.03, 0.0),
            ),
            WRINKLED_NOSE: (
                (_NOSE_WINGS, 0.0, -0.07),
                (_UPPER_LIP, 0.0, -0.10),
                ((_UPPER_LIP_MIDDLE, ()), 0.0, -0.08),
                (_INNER_BROWS, 0.03, 0.06),
                (_LOWER_LIDS, 0.0, -0.02),
            ),
            RAISED_INNER_BROWS: (
                (_INNER_BROWS, 0.02, -0.10),
                (_MIDDLE_BROWS, 0.0, -0.03),
                (_MOUTH_CORNERS, 0.0, 0.09),
                (_LOWER_LIP, 0.0, -0.02),
                ((_LOWER_LIP_MIDDLE, ()), 0.0, -0.02),
            ),
        }
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """How much of a shape is applied.

    Attributes:
        left: on the picture's left half, about 0.6 to 1.3.
        right: on its right half.
        shade: of the folds, 0 to about 1.3.
    """

    left: float
    right: float
    shade: float

    @property
    def mean(self) -> float:
        """Mean strength of both halves."""
        return (self.left + self.right) / 2


def draw_strength(rng: np.random.Generator) -> Strength:
    """Draw a strength: .6 to 1.3, a little different on either side, folds independent of it."""
    strength = rng.uniform(0.6, 1.3)
    skew = rng.uniform(-0.15, 0.15)
    return Strength(
        left=strength * (1 + skew), right=strength * (1 - skew), shade=strength * rng.uniform(0.3, 1.2)
    )


def reshape_face(picture: UInt8Array, points: Float32Array, shape: str, strength: Strength) -> UInt8Array:
    """Let a face at rest show an expression.

    Args:
        picture: uint8 (h, w) or (h, w, 3).
        points: float32 (478, 2), landmarks in its pixels.
        shape: one of `SHAPES`.
        strength: how much.

    Returns:
        A new picture of the same shape.
    """
    unit = float(np.hypot(*(points[EYE_CORNERS[1]] - points[EYE_CORNERS[0]])))
    controls, moves = _controls(points, shape, strength, unit)
    shift = _displacement(picture.shape[:2], points, controls, moves, reach=SPREAD * unit)
    height, width = picture.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    moved = cv2.remap(
        picture, x - shift[..., 0], y - shift[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    gain = 1 + strength.shade * _folds(picture.shape[:2], points, shape, unit)
    if moved.ndim == 3:
        gain = gain[..., None]
    return np.asarray(np.clip(moved * gain, 0, 255), np.uint8)


def shape_target(shape: str, strength: Strength) -> Float32Array:
    """Return the target of a shaped face, float32 (7,), sum 1: the weaker the shape, the nearer to rest."""
    label, rest = SHAPES[shape]
    share = FULL_SHARE * float(np.clip(strength.mean / 0.95, 0.5, 1.1))
    target = np.zeros(N_OUTPUTS, np.float32)
    target[LABELS.index(label)] = share
    for name, part in rest.items():
        target[LABELS.index(name)] = part * (1 - share)
    return target


def disturb_face(picture: UInt8Array, points: Float32Array, *, rng: np.random.Generator) -> UInt8Array:
    """Move and shade a face about as much as a shape does, but where no expression does: cheeks, jaw and forehead.

    Args:
        picture: uint8 (h, w) or (h, w, 3).
        points: float32 (478, 2), landmarks in its pixels.
        rng: source of every draw.

    Returns:
        A new picture of the same shape.
    """
    unit = float(np.hypot(*(points[EYE_CORNERS[1]] - points[EYE_CORNERS[0]])))
    height, width = picture.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    shift = np.zeros((height, width, 2), np.float32)
    reach = 0.12 * unit
    for index in rng.choice(_QUIET, 4, replace=False):
        weight = np.exp(-((x - points[index, 0]) ** 2 + (y - points[index, 1]) ** 2) / (2 * reach * reach))
        shift += weight[..., None] * (rng.normal(0, 0.05, 2) * unit).astype(np.float32)
    gain = np.ones((height, width), np.float32)
    for index in rng.choice(_QUIET, int(rng.integers(2, 6)), replace=False):
        middle, angle = points[index] + rng.normal(0, 0.05, 2) * unit, rng.uniform(0, np.pi)
        along = (x - middle[0]) * np.cos(angle) + (y - middle[1]) * np.sin(angle)
        beside = (y - middle[1]) * np.cos(angle) - (x - middle[0]) * np.sin(angle)
        thin, long = rng.uniform(0.01, 0.04) * unit, rng.uniform(0.04, 0.1) * unit
        depth = rng.uniform(0.1, 0.3) * (1 if rng.random() < 1 / 3 else -1)
        gain += np.float32(depth) * np.exp(-((along / thin) ** 2 + (beside / long) ** 2) / 2)
    moved = cv2.remap(
        picture, x - shift[..., 0], y - shift[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    lit = moved * (gain[..., None] if moved.ndim == 3 else gain)
    return np.asarray(np.clip(lit, 0, 255), np.uint8)


def _controls(
    points: Float32Array, shape: str, strength: Strength, unit: float
) -> tuple[Float32Array, Float32Array]:
    across = (points[EYE_CORNERS[1]] - points[EYE_CORNERS[0]]) / unit
    down = np.array([-across[1], across[0]], np.float32)
    places, moves = [], []
    for sides, inwards, lower in _MOVES[shape]:
        middle = not sides[1]
        for side, (indices, amount) in enumerate(zip(sides, (strength.left, strength.right), strict=True)):
            amount = strength.mean if middle else amount
            towards = 0.0 if middle else inwards * (1 if side == 0 else -1)
            for index in indices:
                places.append(points[index])
                moves.append((across * towards + down * lower) * amount * unit)
    return np.array(places, np.float32), np.array(moves, np.float32)


def _displacement(
    size: tuple[int, int],
    points: Float32Array,
    controls: Float32Array,
    moves: Float32Array,
    *,
    reach: float,
) -> Float32Array:
    """Spread the moves by Gaussians; anchors hold what must stay."""
    x, y = np.meshgrid(np.arange(size[1], dtype=np.float32), np.arange(size[0], dtype=np.float32))

    def weights(places: Float32Array) -> Float32Array:
        dx = x[..., None] - places[:, 0]
        dy = y[..., None] - places[:, 1]
        return np.asarray(np.exp(-(dx * dx + dy * dy) / np.float32(2 * reach * reach)), np.float32)

    moving, still = weights(controls), weights(points[list(_ANCHORS)])
    total = np.maximum(moving.sum(axis=2) + still.sum(axis=2), 1.0)
    return np.asarray((moving @ moves) / total[..., None], np.float32)


def _folds(size: tuple[int, int], points: Float32Array, shape: str, unit: float) -> Float32Array:
    """Return what the folds add to the brightness of each pixel, as a share; float32 (h, w)."""
    across = (points[EYE_CORNERS[1]] - points[EYE_CORNERS[0]]) / unit
    x, y = np.meshgrid(np.arange(size[1], dtype=np.float32), np.arange(size[0], dtype=np.float32))
    dx, dy = (x - points[MIDDLE, 0]) / unit, (y - points[MIDDLE, 1]) / unit
    u = dx * across[0] + dy * across[1]
    v = -dx * across[1] + dy * across[0]

    def spot(u0: float, v0: float, su: float, sv: float) -> Float32Array:
        return np.asarray(np.exp(-(((u - u0) / su) ** 2 + ((v - v0) / sv) ** 2) / 2), np.float32)

    if shape == FROWN:
        lines = sum(spot(side * 0.05, -0.09, 0.013, 0.06) for side in (-1, 1))
        shade = sum(spot(side * 0.13, -0.02, 0.07, 0.035) for side in (-1, 1))
        return np.asarray(-0.30 * lines + 0.14 * spot(0, -0.09, 0.02, 0.06) - 0.22 * shade, np.float32)
    if shape == WRINKLED_NOSE:
        lines = sum(spot(0, v0, 0.07, 0.010) for v0 in (-0.01, 0.04, 0.09))
        sides = sum(spot(side * 0.12, 0.08, 0.02, 0.08) for side in (-1, 1))
        wings = [(points[i] - points[MIDDLE]) / unit for i in (129, 358)]
        creases = sum(
            spot(float(w @ across) * 1.25, float(-w[0] * across[1] + w[1] * across[0]), 0.025, 0.07)
            for w in wings
        )
        return np.asarray(-0.20 * lines - 0.12 * sides - 0.25 * creases, np.float32)
    corners = [(points[i] - points[MIDDLE]) / unit for i in (61, 291)]
    mouth = sum(
        spot(float(c @ across), float(-c[0] * across[1] + c[1] * across[0]) + 0.09, 0.04, 0.03)
        for c in corners
    )
    lines = sum(spot(0, v0, 0.14, 0.012) for v0 in (-0.27, -0.33))
    return np.asarray(-0.15 * mouth - 0.12 * lines, np.float32)
