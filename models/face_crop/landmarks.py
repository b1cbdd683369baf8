"""The six landmarks of a face, and the similarity that maps one set of points onto another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]

RIGHT_EYE, LEFT_EYE, NOSE, MOUTH, RIGHT_EAR, LEFT_EAR = range(6)
"""Rows of a landmark array; right and left are the viewer's own, so the right eye is left in the picture."""

N_LANDMARKS = 6


def fit_similarity(source: Float32Array, target: Float32Array) -> Float32Array:
    """Fit the rotation, scale and shift that best map one point set onto another.

    Args:
        source: float of shape (n, 2), n >= 2, not all equal.
        target: float of shape (n, 2).

    Returns:
        float32 of shape (2, 3): the matrix for column vectors (x, y, 1), without reflection.

    Raises:
        ValueError: the source points coincide, so no scale is defined.

    References:
        Umeyama (1991), in its closed form for the plane.
    """
    mean_s, mean_t = source.mean(axis=0, dtype=np.float64), target.mean(axis=0, dtype=np.float64)
    s, t = source - mean_s, target - mean_t
    spread = float((s * s).sum())
    if not spread > 1e-9:
        raise ValueError("the source points coincide")
    a = float((s * t).sum()) / spread
    b = float((s[:, 0] * t[:, 1] - s[:, 1] * t[:, 0]).sum()) / spread
    shift_x = mean_t[0] - a * mean_s[0] + b * mean_s[1]
    shift_y = mean_t[1] - b * mean_s[0] - a * mean_s[1]
    return np.array([[a, -b, shift_x], [b, a, shift_y]], np.float32)
