"""Cut faces out of pictures as the agent does, also where a data set leaves too little room around them."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from models.face_crop.alignment import cut_crop
from models.face_detector.still_search import FaceDetector, find_faces

UInt8Array = npt.NDArray[np.uint8]

BORDER_SHARE, BORDER_GREY = 0.5, 128
"""What surrounds a picture, in its sides: data sets cut faces closer than the detector likes. Chosen on *training* pictures."""


def cut_largest_face(picture: UInt8Array, detector: FaceDetector) -> UInt8Array | None:
    """Cut out the largest face, of the picture as it is or, where none is found, with a border around it.

    Args:
        picture: uint8 (h, w) or (h, w, 3), R, G, B.
        detector: finds faces.

    Returns:
        uint8 (side, side, 3), R, G, B, framed as the agent's crop; None where no face is found.
    """
    for share in (0.0, BORDER_SHARE):
        frame = frame_picture(picture, share=share)
        for face in find_faces(detector, frame)[:1]:
            try:
                return np.ascontiguousarray(cut_crop(frame, face.landmarks_px)[..., ::-1])
            except ValueError:
                return None
    return None


def frame_picture(picture: UInt8Array, *, share: float = BORDER_SHARE) -> UInt8Array:
    """Put a grey border around a picture, `share` of its longer side wide.

    Args:
        picture: uint8 (h, w) or (h, w, 3), R, G, B.
        share: width of the border, in sides.

    Returns:
        uint8 (h', w', 3), B, G, R.
    """
    code = cv2.COLOR_GRAY2BGR if picture.ndim == 2 else cv2.COLOR_RGB2BGR
    width = round(share * max(picture.shape[:2]))
    framed = cv2.copyMakeBorder(
        cv2.cvtColor(picture, code),
        width,
        width,
        width,
        width,
        cv2.BORDER_CONSTANT,
        value=(BORDER_GREY, BORDER_GREY, BORDER_GREY),
    )
    return np.asarray(framed, np.uint8)
