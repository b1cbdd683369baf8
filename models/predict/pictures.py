"""Open any picture file, or say plainly what is wrong with it."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import PictureError

UInt8Array = npt.NDArray[np.uint8]

FILE_LIMIT_BYTES = 64 * 2**20
PIXELS_LIMIT = 64_000_000
"""Beyond this a picture is refused before it is unpacked, where its header says so (PNG, JPEG)."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_NO_FRAME = frozenset({0xC4, 0xC8, 0xCC})


def read_picture(path: Path) -> UInt8Array:
    """Read a picture, turned as its EXIF orientation says.

    Args:
        path: JPEG, PNG, WebP, BMP, TIFF or whatever else OpenCV reads.

    Returns:
        uint8 of shape (h, w, 3), B, G, R.

    Raises:
        PictureError: it is missing, a folder, empty, too large, or not a picture.
    """
    content = _content(path)
    size = declared_size(content)
    if size is not None:
        _check_pixels(path, *size)
    try:
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        decoded = None
    if decoded is None:
        raise PictureError(f"{path} is not a picture that can be read (JPEG, PNG, WebP, BMP or TIFF)")
    picture = np.asarray(decoded, np.uint8)
    _check_pixels(path, picture.shape[1], picture.shape[0])
    return picture


def declared_size(content: bytes) -> tuple[int, int] | None:
    """Return width and height that a PNG or JPEG header declares; None for anything else, or a damaged header."""
    try:
        if content.startswith(_PNG):
            width, height = struct.unpack_from(">II", content, 16)
            return int(width), int(height)
        return _jpeg_size(content) if content.startswith(_JPEG) else None
    except (struct.error, IndexError):
        return None


def _jpeg_size(content: bytes) -> tuple[int, int] | None:
    at = 2
    while True:
        if content[at] != 0xFF:
            return None
        marker = content[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _NO_LENGTH:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", content, at + 2)
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = struct.unpack_from(">HH", content, at + 5)
            return int(width), int(height)
        if marker == 0xDA or length < 2:
            return None
        at += 2 + length


def _content(path: Path) -> bytes:
    if path.is_dir():
        raise PictureError(f"{path} is a folder; name the pictures in it, as {path}/*.jpg")
    try:
        size = path.stat().st_size
        if size > FILE_LIMIT_BYTES:
            raise PictureError(
                f"{path} has {size / 2**20:.0f} MiB; at most {FILE_LIMIT_BYTES // 2**20} are read"
            )
        content = path.read_bytes()
    except OSError as error:
        raise PictureError(f"cannot read {path}: {error.strerror}") from None
    if not content:
        raise PictureError(f"{path} is empty")
    return content


def _check_pixels(path: Path, width: int, height: int) -> None:
    if width * height > PIXELS_LIMIT:
        raise PictureError(
            f"{path} has {width} x {height} pixels; at most {PIXELS_LIMIT // 1_000_000} million are read"
        )
