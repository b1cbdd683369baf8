"""The one definition of how a face crop becomes network input, in training, evaluation and serving.

Grey, square, standardised: colour carries little expression and differs most between cameras, so the
network never sees it; standardising each crop by its own mean and spread takes out exposure and contrast.
numpy and cv2 only: the serving path must not reach TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import TensorShapeError

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

INPUT_SIDE_PX = 56
"""Side of the network input, in pixels."""

INPUT_LIMIT = 3.0
"""Standardised values are clipped to [-INPUT_LIMIT, INPUT_LIMIT], so int8 input has one fixed scale."""

MIN_SPREAD = 10.0
"""Floor of the standard deviation, in grey levels: keeps sensor noise on a flat crop from becoming a face."""


def to_grey(crop: UInt8Array) -> UInt8Array:
    """Return the luma of a crop.

    Args:
        crop: uint8 of shape (h, w), (h, w, 1) or (h, w, 3) in R, G, B order.

    Returns:
        uint8 of shape (h, w).

    Raises:
        TensorShapeError: any other shape or dtype, or an empty crop.
    """
    if crop.dtype != np.uint8 or crop.ndim not in (2, 3) or 0 in crop.shape:
        raise TensorShapeError(
            f"crop must be uint8 (h, w), (h, w, 1) or (h, w, 3), got {crop.dtype} {crop.shape}"
        )
    if crop.ndim == 2:
        return crop
    if crop.shape[2] == 1:
        return crop[:, :, 0]
    if crop.shape[2] == 3:
        return np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), np.uint8)
    raise TensorShapeError(f"crop must have one or three channels, got shape {crop.shape}")


def resize_grey(grey: UInt8Array, side_px: int) -> UInt8Array:
    """Resize a grey crop to a square, by area averaging when it shrinks, bilinearly when it grows.

    Args:
        grey: uint8 of shape (h, w).
        side_px: wanted side, in pixels.

    Returns:
        uint8 of shape (side_px, side_px).
    """
    height, width = grey.shape
    if (height, width) == (side_px, side_px):
        return grey
    shrinks = height > side_px and width > side_px
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(grey, (side_px, side_px), interpolation=method), np.uint8)


def standardise(grey: UInt8Array) -> Float32Array:
    """Standardise each picture of a batch by its own mean and spread, then clip.

    Args:
        grey: uint8 of shape (n, side, side).

    Returns:
        float32 of shape (n, side, side, 1) in [-3, 3].
    """
    pixels = grey.astype(np.float32)
    mean = pixels.mean(axis=(1, 2), keepdims=True)
    spread = np.maximum(pixels.std(axis=(1, 2), keepdims=True), MIN_SPREAD)
    return np.asarray(np.clip((pixels - mean) / spread, -INPUT_LIMIT, INPUT_LIMIT)[..., None], np.float32)


def prepare_batch(crops: Sequence[UInt8Array], *, side_px: int = INPUT_SIDE_PX) -> Float32Array:
    """Turn decoded crops into one network input.

    Args:
        crops: uint8 pictures of any size, each (h, w), (h, w, 1) or (h, w, 3) in R, G, B order.
        side_px: side of the network input, in pixels.

    Returns:
        float32 of shape (len(crops), side_px, side_px, 1) in [-3, 3].

    Raises:
        TensorShapeError: a crop has another shape or dtype.
    """
    grey = np.empty((len(crops), side_px, side_px), np.uint8)
    for index, crop in enumerate(crops):
        luma = to_grey(crop)
        resized = resize_grey(luma, side_px)
        grey[index] = resized
        # a face is not left behind in memory that nobody looks after
        for made in (luma, resized):
            if not np.may_share_memory(made, crop):
                made.fill(0)
    prepared = standardise(grey)
    grey.fill(0)
    return prepared


def prepare_crop(crop: UInt8Array, *, side_px: int = INPUT_SIDE_PX) -> Float32Array:
    """Turn one decoded crop into network input of shape (1, side_px, side_px, 1); see `prepare_batch`."""
    return prepare_batch([crop], side_px=side_px)
