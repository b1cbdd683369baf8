"""Compare detectors on composed scenes of held-out faces: what each finds, loses and invents.

Choices between builds are made here; the test pictures are looked at once, afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from models.face_detector import decoding
from models.face_detector.runtime import Detector
from models.training.face_detector.building.representative import ComposedScene

Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

REHEARSAL_SEED = 202

CENTRE_SHARE = 0.25
"""A detection speaks of a face if its centre lies within this share of the picture's side of the middle..."""

SIDE_SHARES = (0.35, 1.3)
"""...and its side is between these shares of the picture's."""


def rehearse(
    detectors: Mapping[str, Detector], scenes: Iterable[ComposedScene], *, reference: str
) -> dict[str, dict[str, Any]]:
    """Return for each detector but the reference what it lost and gained against it.

    Args:
        detectors: by name.
        scenes: composed of held-out faces.
        reference: name of the detector that the others are compared with.

    Returns:
        By name: `faces`, `found`, `lost` and `gained`, each for "pasted" and "mosaic" scenes; `false`, the
        detections that speak of no face; the reference has the same with nothing lost or gained.
    """
    hits: dict[str, dict[str, list[BoolArray]]] = {n: {"pasted": [], "mosaic": []} for n in detectors}
    false = dict.fromkeys(detectors, 0)
    whole = decoding.letterbox_parameters(decoding.INPUT_PX, decoding.INPUT_PX)
    for scene in scenes:
        for name, detector in detectors.items():
            found = detector.detect_letterboxed(
                scene.picture[None], whole, min_score=decoding.DEFAULT_MIN_SCORE
            )
            speaks = match_squares(found.boxes_xyxy * decoding.INPUT_PX, scene.squares)
            hits[name]["pasted" if scene.pasted else "mosaic"].append(np.atleast_1d(speaks.any(axis=0)))
            false[name] += int((~speaks.any(axis=1)).sum())
    return {
        name: {
            kind: _paired(np.concatenate(hits[reference][kind]), np.concatenate(hits[name][kind]))
            for kind in hits[name]
            if hits[name][kind]
        }
        | {"false": false[name]}
        for name in detectors
    }


def match_squares(boxes: Float32Array, squares: Float32Array) -> BoolArray:
    """Say which detection speaks of which pasted face.

    Args:
        boxes: float32 (m, 4), x0, y0, x1, y1 in pixels.
        squares: float32 (n, 3), left, top, side in pixels.

    Returns:
        bool (m, n).
    """
    middles = squares[None, :, :2] + squares[None, :, 2:] / 2
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    near = np.abs(centres - middles).max(axis=2, initial=0.0) <= CENTRE_SHARE * squares[None, :, 2]
    share = (boxes[:, None, 2] - boxes[:, None, 0]) / squares[None, :, 2]
    return np.asarray(near & (share >= SIDE_SHARES[0]) & (share <= SIDE_SHARES[1]), np.bool_)


def _paired(reference: BoolArray, other: BoolArray) -> dict[str, int]:
    return {
        "faces": len(other),
        "found": int(other.sum()),
        "lost": int((reference & ~other).sum()),
        "gained": int((other & ~reference).sum()),
    }
