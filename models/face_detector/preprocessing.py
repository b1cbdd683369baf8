"""Scale a camera frame onto the detector's square input."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import TensorShapeError
from models.face_detector.decoding import Letterbox

UInt8Array = npt.NDArray[np.uint8]


def letterbox_frame(frame_bgr: UInt8Array, letterbox: Letterbox, *, area_from: float = 1.0) -> UInt8Array:
    """Return the network input for one frame.

    Area averaging, because a webcam frame shrinks five-fold and bilinear sampling would skip most of
    its pixels: faces would flicker with sensor noise. Down to half the size bilinear sampling skips none; a
    caller may choose it there, because it takes a tenth of the time.

    Args:
        frame_bgr: uint8 of shape (height, width, 3), BGR, as OpenCV delivers it.
        letterbox: the result of `letterbox_parameters` for that height and width.
        area_from: frames that shrink by a larger factor than this are averaged by area, others sampled.

    Returns:
        uint8 of shape (1, input_px, input_px, 3), RGB, black outside the scaled frame.

    Raises:
        TensorShapeError: the frame has another shape or dtype than the letterbox was made for.
    """
    expected = (letterbox.frame_height_px, letterbox.frame_width_px, 3)
    if frame_bgr.shape != expected or frame_bgr.dtype != np.uint8:
        raise TensorShapeError(f"frame is {frame_bgr.dtype}{frame_bgr.shape}, not uint8{expected}")
    shrinks = letterbox.inner_width_px * area_from < letterbox.frame_width_px
    inner = cv2.resize(
        frame_bgr,
        (letterbox.inner_width_px, letterbox.inner_height_px),
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
    inner = cv2.cvtColor(inner, cv2.COLOR_BGR2RGB)
    side = letterbox.input_px
    if inner.shape == (side, side, 3):
        return np.asarray(inner, np.uint8)[np.newaxis]
    canvas = np.zeros((1, side, side, 3), np.uint8)
    rows = slice(letterbox.top_px, letterbox.top_px + letterbox.inner_height_px)
    columns = slice(letterbox.left_px, letterbox.left_px + letterbox.inner_width_px)
    canvas[0, rows, columns] = inner
    return canvas
