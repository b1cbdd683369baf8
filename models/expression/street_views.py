"""Training pictures as the street shows them: found by the detector, cut by their landmarks, through the codec.

Data sets are aligned by other landmarks than the agent's, so a network that learned from them alone reads the agent's
crops a little worse. A view is the same face on the same road: in a frame with something around it, through
`find_faces`, `cut_crop` and JPEG. What surrounds a face in a film is unknown here, so the surroundings vary.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt

from models.expression.preprocessing import resize_grey, to_grey
from models.face_crop.alignment import cut_crop
from models.face_detector.still_search import FaceDetector, find_faces

UInt8Array = npt.NDArray[np.uint8]
Progress = Callable[[Iterable[int]], Iterable[int]]

JPEG_QUALITY = 75
"""Of the agent's first encoding; later ones are rare."""

SURROUND_SHARE = 0.5
"""Width of the surroundings, in sides of the picture: where the detector finds most training faces."""

SURROUNDS = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)
PLAIN_GREY = 128


def street_views(
    pictures: Sequence[UInt8Array],
    digests: Sequence[str],
    load_detector: Callable[[], FaceDetector],
    *,
    side_px: int,
    progress: Progress = iter,
) -> tuple[UInt8Array, npt.NDArray[np.bool_]]:
    """Return each picture's street view, and whether its face was found.

    Args:
        pictures: uint8 (h, w) grey or (h, w, 3) R, G, B, any size.
        digests: of their files, hexadecimal: they seed the surroundings, so a picture always gets the same view.
        load_detector: makes a detector; called once a thread.
        side_px: side of the views returned.
        progress: wraps the iteration.

    Returns:
        uint8 (n, side, side), where no face was found the picture itself; bool (n,).
    """
    own = threading.local()

    def view(index: int) -> UInt8Array | None:
        if not hasattr(own, "detector"):
            own.detector = load_detector()
        seed = int(digests[index][:8], 16)
        return street_view(pictures[index], own.detector, side_px=side_px, seed=seed)

    grey = np.empty((len(pictures), side_px, side_px), np.uint8)
    found = np.zeros(len(pictures), np.bool_)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        seen = pool.map(view, range(len(pictures)))
        for index in progress(range(len(pictures))):
            shown = next(seen)
            found[index] = shown is not None
            grey[index] = resize_grey(to_grey(pictures[index]), side_px) if shown is None else shown
    return grey, found


def street_view(picture: UInt8Array, detector: FaceDetector, *, side_px: int, seed: int) -> UInt8Array | None:
    """Return one picture as the worker would see it, uint8 (side, side), or None if no face is found.

    Plain grey surroundings, which the detector finds most faces in, are tried where others fail.
    """
    drawn = SURROUNDS[seed % len(SURROUNDS)]
    for surround in dict.fromkeys((drawn, cv2.BORDER_CONSTANT)):
        frame = surround_picture(picture, surround)
        faces = find_faces(detector, frame)
        if faces:
            return _through_codec(cut_crop(frame, faces[0].landmarks_px), side_px)
    return None


def surround_picture(picture: UInt8Array, surround: int) -> UInt8Array:
    """Put a picture into a frame, B, G, R, with OpenCV's border `surround` around it."""
    code = cv2.COLOR_GRAY2BGR if picture.ndim == 2 else cv2.COLOR_RGB2BGR
    width = round(SURROUND_SHARE * max(picture.shape[:2]))
    framed = cv2.copyMakeBorder(
        cv2.cvtColor(picture, code), width, width, width, width, surround, value=(PLAIN_GREY,) * 3
    )
    return np.asarray(framed, np.uint8)


def _through_codec(crop_bgr: UInt8Array, side_px: int) -> UInt8Array:
    _, encoded = cv2.imencode(".jpg", crop_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return resize_grey(to_grey(np.ascontiguousarray(decoded[..., ::-1])), side_px)
