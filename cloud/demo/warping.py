"""Draws the portrait with displaced landmarks.

Each lip belongs to its own smooth field (a thin-plate spline through the landmarks of that half), because one field
cannot tear a mouth open or close it. Between the displaced inner lip edges the mouth's inside shows: the teeth hang
from the upper lip, below them it is dark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

from cloud.demo.portrait import (
    LANDMARKS,
    LOWER_IN,
    PINNED,
    UPPER_IN,
    Point,
    load_portrait,
    with_closed_eyes,
    without_smile,
)

Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]

FACE_BOX = (166, 72, 288, 202)
"""x0, y0, x1, y1 of the part of the picture that ever moves, in picture pixels."""

GRID_STEP_PX = 2
CAVITY_RGB = (46.0, 22.0, 20.0)
FEATHER_PX = 0.7
LIP_OVERLAP_PX = 1.0
LIP_LINE_PX = 0.9
LIP_LINE_SHADE = 0.55

_UPPER = tuple(name for name in LANDMARKS if not name.startswith("lower_"))
_LOWER = tuple(name for name in LANDMARKS if not name.startswith("upper_"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """What to draw: landmark displacements in picture pixels, and the looks of `portrait.Pose`."""

    moves: Mapping[str, Point]
    smile_folds: float
    teeth: float
    mouth_depth: float
    lids: float = 0.0
    """How far the lids are closed, 0..1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The camera's window on the picture: left, top and the picture pixels per output pixel."""

    left: float
    top: float
    step: float
    width_px: int
    height_px: int


def _thin_plate(squared: Float32Array) -> Float32Array:
    return np.asarray(squared * np.log(np.maximum(squared, 1e-6)), np.float32)


def fit_displacement(targets: Float32Array, offsets: Float32Array, at: Float32Array) -> Float32Array:
    """Evaluate the thin-plate spline that takes each value at its point.

    Args:
        targets: float32 of shape (n, 2), where the landmarks are to be, in pixels.
        offsets: float32 of shape (n, 2), the displacement wanted there, in pixels.
        at: float32 of shape (m, 2), where to evaluate, in pixels.

    Returns:
        float32 of shape (m, 2).

    References:
        Bookstein (1989), Principal warps, IEEE TPAMI 11(6).
    """
    count = len(targets)
    scale = 100.0
    knots, points = targets / scale, at / scale
    gaps = ((knots[:, None] - knots[None]) ** 2).sum(-1)
    affine = np.hstack([np.ones((count, 1), np.float32), knots])
    system = np.zeros((count + 3, count + 3), np.float64)
    system[:count, :count] = _thin_plate(gaps) + 1e-5 * np.eye(count)
    system[:count, count:] = affine
    system[count:, :count] = affine.T
    wanted = np.zeros((count + 3, 2))
    wanted[:count] = offsets
    weights = np.linalg.solve(system, wanted).astype(np.float32)
    squared = (points**2).sum(1)[:, None] + (knots**2).sum(1)[None] - 2 * points @ knots.T
    basis = np.hstack([_thin_plate(np.maximum(squared, 0)), np.ones((len(points), 1), np.float32), points])
    return np.asarray(basis @ weights, np.float32)


