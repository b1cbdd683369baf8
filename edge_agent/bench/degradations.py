"""Spoil a picture in one known way, and say where its faces went."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from edge_agent.camera.frames import UInt8Array
from edge_agent.tracking.geometry import Box, transform_points

CAMERA_PX = (640, 480)
DARK_GAIN, DARK_NOISE = 0.1, 2.0
FAR_FACE_PX = 30.0
TILT_DEG = 55.0
_GREY = (127, 127, 127)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Still:
    """A picture and the faces to find in it.

    Attributes:
        pixels: uint8 of shape (h, w, 3), B, G, R.
        faces: their boxes, in pixels of the picture.
    """

    pixels: UInt8Array
    faces: tuple[Box, ...]


Degradation = Callable[[Still, np.random.Generator], Still]


def leave(still: Still, rng: np.random.Generator) -> Still:
    """Return the picture as it is."""
    return still


def darken(still: Still, rng: np.random.Generator) -> Still:
    """Take nine tenths of the light, and add a sensor's noise of two grey levels."""
    light = still.pixels * np.float32(DARK_GAIN)
    noise = rng.normal(0.0, DARK_NOISE, still.pixels.shape).astype(np.float32)
    return Still(pixels=np.clip(np.round(light + noise), 0, 255).astype(np.uint8), faces=still.faces)


def move_away(still: Still, rng: np.random.Generator) -> Still:
    """Make the largest face 30 px wide, somewhere in a grey camera frame of 640 x 480."""
    factor = min(1.0, FAR_FACE_PX / max(face.side for face in still.faces))
    small = cv2.resize(still.pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    small = small[: CAMERA_PX[1], : CAMERA_PX[0]]
    height, width = small.shape[:2]
    x, y = (
        int(rng.integers(0, whole - part + 1)) for whole, part in zip(CAMERA_PX, (width, height), strict=True)
    )
    canvas = np.full((CAMERA_PX[1], CAMERA_PX[0], 3), _GREY, np.uint8)
    canvas[y : y + height, x : x + width] = small
    return Still(pixels=canvas, faces=tuple(face.scaled(factor).shifted(x, y) for face in still.faces))


def tilt(still: Still, rng: np.random.Generator) -> Still:
    """Turn the picture by 55 degrees, to either side, about its middle; the corners become grey."""
    height, width = still.pixels.shape[:2]
    roll = float(rng.choice([-TILT_DEG, TILT_DEG]))
    matrix = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), -roll, 1.0), np.float32)
    side = round(float(np.hypot(height, width)))
    matrix[:, 2] += ((side - width) / 2, (side - height) / 2)
    turned = cv2.warpAffine(still.pixels, matrix, (side, side), borderValue=_GREY)
    faces = []
    for face in still.faces:
        x, y = (float(v) for v in transform_points(matrix, np.array([face.centre], np.float32))[0])
        faces.append(Box.of([0, 0, face.width, face.height]).shifted(x - face.width / 2, y - face.height / 2))
    return Still(pixels=np.asarray(turned, np.uint8), faces=tuple(faces))


DEGRADATIONS: Mapping[str, Degradation] = {
    "as_it_is": leave,
    "dark": darken,
    "far": move_away,
    "tilted": tilt,
}
