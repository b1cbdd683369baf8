"""Open any picture file, or say plainly what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import PictureError
from models.runtime.image_files import decode_picture_file
from models.runtime.quiet import quiet_standard_error

UInt8Array = npt.NDArray[np.uint8]

FILE_LIMIT_BYTES = 64 * 2**20


def read_picture(path: Path) -> UInt8Array:
    """Read a picture, upright, with what is transparent blended into grey.

    Args:
        path: JPEG, PNG, WebP, AVIF, GIF, BMP, TIFF or JPEG 2000; always a local file, whatever its name.

    Returns:
        uint8 of shape (h, w, 3), B, G, R.

    Raises:
        PictureError: it is missing, a folder, empty, too large, or not a picture.
    """
    content = _content(path)
    with quiet_standard_error():
        picture = decode_picture_file(content, shown(path))
    code = cv2.COLOR_GRAY2BGR if picture.ndim == 2 else cv2.COLOR_RGB2BGR
    return np.asarray(cv2.cvtColor(picture, code), np.uint8)


def shown(path: Path) -> str:
    r"""Return a path as it may be printed: bytes that are no UTF-8, and control characters, as `\x..`."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _content(path: Path) -> bytes:
    name = shown(path)
    try:
        if path.is_dir():
            raise PictureError(f"{name} is a folder; name the pictures in it, as {name}/*.jpg")
        with path.open("rb") as stream:
            # A pipe or a device has no size: what is read is bounded, not what is declared.
            content = stream.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise PictureError(f"cannot read {name}: {error.strerror}") from None
    if len(content) > FILE_LIMIT_BYTES:
        raise PictureError(
            f"{name} has more than {FILE_LIMIT_BYTES / 2**20:.0f} MiB, which is all that is read"
        )
    if not content:
        raise PictureError(f"{name} is empty")
    return content
