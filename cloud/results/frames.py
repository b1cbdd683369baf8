"""A timeline's frames as an array: what readers get, and what is sealed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAME_DTYPE = np.dtype(
    [
        ("face", "u1"),
        ("segment", "<i4"),
        ("frame", "<i8"),
        ("media_time_ms", "<i4"),
        ("classified_delay", "<u2"),
        ("probabilities", "u1", (6,)),
        ("confidence", "u1"),
        ("attention", "u1"),
        ("flags", "u1"),
    ]
)
"""One frame of a timeline as readers get it, and as it is sealed."""

Records = NDArray[Any]
"""A one-dimensional structured array; which dtype, the name says."""
