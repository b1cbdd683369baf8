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
    # In the complex plane rotation and scale are one factor.
    pair = np.array([source, target], np.float64).view(np.complex128)[..., 0]
    mean_s, mean_t = (pair.sum(axis=1) / len(source)).tolist()
    s, t = pair - np.array([[mean_s], [mean_t]])
    spread = float(np.vdot(s, s).real)
    if not spread > 1e-9:
        raise ValueError("the source points coincide")
    turn = complex(np.vdot(s, t)) / spread
    shift = mean_t - turn * mean_s
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]], np.float32)
