"""Read the pictures and the faces that the detector is measured on."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import DatasetError

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

WIDER_ARCHIVE = "wider_val200_416.zip"
FAIRFACE_ARCHIVE = "fairface540_224.zip"
VIDEOS_FOLDER = "videos"
WIDER_SIDE_PX = 416
SMALLEST_WIDER_FACE_PX = 32
"""Side of a face: the square root of its box's area in the stored picture."""

_WIDER_TRAITS = {
    "perceived_gender": "gender",
    "perceived_age": "age",
    "perceived_skin": "skin",
    "blur": "blur",
    "illumination": "illumination",
    "occlusion": "occlusion",
    "pose": "pose",
}
_ANNOTATIONS = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One picture and its true faces.

    Attributes:
        source: "wider", "fairface" or "video".
        group: which faces may depend on each other: the picture, or the clip a frame comes from.
        frame_bgr: uint8 (height, width, 3), BGR.
        boxes_xyxy: float32 (n, 4) in picture widths and heights.
        sides_px: float32 (n,): square root of each box's area.
        traits: for each face what the set says about it: `age`, `gender`, `skin` (as perceived by annotators), and
            WIDER's `blur`, `illumination`, `occlusion`, `pose`; unknown ones are left out.
    """

    source: str
    group: str
    frame_bgr: UInt8Array
    boxes_xyxy: Float32Array
    sides_px: Float32Array
    traits: tuple[dict[str, str], ...]


def read_scenes(data: Path) -> Iterator[Scene]:
    """Yield every scene that has at least one face to find.

    Raises:
        DatasetError: an archive or a clip is missing or malformed.
    """
    yield from read_fairface(data / FAIRFACE_ARCHIVE)
    yield from read_wider(data / WIDER_ARCHIVE)
    yield from read_frames(data / VIDEOS_FOLDER)


def read_fairface(archive: Path) -> Iterator[Scene]:
    """Yield the portraits, each with the hand-checked box of its central face."""
    with _open_archive(archive) as opened:
        traits = {row["file"]: _known(row, ("age", "gender")) for row in _table(opened, "labels.csv")}
        for row in _annotation("hand_checked_faces.json", "faces"):
            file = row["file"]
            yield _scene(
                "fairface", file, _decode(opened, file), [row["box_xyxy"]], traits=[traits.get(file, {})]
            )


def read_wider(archive: Path) -> Iterator[Scene]:
    """Yield the WIDER pictures with their valid faces of at least `SMALLEST_WIDER_FACE_PX`."""
    faces: dict[str, list[list[float]]] = {}
    traits: dict[str, list[dict[str, str]]] = {}
    with _open_archive(archive) as opened:
        for row in _table(opened, "boxes.csv"):
            x, y, width, height = (float(row[k]) for k in ("x", "y", "w", "h"))
            side_px = WIDER_SIDE_PX * float(np.sqrt(width * height))
            if row["invalid"] == "0" and side_px >= SMALLEST_WIDER_FACE_PX:
                faces.setdefault(row["file"], []).append([x, y, x + width, y + height])
                traits.setdefault(row["file"], []).append(_known(row, tuple(_WIDER_TRAITS)))
        for file, boxes in faces.items():
            yield _scene("wider", file, _decode(opened, file), boxes, traits=traits[file])


def read_frames(videos: Path) -> Iterator[Scene]:
    """Yield the hand-checked video frames that show a face."""
    wanted: dict[str, dict[int, list[list[float]]]] = {}
    for row in _annotation("hand_checked_frames.json", "frames"):
        if row["boxes_xyxy"]:
            wanted.setdefault(row["file"], {})[row["frame"]] = row["boxes_xyxy"]
    for file, boxes in wanted.items():
        for index, frame in enumerate(read_clip(videos / file)):
            if index in boxes:
                yield _scene("video", file, frame, boxes[index])


def read_clip(path: Path) -> Iterator[UInt8Array]:
    """Yield every frame of a clip: uint8 (height, width, 3), BGR.

    Raises:
        DatasetError: the clip cannot be opened or holds no frame.
    """
    capture = cv2.VideoCapture(str(path))
    count = 0
    try:
        while True:
            there, frame = capture.read()
            if not there:
                break
            count += 1
            yield frame
    finally:
        capture.release()
    if not count:
        raise DatasetError(f"cannot read a frame of {path.name}")


def _annotation(file: str, key: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((_ANNOTATIONS / file).read_text("utf-8"))[key]
    return rows


def _known(row: dict[str, str], columns: tuple[str, ...]) -> dict[str, str]:
    found = {_WIDER_TRAITS.get(column, column): row.get(column, "") for column in columns}
    return {name: value for name, value in found.items() if value not in ("", "Not Sure")}


def _table(opened: zipfile.ZipFile, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(_member(opened, name).decode("utf-8"))))


def _scene(
    source: str,
    group: str,
    frame: UInt8Array,
    boxes: list[list[float]],
    *,
    traits: list[dict[str, str]] | None = None,
) -> Scene:
    array = np.array(boxes, np.float32)
    size = np.array([frame.shape[1], frame.shape[0]], np.float32)
    sides = np.sqrt(np.prod((array[:, 2:] - array[:, :2]) * size, axis=1))
    return Scene(
        source=source,
        group=group,
        frame_bgr=frame,
        boxes_xyxy=array,
        sides_px=sides.astype(np.float32),
        traits=tuple(traits or [{}] * len(boxes)),
    )


def _open_archive(archive: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except (OSError, zipfile.BadZipFile) as error:
        raise DatasetError(f"cannot open the data set {archive.name}: {error}") from error


def _member(opened: zipfile.ZipFile, name: str) -> bytes:
    try:
        return opened.read(name)
    except KeyError:
        raise DatasetError(f"the archive has no {name}") from None


def _decode(opened: zipfile.ZipFile, name: str) -> UInt8Array:
    picture = cv2.imdecode(np.frombuffer(_member(opened, name), np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise DatasetError(f"{name} is no picture")
    return np.asarray(picture, np.uint8)
