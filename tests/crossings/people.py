"""People cut out of films: square pictures with the face always at the same place, and a soft outline."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from edge_agent.tracking.detection import FaceNetwork, detect

SIDE_PX = 300
FACE_SHARE = 0.3
"""Side of the face box per side of the picture, on the first frame."""

FACE_AT = (0.5, 0.42)
FILM_MAX = 150


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Person:
    """One person's film.

    Attributes:
        pictures: uint8 of shape (n, SIDE_PX, SIDE_PX, 3), B, G, R.
        faces: float32 of shape (n, 3), centre x, centre y and side of the face, in sides of the picture.
        outline: float32 of shape (SIDE_PX, SIDE_PX), 1 on the person, 0 outside.
    """

    pictures: np.ndarray
    faces: np.ndarray
    outline: np.ndarray

    def at(self, index: int) -> int:
        """Return which picture is shown on a frame: the film runs to and fro."""
        last = len(self.pictures) - 1
        place = index % (2 * last)
        return place if place <= last else 2 * last - place


def _outline() -> np.ndarray:
    outline = np.zeros((SIDE_PX, SIDE_PX), np.float32)
    x, y = (round(share * SIDE_PX) for share in FACE_AT)
    axes = round(0.78 * FACE_SHARE * SIDE_PX), round(1.1 * FACE_SHARE * SIDE_PX)
    cv2.ellipse(outline, (x, y - round(0.1 * FACE_SHARE * SIDE_PX)), axes, 0, 0, 360, 1.0, -1)
    left, top = round(0.12 * SIDE_PX), round(0.74 * SIDE_PX)
    cv2.rectangle(outline, (left, top), (SIDE_PX - left, SIDE_PX), 1.0, -1)
    return np.asarray(cv2.GaussianBlur(outline, (5, 5), 0), np.float32)


@cache
def load_person(path: Path, network: FaceNetwork) -> Person:
    """Cut a person out of a film of one face."""
    reader = cv2.VideoCapture(str(path))
    pictures, faces, region = [], [], None
    while len(pictures) < FILM_MAX:
        is_read, picture = reader.read()
        if not is_read:
            break
        if region is None:
            found = detect(network, picture, min_score=0.5)
            if not found:
                continue
            x, y = found[0].box.centre
            side = found[0].box.side / FACE_SHARE
            region = np.array([x - FACE_AT[0] * side, y - FACE_AT[1] * side, side])
        x, y, side = region
        scale = SIDE_PX / side
        matrix = np.array([[scale, 0, -x * scale], [0, scale, -y * scale]])
        cut = cv2.warpAffine(
            picture, matrix, (SIDE_PX, SIDE_PX), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
        )
        seen = detect(network, cut, min_score=0.4)
        if seen:
            (face_x, face_y), face_side = seen[0].box.centre, seen[0].box.side
            faces.append(np.array([face_x, face_y, face_side]) / SIDE_PX)
        else:
            faces.append(faces[-1])
        pictures.append(cut)
    reader.release()
    return Person(pictures=np.stack(pictures), faces=np.asarray(faces, np.float32), outline=_outline())
