"""Make a picture small by averaging, cheaply whatever its size."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]


def shrink(pixels: UInt8Array, longer_side_px: int) -> tuple[UInt8Array, float]:
    """Make a picture small by a whole factor, cheaply whatever its size.

    Whole factors average three to ten times faster than others. From a factor of four on, rows and
    columns are dropped first, so that a 4K frame costs little more than a small one.

    Args:
        pixels: uint8 of shape (h, w, 3).
        longer_side_px: the result's longer side is at most this; smaller pictures stay as they are.

    Returns:
        The small picture, C-contiguous, and its pixels per original pixel; a remainder of less than
        one small pixel at the right and bottom edge is left out.
    """
    factor = -(-max(pixels.shape[:2]) // longer_side_px)
    if factor <= 1:
        return np.ascontiguousarray(pixels), 1.0
    factor += factor % 2 if factor > 3 else 0
    stride = factor // 2 if factor > 3 else 1
    height, width = (max(1, side // factor) for side in pixels.shape[:2])
    kept = pixels[: height * factor : stride, : width * factor : stride]
    small = cv2.resize(kept, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), 1.0 / factor
