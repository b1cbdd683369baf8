"""Frames from a camera or a video file, through OpenCV."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from edge_agent.errors import CameraError
from edge_agent.frames import UInt8Array

FPS_MIN, FPS_MAX = 1.0, 120.0
DEFAULT_FPS = 30.0

_LIVE_BACKENDS = {"linux": cv2.CAP_V4L2, "darwin": cv2.CAP_AVFOUNDATION, "win32": cv2.CAP_MSMF}
_PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})


class FrameSource(Protocol):
    """Where frames come from."""

    @property
    def fps(self) -> float:
        """Nominal rate in frames per second."""

    @property
    def is_live(self) -> bool:
        """Whether frames come at the device's own pace, not at the reader's."""

    def read(self) -> UInt8Array | None:
        """Return the next picture as OpenCV gives it, None at the end or when the device is gone."""

    def skip(self) -> bool:
        """Pass over the next picture; False at the end."""

    def rewind(self) -> bool:
        """Go back to the first picture; False if that cannot be done."""

    def close(self) -> None:
        """Let go of the device or file."""


class OpenCvSource:
    """A camera number or a file's path."""

    def __init__(self, camera: str, *, fps: float | None = None) -> None:
        """Open the camera or file and decode nothing yet.

        Args:
            camera: a device number such as "0", or the path of a video.
            fps: rate to ask a camera for, or to play a file at; None takes the source's own.

        Raises:
            CameraError: there is no such camera or file, or it is not a video.
        """
        self._name = camera
        self._is_live = camera.isdecimal()
        self._capture = _open_device(int(camera), fps) if self._is_live else _open_file(Path(camera))
        own = float(self._capture.get(cv2.CAP_PROP_FPS))
        if fps is None:
            fps = own if np.isfinite(own) and FPS_MIN <= own <= FPS_MAX else DEFAULT_FPS
        self._fps = fps

    @property
    def fps(self) -> float:
        """Nominal rate in frames per second."""
        return self._fps

    @property
    def is_live(self) -> bool:
        """Whether this is a device."""
        return self._is_live

    def read(self) -> UInt8Array | None:
        """Return the next picture, None at the end or when the device is gone."""
        try:
            ok, picture = self._capture.read()
        except cv2.error:
            return None
        return np.asarray(picture, np.uint8) if ok and picture is not None else None

    def skip(self) -> bool:
        """Pass over the next picture without converting it."""
        return bool(self._capture.grab())

    def rewind(self) -> bool:
        """Go back to the first picture of a file."""
        if self._is_live:
            return False
        self._capture.release()
        try:
            self._capture = _open_file(Path(self._name))
        except CameraError:
            return False
        return True

    def close(self) -> None:
        """Let go of the device or file."""
        self._capture.release()


def _open_device(number: int, fps: float | None) -> cv2.VideoCapture:
    backend = _LIVE_BACKENDS.get(sys.platform, cv2.CAP_ANY)
    capture = cv2.VideoCapture(number, backend)
    if not capture.isOpened():
        raise CameraError(f"camera {number} cannot be opened: {_why_closed(number)}")
    # One buffered frame at most: an older one would be stale before it is looked at.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    capture.set(cv2.CAP_PROP_FPS, fps or DEFAULT_FPS)
    return capture


def _why_closed(number: int, *, devices: Path = Path("/dev")) -> str:
    """Say what is wrong with a camera that does not open, and what to do about it."""
    if sys.platform == "linux":
        node = devices / f"video{number}"
        found = sorted(path.name.removeprefix("video") for path in devices.glob("video[0-9]*"))
        if not found:
            return (
                "this machine has no camera. Connect one; in a container or virtual machine pass the device in "
                "(docker run --device /dev/video0); or give a video file: --camera film.mp4"
            )
        if not node.exists():
            return f"there is no such camera. Present: {', '.join(found)}; try --camera {found[0]}"
        if not os.access(node, os.R_OK | os.W_OK):
            return "this user may not use it. Join the group `video` and log in again"
    if sys.platform == "darwin":
        return "it is missing, in use, or not allowed: System Settings, Privacy & Security, Camera"
    return "another program uses it, or it gives no pictures. Close that program, or try another number"


def _open_file(path: Path) -> cv2.VideoCapture:
    if not path.exists():
        raise CameraError(f"there is no video {path.name}")
    if not path.is_file():
        raise CameraError(f"{path.name} is not a file")
    if path.suffix.lower() in _PICTURE_SUFFIXES:
        raise CameraError(f"{path.name} is a picture, not a video")
    # One decoding thread: the file stands in for a camera and must not take the other cores.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    if not capture.isOpened() or capture.get(cv2.CAP_PROP_FRAME_WIDTH) < 1:
        capture.release()
        raise CameraError(f"{path.name} is not a video that can be played")
    return capture


def quiet_opencv() -> None:
    """Keep OpenCV to one thread and off standard error; call once, before the first frame."""
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
