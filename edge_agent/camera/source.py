"""Frames from a camera, through OpenCV; and which of the two a name means, camera or recording."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from edge_agent.camera.frames import UInt8Array
from edge_agent.camera.video_file import VideoFile
from edge_agent.errors import CameraError

FPS_MIN, FPS_MAX = 1.0, 120.0
DEFAULT_FPS = 30.0

_LIVE_BACKENDS = {"linux": cv2.CAP_V4L2, "darwin": cv2.CAP_AVFOUNDATION, "win32": cv2.CAP_MSMF}
_NUMBER_MAX = 999


class FrameSource(Protocol):
    """A device that gives frames at its own pace."""

    @property
    def fps(self) -> float:
        """Nominal rate in frames per second."""

    def read(self) -> UInt8Array | None:
        """Return the next picture as OpenCV gives it, None when the device is gone."""

    def close(self) -> None:
        """Let go of the device."""


class CameraDevice:
    """A camera by its number."""

    def __init__(self, number: int, *, fps: float | None = None) -> None:
        """Open the camera and read nothing yet.

        Args:
            number: as the system counts them, from 0.
            fps: rate to ask it for; None takes its own.

        Raises:
            CameraError: there is no such camera, or it cannot be opened.
        """
        self._capture = _open_device(number, fps)
        own = float(self._capture.get(cv2.CAP_PROP_FPS))
        if fps is None:
            fps = own if np.isfinite(own) and FPS_MIN <= own <= FPS_MAX else DEFAULT_FPS
        self._fps = fps

    @property
    def fps(self) -> float:
        """Nominal rate in frames per second."""
        return self._fps

    def read(self) -> UInt8Array | None:
        """Return the next picture, None when the device is gone."""
        try:
            ok, picture = self._capture.read()
        except cv2.error:
            return None
        return np.asarray(picture, np.uint8) if ok and picture is not None else None

    def close(self) -> None:
        """Let go of the device."""
        self._capture.release()


def open_source(camera: str, *, fps: float | None = None) -> CameraDevice | VideoFile:
    """Open what a name means: a file of that name if there is one, else the camera of that number.

    Args:
        camera: the path of a recording, or a device number such as "0". An existing file is never taken for
            anything else, whatever its name: nothing is contacted, and only a bare number can mean a device.
        fps: rate to ask a camera for; the most frames a second to take from a file.

    Raises:
        CameraError: there is no such camera or file, or it is not a video.
    """
    if is_device(camera):
        return CameraDevice(int(camera), fps=fps)
    return VideoFile(Path(camera), fps=fps)


def is_device(camera: str) -> bool:
    """Tell whether a name means a device: a bare number that is no file's name here."""
    if not (camera.isdecimal() and int(camera) <= _NUMBER_MAX):
        return False
    return not Path(camera).is_file()


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


def quiet_opencv() -> None:
    """Keep OpenCV to one thread and off standard error; call once, before the first frame."""
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
