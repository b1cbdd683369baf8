"""A captured frame, with the small view that detection works on."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edge_agent.errors import FrameError
from models.face_crop.shrinking import shrink

UInt8Array = npt.NDArray[np.uint8]

FRAME_SIDE_MIN_PX = 32
FRAME_SIDE_MAX_PX = 8_192
"""A camera outside these sides is a driver gone wrong."""

VIEW_SIDE_PX = 320
"""Longer side of the view; a face of a sixth of the frame still spans 50 px in it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """One captured picture.

    Attributes:
        pixels: uint8 of shape (h, w, 3) in B, G, R order.
        index: number of the frame in its session, counted at capture, from 0.
        monotonic_us: capture time on this machine's monotonic clock, in microseconds.
    """

    pixels: UInt8Array
    index: int
    monotonic_us: int

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])

    def __repr__(self) -> str:
        return f"Frame(index={self.index}, {self.width}x{self.height})"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """A frame made small; every vision step but the crop reads this.

    Attributes:
        bgr: uint8 of shape (h, w, 3), longer side at most `VIEW_SIDE_PX`.
        grey: uint8 of shape (h, w), its luma.
        scale: view pixels per frame pixel, in (0, 1].
    """

    bgr: UInt8Array
    grey: UInt8Array
    scale: float

    def __repr__(self) -> str:
        return f"View({self.bgr.shape[1]}x{self.bgr.shape[0]}, scale={self.scale:.3f})"


def as_bgr(picture: UInt8Array) -> UInt8Array:
    """Return a camera's picture as B, G, R; a grey camera's luma is repeated.

    Args:
        picture: uint8 of shape (h, w), (h, w, 1), (h, w, 3) in B, G, R or (h, w, 4) in B, G, R, A order.

    Raises:
        FrameError: another shape or dtype, or a side outside 32..8192 pixels.
    """
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3):
        raise FrameError(f"a frame must be uint8 with 2 or 3 axes, got {picture.dtype} with {picture.ndim}")
    height, width = picture.shape[:2]
    if min(height, width) < FRAME_SIDE_MIN_PX or max(height, width) > FRAME_SIDE_MAX_PX:
        raise FrameError(
            f"a frame of {width}x{height} px is outside {FRAME_SIDE_MIN_PX}..{FRAME_SIDE_MAX_PX} px"
        )
    channels = 1 if picture.ndim == 2 else picture.shape[2]
    if channels == 3:
        return picture
    if channels == 1:
        return np.asarray(cv2.cvtColor(picture.reshape(height, width), cv2.COLOR_GRAY2BGR), np.uint8)
    if channels == 4:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGRA2BGR), np.uint8)
    raise FrameError(f"a frame must have 1, 3 or 4 channels, got {channels}")


def make_view(frame: Frame) -> View:
    """Return the small view of a frame."""
    bgr, scale = shrink(frame.pixels, VIEW_SIDE_PX)
    return View(bgr=bgr, grey=np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), np.uint8), scale=scale)
