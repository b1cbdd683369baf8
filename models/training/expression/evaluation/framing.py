"""How a face should lie in the crop: tried on validation pictures, which are sent through detector, crop and codec.

Data sets frame faces in their own ways, and the network reads best what lies as most of its training pictures did.
Where that is, only measuring tells: the framing that a crop is cut by is worth a point or two of accuracy.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.expression.taxonomy import N_LABELS
from models.face_crop.alignment import FRAMING, Framing, cut_crop
from models.face_detector.still_search import FaceDetector, find_faces
from models.training.expression.data.cutting import frame_picture
from models.training.expression.data.datasets import Picture
from models.training.expression.evaluation.engines import Predictor

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

JPEG_QUALITY = 75
"""Of the agent's first encoding."""

MIDDLE_Y = 0.56
"""Zooming keeps this height of the crop where it is: between eyes and mouth."""

ZOOMS = (0.95, 1.0, 1.05, 1.1)
SHIFTS = (-0.04, -0.02, 0.0, 0.02, 0.04)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeenFace:
    """A labelled picture in whose frame the detector found a face.

    Attributes:
        frame: uint8 (h, w, 3), B, G, R.
        landmarks: float32 (6, 2), in its pixels.
        label: which of the six.
        source: data set.
    """

    frame: UInt8Array
    landmarks: Float32Array
    label: int
    source: str


def see_faces(
    pictures: Sequence[Picture],
    load_detector: Callable[[], FaceDetector],
    *,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[SeenFace]:
    """Find the largest face in each picture; those without one are left out.

    Args:
        pictures: labelled pictures, none of a test split.
        load_detector: makes a detector; called once a thread.
        progress: wraps the iteration.
    """
    own = threading.local()

    def see(picture: Picture) -> SeenFace | None:
        if not hasattr(own, "detector"):
            own.detector = load_detector()
        frame = frame_picture(picture.pixels)
        faces = find_faces(own.detector, frame)
        if not faces:
            return None
        return SeenFace(
            frame=frame, landmarks=faces[0].landmarks_px, label=picture.label, source=picture.source
        )

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        seen = pool.map(see, pictures)
        return [face for _ in progress(range(len(pictures))) if (face := next(seen)) is not None]


def score_framing(faces: Sequence[SeenFace], framing: Framing, read: Predictor) -> dict[str, float]:
    """Return the accuracy on each source's faces, cut by a framing and sent through the codec.

    Args:
        faces: from `see_faces`.
        framing: to be tried.
        read: turns crops, uint8 (side, side, 3), R, G, B, into logits (n, k).
    """
    crops = [_through_codec(cut_crop(face.frame, face.landmarks, framing=framing)) for face in faces]
    labels = np.array([face.label for face in faces])
    right = read(crops)[:, :N_LABELS].argmax(axis=1) == labels
    sources = np.array([face.source for face in faces])
    return {source: float(right[sources == source].mean()) for source in sorted(set(sources))}


def framings(
    around: Framing = FRAMING, *, zooms: Sequence[float] = ZOOMS, shifts: Sequence[float] = SHIFTS
) -> list[Framing]:
    """Return a grid of framings: larger and smaller faces, lower and higher in the crop.

    Args:
        around: the middle of the grid.
        zooms: sizes of the face relative to it.
        shifts: downward, in crop sides.
    """

    def zoomed(y: float, zoom: float, shift: float) -> float:
        return round(MIDDLE_Y + (y - MIDDLE_Y) * zoom + shift, 4)

    return [
        Framing(
            eye_left_x=round(0.5 + (around.eye_left_x - 0.5) * zoom, 4),
            eye_y=zoomed(around.eye_y, zoom, shift),
            mouth_y=zoomed(around.mouth_y, zoom, shift),
        )
        for zoom in zooms
        for shift in shifts
    ]


def _through_codec(crop_bgr: UInt8Array) -> UInt8Array:
    _, encoded = cv2.imencode(".jpg", crop_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])
