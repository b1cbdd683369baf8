"""Lift dark pictures, so that the face network sees them as if the light were on."""

from __future__ import annotations

import cv2
import numpy as np

from edge_agent.camera.frames import UInt8Array

DARK_HIGHLIGHT = 128.0
"""A picture whose highlights are at least this bright stays as it is."""

_TARGET = 235.0
_GAIN_MAX = 12.0
_HIGHLIGHT_SHARE = 0.97
_SAMPLES_A_SIDE = 32


def lift(picture: UInt8Array) -> UInt8Array:
    """Multiply a dark picture until its highlights are bright; any other is returned as it is.

    The highlight is the 97th percentile of the brightest channel: a lamp or window in view does not decide, and
    nothing but a few bright spots saturates.

    Args:
        picture: uint8 of shape (h, w, 3), at least 1x1.

    Returns:
        uint8 of the same shape; at most twelve times as bright.
    """
    stride = max(1, min(picture.shape[:2]) // _SAMPLES_A_SIDE)
    blue, green, red = (picture[::stride, ::stride, channel] for channel in range(3))
    samples = np.maximum(np.maximum(blue, green), red).reshape(-1)
    place = int(_HIGHLIGHT_SHARE * (samples.size - 1))
    # In normal light, which is nearly always, counting spares the selection.
    if np.count_nonzero(samples < np.uint8(DARK_HIGHLIGHT)) <= place:
        return picture
    highlight = float(np.partition(samples, place)[place])
    gain = min(_GAIN_MAX, _TARGET / max(1.0, highlight))
    table = np.clip(np.arange(256) * gain, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(picture, table), np.uint8)
