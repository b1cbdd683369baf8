"""Boxes and affine transforms in pixel coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """An axis-parallel box, xyxy, in pixels; half-open like array slices."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @property
    def width(self) -> float:
        """Width in pixels, never negative."""
        return max(0.0, self.x_max - self.x_min)

    @property
    def height(self) -> float:
        """Height in pixels, never negative."""
        return max(0.0, self.y_max - self.y_min)

    @property
    def side(self) -> float:
        """The longer side, in pixels."""
        return max(self.width, self.height)

    @property
    def area(self) -> float:
        """Area in square pixels."""
        return self.width * self.height

    @property
    def centre(self) -> tuple[float, float]:
        """Centre x, y in pixels."""
        return (self.x_min + self.x_max) / 2, (self.y_min + self.y_max) / 2

    @classmethod
    def of(cls, xyxy: npt.ArrayLike) -> Self:
        """Build a box from four numbers x_min, y_min, x_max, y_max."""
        x_min, y_min, x_max, y_max = (float(v) for v in np.asarray(xyxy, np.float64).reshape(4))
        return cls(x_min=x_min, y_min=y_min, x_max=x_max, y_max=y_max)

    def shifted(self, dx: float, dy: float) -> Box:
        """Return this box moved by dx, dy pixels."""
        return Box(x_min=self.x_min + dx, y_min=self.y_min + dy, x_max=self.x_max + dx, y_max=self.y_max + dy)

    def scaled(self, factor: float) -> Box:
        """Return this box with all coordinates multiplied, as when its picture is resized."""
        return Box(
            x_min=self.x_min * factor,
            y_min=self.y_min * factor,
            x_max=self.x_max * factor,
            y_max=self.y_max * factor,
        )

    def squared(self, factor: float) -> Box:
        """Return the square around the same centre whose side is `factor` times the longer side."""
        (x, y), half = self.centre, self.side * factor / 2
        return Box(x_min=x - half, y_min=y - half, x_max=x + half, y_max=y + half)

    def clipped(self, *, width: int, height: int) -> Box:
        """Return the part of this box inside a picture; may be empty."""
        return Box(
            x_min=min(max(self.x_min, 0.0), float(width)),
            y_min=min(max(self.y_min, 0.0), float(height)),
            x_max=min(max(self.x_max, 0.0), float(width)),
            y_max=min(max(self.y_max, 0.0), float(height)),
        )


def intersection_area(a: Box, b: Box) -> float:
    """Return the shared area of two boxes in square pixels."""
    width = min(a.x_max, b.x_max) - max(a.x_min, b.x_min)
    height = min(a.y_max, b.y_max) - max(a.y_min, b.y_min)
    return max(0.0, width) * max(0.0, height)


def iou(a: Box, b: Box) -> float:
    """Return intersection over union in [0, 1]; 0 where both boxes are empty."""
    shared = intersection_area(a, b)
    union = a.area + b.area - shared
    return shared / union if union > 0 else 0.0


def centre_distance(a: Box, b: Box) -> float:
    """Return the distance of two centres in pixels."""
    (ax, ay), (bx, by) = a.centre, b.centre
    return float(np.hypot(ax - bx, ay - by))


def transform_points(matrix: Float32Array, points: Float32Array) -> Float32Array:
    """Apply a (2, 3) affine matrix to points of shape (n, 2)."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)
