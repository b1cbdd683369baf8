"""Makes a trailer to watch: moving shapes with a running clock, whose length is the media time of a study."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cloud.errors import DemoError

FPS = 24
WIDTH_PX = 640
HEIGHT_PX = 272


@dataclass(frozen=True, slots=True, kw_only=True)
class Trailer:
    """A media file and what a studio registers of it."""

    path: Path
    duration_ms: int
    sha256: str


def make_trailer(path: Path, *, duration_ms: int) -> Trailer:
    """Write the trailer as an MP4 file.

    Raises:
        DemoError: no MPEG-4 encoder, or the path cannot be written.
    """
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH_PX, HEIGHT_PX))
    if not writer.isOpened():
        raise DemoError(f"cannot write a trailer to {path}")
    try:
        for index in range(duration_ms * FPS // 1000):
            writer.write(draw_frame(index * 1000 / FPS))
    finally:
        writer.release()
    return Trailer(path=path, duration_ms=duration_ms, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def draw_frame(media_time_ms: float) -> npt.NDArray[np.uint8]:
    """Return the trailer's picture at a media time: uint8 of shape (272, 640, 3), B, G, R."""
    seconds = media_time_ms / 1000
    rows = np.linspace(0, 1, HEIGHT_PX)[:, None, None]
    dusk = np.array([90 + 60 * math.sin(seconds / 3), 40, 60 + 50 * math.cos(seconds / 4)])
    frame = np.broadcast_to(dusk * (1 - rows) + 12 * rows, (HEIGHT_PX, WIDTH_PX, 3))
    picture = np.ascontiguousarray(np.clip(frame, 0, 255).astype(np.uint8))
    sun = (int(80 + 480 * (seconds % 24) / 24), int(150 - 90 * math.sin(math.pi * (seconds % 24) / 24)))
    cv2.circle(picture, sun, 26, (70, 180, 250), -1, cv2.LINE_AA)
    for index in range(5):
        left = int((index * 160 - seconds * 40 * (1 + index % 2)) % 800) - 120
        height = 50 + 25 * index % 70
        cv2.rectangle(
            picture, (left, HEIGHT_PX - height), (left + 90, HEIGHT_PX), (30 + 12 * index, 26, 34), -1
        )
    stamp = f"{int(seconds) // 60:02d}:{seconds % 60:06.3f}"
    cv2.putText(picture, stamp, (12, 28), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (235, 235, 235), 1, cv2.LINE_AA)
    return picture