class PortraitPainter:
    """Paints faces into one fixed view."""

    def __init__(self, view: View) -> None:
        self._with_folds = load_portrait().astype(np.float32)
        self._smooth = without_smile(load_portrait()).astype(np.float32)
        self._lids = with_closed_eyes(load_portrait()).astype(np.float32) - self._with_folds
        columns = view.left + (np.arange(view.width_px, dtype=np.float32) + 0.5) * view.step
        rows = view.top + (np.arange(view.height_px, dtype=np.float32) + 0.5) * view.step
        all_x, all_y = np.meshgrid(columns, rows)
        self._still = _read(self._with_folds, all_x, all_y)
        x0, y0, x1, y1 = FACE_BOX
        wanted = slice(*np.searchsorted(rows, (y0, y1))), slice(*np.searchsorted(columns, (x0, x1)))
        self._window = wanted
        self._x, self._y = all_x[wanted], all_y[wanted]
        self._grid_x = np.arange(x0, x1 + 1, GRID_STEP_PX, dtype=np.float32)
        self._grid_y = np.arange(y0, y1 + 1, GRID_STEP_PX, dtype=np.float32)
        grid = np.meshgrid(self._grid_x, self._grid_y)
        self._grid = np.stack([grid[0].ravel(), grid[1].ravel()], axis=1).astype(np.float32)
        taper_x = np.clip(np.minimum(self._grid[:, 0] - x0, x1 - self._grid[:, 0]) / 10, 0, 1)
        taper_y = np.clip(np.minimum(self._grid[:, 1] - y0, y1 - self._grid[:, 1]) / 10, 0, 1)
        self._taper = (taper_x * taper_y)[:, None].astype(np.float32)

    def paint(self, face: Face) -> UInt8Array:
        """Return the view with this face: uint8 of shape (height_px, width_px, 3), R, G, B."""
        source = self._smooth + (self._with_folds - self._smooth) * np.float32(face.smile_folds)
        source = source + self._lids * np.float32(face.lids)
        upper = self._field(face, _UPPER)
        lower = self._field(face, _LOWER)
        upper_line, lower_line = _lip_lines(face.moves, self._x)
        seam = self._y - 0.5 * (upper_line + lower_line)
        low = np.clip(seam / FEATHER_PX + 0.5, 0, 1)[..., None]
        moved = upper * (1 - low) + lower * low
        skin = _read(source, self._x + moved[..., 0], self._y + moved[..., 1])
        closed = np.clip((upper_line - lower_line) / LIP_OVERLAP_PX, 0, 1) * np.exp(
            -((seam / LIP_LINE_PX) ** 2)
        )
        skin = skin * (1 - LIP_LINE_SHADE * closed[..., None])
        above = np.clip((self._y - upper_line) / FEATHER_PX, 0, 1)
        below = np.clip((lower_line - self._y) / FEATHER_PX, 0, 1)
        inside = (above * below)[..., None]
        mouth = _mouth(face, source, self._x + upper[..., 0], self._y + upper[..., 1])
        painted = self._still.copy()
        painted[self._window] = skin * (1 - inside) + mouth * inside
        return np.asarray(np.clip(painted, 0, 255), np.uint8)

    def _field(self, face: Face, names: tuple[str, ...]) -> Float32Array:
        """Where to read for each pixel of the window, relative to the pixel: shape (h, w, 2), picture pixels."""
        rest = np.array([LANDMARKS[name] for name in names] + list(PINNED), np.float32)
        moves = np.zeros_like(rest)
        moves[: len(names)] = [face.moves.get(name, (0.0, 0.0)) for name in names]
        coarse = fit_displacement(rest + moves, -moves, self._grid) * self._taper
        coarse = coarse.reshape(len(self._grid_y), len(self._grid_x), 2)
        grid_x = np.asarray((self._x - self._grid_x[0]) / GRID_STEP_PX, np.float32)
        grid_y = np.asarray((self._y - self._grid_y[0]) / GRID_STEP_PX, np.float32)
        return np.asarray(cv2.remap(coarse, grid_x, grid_y, cv2.INTER_LINEAR))


def _read(source: Float32Array, x: Float32Array, y: Float32Array) -> Float32Array:
    x, y = np.asarray(x, np.float32), np.asarray(y, np.float32)
    return np.asarray(cv2.remap(source, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _lip_lines(moves: Mapping[str, Point], at_x: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Heights of the upper and the lower lip's inner edge at each x; constant beyond the corners. Lips pressed together overlap."""
    lines = []
    for names in (UPPER_IN, LOWER_IN):
        points = np.array([np.add(LANDMARKS[name], moves.get(name, (0.0, 0.0))) for name in names])
        edge = PchipInterpolator(points[:, 0], points[:, 1])
        lines.append(np.asarray(edge(np.clip(at_x, points[0, 0], points[-1, 0])), np.float32))
    return lines[0], lines[1]


def _mouth(face: Face, source: Float32Array, x: Float32Array, y: Float32Array) -> Float32Array:
    """The mouth's inside: the picture's teeth where the upper lip's field still shows them, dark elsewhere."""
    teeth_end = _lip_lines({}, x)[1]
    beyond = np.clip((y - teeth_end) / 1.2 + 0.8, 0, 1) * face.mouth_depth
    dark = np.maximum(beyond, 1 - face.teeth)[..., None]
    return np.asarray(
        _read(source, x, y) * (1 - dark) + np.asarray(CAVITY_RGB, np.float32) * dark, np.float32
    )
