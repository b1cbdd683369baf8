"""Show the face network one part of a frame: a region, turned or mirrored; give faces in frame pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from edge_agent.camera.frames import UInt8Array
from edge_agent.tracking.detection import Detection, FaceNetwork, detect
from edge_agent.tracking.geometry import Box, Float32Array, transform_points
from models.face_crop.shrinking import shrink
from models.face_detector.decoding import INPUT_PX

REGION_MIN_PX = 8
"""Nothing can be seen in a smaller region."""

_TURNED_MAX_PX = 2 * INPUT_PX
_MIRRORED_ROWS = [1, 0, 2, 3, 5, 4]


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What part of a picture is shown to the network, and how.

    Attributes:
        region: in pixels of the picture; what lies outside the picture is not shown.
        roll_deg: a head tilted clockwise by this much is shown upright.
        is_mirrored: shown as in a mirror.
        is_lifted: shown brighter if it is dark.
        is_quick: scaled by the cheaper of two ways, good enough where a face is known to be.
    """

    region: Box
    roll_deg: float = 0.0
    is_mirrored: bool = False
    is_lifted: bool = True
    is_quick: bool = False


def look(
    network: FaceNetwork, pixels: UInt8Array, glance: Glance, *, min_score: float
) -> tuple[Detection, ...] | None:
    """Run the network once on a part of a picture.

    Args:
        network: the detector variant.
        pixels: uint8 of shape (h, w, 3), B, G, R.
        glance: which part.
        min_score: faces below this score are left out.

    Returns:
        Faces, best first, in pixels of the whole picture; None without a run if the part is smaller than
        `REGION_MIN_PX`. The box of a tilted face is axis-parallel, of the size it has upright.
    """
    if glance.roll_deg:
        return _look_turned(network, pixels, glance, min_score=min_score)
    rows, columns = _slices(pixels, glance.region)
    part = pixels[rows, columns]
    if min(part.shape[:2]) < REGION_MIN_PX:
        return None
    if glance.is_mirrored:
        part = part[:, ::-1]
    found = detect(network, part, min_score=min_score, is_lifted=glance.is_lifted, is_quick=glance.is_quick)
    if glance.is_mirrored:
        found = tuple(_unmirrored(face, width=part.shape[1]) for face in found)
    return tuple(face.moved(factor=1.0, dx=float(columns.start), dy=float(rows.start)) for face in found)


def _look_turned(
    network: FaceNetwork, pixels: UInt8Array, glance: Glance, *, min_score: float
) -> tuple[Detection, ...] | None:
    rows, columns = _slices(pixels, glance.region.squared(_turned_extent(glance.roll_deg)))
    part = pixels[rows, columns]
    if min(part.shape[:2]) < REGION_MIN_PX:
        return None
    small, scale = shrink(part, 2 * _TURNED_MAX_PX)
    centre = (np.array(glance.region.centre) - (columns.start, rows.start)) * scale
    shown = glance.region.side * scale
    side_px = max(REGION_MIN_PX, min(_TURNED_MAX_PX, round(shown)))
    matrix = _turning(centre, roll_deg=glance.roll_deg, scale=side_px / shown, side_px=side_px)
    turned = np.asarray(cv2.warpAffine(small, matrix, (side_px, side_px), flags=cv2.INTER_LINEAR), np.uint8)
    found = look(
        network,
        turned,
        replace(glance, region=Box.of([0, 0, side_px, side_px]), roll_deg=0.0),
        min_score=min_score,
    )
    if found is None:
        return None
    back = np.asarray(cv2.invertAffineTransform(matrix), np.float32)
    factor = 1.0 / scale
    return tuple(
        _turned_back(face, back, growth=shown / side_px).moved(
            factor=factor, dx=float(columns.start), dy=float(rows.start)
        )
        for face in found
    )


def _slices(pixels: UInt8Array, region: Box) -> tuple[slice, slice]:
    inside = region.clipped(width=pixels.shape[1], height=pixels.shape[0])
    return slice(round(inside.y_min), round(inside.y_max)), slice(round(inside.x_min), round(inside.x_max))


def _turned_extent(roll_deg: float) -> float:
    roll = np.deg2rad(roll_deg)
    return float(abs(np.cos(roll)) + abs(np.sin(roll)))


def _turning(centre: Float32Array, *, roll_deg: float, scale: float, side_px: int) -> Float32Array:
    """Return the (2, 3) matrix that turns about `centre` and puts it in the middle of the result."""
    roll = np.deg2rad(roll_deg)
    cosine, sine = scale * np.cos(roll), scale * np.sin(roll)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    return np.asarray(np.column_stack([turn, side_px / 2 - turn @ centre]), np.float32)


def _turned_back(face: Detection, back: Float32Array, *, growth: float) -> Detection:
    (x, y), *_ = transform_points(back, np.array([face.box.centre], np.float32))
    half_width, half_height = face.box.width * growth / 2, face.box.height * growth / 2
    box = Box.of([x - half_width, y - half_height, x + half_width, y + half_height])
    return Detection(box=box, landmarks=transform_points(back, face.landmarks), score=face.score)


def _unmirrored(face: Detection, *, width: int) -> Detection:
    box = replace(face.box, x_min=width - face.box.x_max, x_max=width - face.box.x_min)
    landmarks = face.landmarks[_MIRRORED_ROWS] * np.array([-1, 1], np.float32) + np.array(
        [width, 0], np.float32
    )
    return Detection(box=box, landmarks=np.asarray(landmarks, np.float32), score=face.score)
