"""From the bytes of a picture file to upright pixels, for training and for prediction alike.

Pillow reads the container: which format it is, how large, how it is turned (EXIF, or AVIF's `irot` and `imir`), what is
transparent. OpenCV reads what Pillow would cut to eight bits: deep PNG and TIFF. Of animations and files of several pages
the first picture is taken. What is transparent is blended into grey, so that nothing hidden is ever read.
"""

from __future__ import annotations

import io
import struct
import warnings

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, TiffImagePlugin

from models.errors import PictureError

UInt8Array = npt.NDArray[np.uint8]

PIXELS_LIMIT = 64_000_000
"""Beyond this a picture is refused before it is unpacked."""

BACKGROUND = 128
"""Grey level behind what is transparent."""

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "SUN", "TIFF", "WEBP")
"""Formats that Pillow may try: none of them starts another program."""

INTEGER_BITS = (8, 10, 12, 14, 16, 24, 32)
"""How many bits of a deeper file cameras and programs really use; full scale is the smallest that holds every value."""

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_NO_FRAME = frozenset({0xC4, 0xC8, 0xCC})
_ORIENTATION, _BITS_PER_SAMPLE, _SAMPLE_FORMAT, _EXTRA_SAMPLES = 274, 258, 339, 338
_WIDTH, _HEIGHT = 256, 257
_FLOAT_SAMPLES, _PREMULTIPLIED = 3, 1


def decode_picture_file(content: bytes, name: str) -> UInt8Array:
    """Decode a picture, upright, with what is transparent blended into grey.

    Args:
        content: the file's bytes.
        name: of the file, for messages.

    Returns:
        uint8 (h, w) where the file is grey, else (h, w, 3), R, G, B.

    Raises:
        PictureError: it is no picture that can be read, or has too many pixels.
    """
    size = declared_size(content)
    if size is not None:
        _check_pixels(name, *size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(content, name)
    except PictureError:
        raise
    except Image.DecompressionBombError:
        raise PictureError(f"{name} has too many pixels; {_limit()}") from None
    except Exception:
        # Whatever a decoder stumbles over in a damaged file: each of them raises errors of its own kind.
        raise PictureError(_refusal(content, name)) from None


def declared_size(content: bytes) -> tuple[int, int] | None:
    """Return width and height that a PNG or JPEG header declares; None for anything else, or a damaged header."""
    try:
        if content.startswith(_PNG):
            width, height = struct.unpack_from(">II", content, 16)
            return int(width), int(height)
        return _jpeg_size(content) if content.startswith(_JPEG) else None
    except (struct.error, IndexError):
        return None


def to_eight_bits(
    samples: npt.NDArray[np.generic], visible: npt.NDArray[np.bool_] | None = None
) -> UInt8Array:
    """Bring samples of any depth to eight bits.

    Integers are scaled by the smallest usual depth that holds all of them: twelve bits kept in sixteen are not dark.
    Floating-point samples reach from 0 to 1; if any is larger, they are taken for integers.

    Args:
        samples: of any real type and shape.
        visible: bool of the first two axes, which samples count; None: all.
    """
    if samples.dtype == np.uint8:
        return np.asarray(samples, np.uint8)
    values = np.nan_to_num(samples.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    counted = values if visible is None else values[visible]
    highest = float(counted.max(initial=0.0))
    if np.issubdtype(samples.dtype, np.floating) and highest <= 1.0:
        full = 1.0
    else:
        full = next((2.0**bits - 1 for bits in INTEGER_BITS if highest <= 2**bits - 1), highest)
    return np.asarray(np.clip(np.rint(values * (255.0 / full)), 0, 255), np.uint8)


def _decode(content: bytes, name: str) -> UInt8Array:
    if content.startswith(_TIFF):
        tags = _tiff_tags(content)
        _check_pixels(name, int(tags[_WIDTH]), int(tags[_HEIGHT]))
        bits, kinds = tags.get(_BITS_PER_SAMPLE, (1,)), tags.get(_SAMPLE_FORMAT, (1,))
        if max(bits) > 8 or _FLOAT_SAMPLES in kinds:
            # OpenCV turns a TIFF by its tag whatever it is told.
            return _decode_deep(content, premultiplied=_PREMULTIPLIED in tags.get(_EXTRA_SAMPLES, ()))
    Image.init()
    with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
        _check_pixels(name, *opened.size)
        if content.startswith(_PNG) and content[24] > 8:
            # The tag may stand behind the pixels.
            opened.load()
            return turned(_decode_deep(content), int(opened.getexif().get(_ORIENTATION, 1)))
        return _flat(ImageOps.exif_transpose(opened))


def _flat(picture: Image.Image) -> UInt8Array:
    """Return the pixels of a picture that Pillow holds, without transparency."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        return to_eight_bits(np.asarray(picture))
    if picture.has_transparency_data:
        behind = Image.new("RGBA", picture.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
        behind.alpha_composite(picture.convert("RGBA"))
        return np.asarray(behind.convert("RGB"), np.uint8)
    return np.asarray(picture.convert("L" if picture.mode in ("1", "L") else "RGB"), np.uint8)


def _decode_deep(content: bytes, *, premultiplied: bool = False) -> UInt8Array:
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if decoded is None:
        raise ValueError("OpenCV reads no picture in it")
    if decoded.ndim == 2:
        return to_eight_bits(decoded)
    colour = decoded[..., :3]
    if decoded.shape[2] == 4:
        alpha = decoded[..., 3].astype(np.float32) / _full_scale(decoded.dtype)
        colour = to_eight_bits(colour, alpha > 0)
        own = np.float32(1) if premultiplied else alpha[..., None]
        blended = colour * own + BACKGROUND * (1 - alpha[..., None])
        if premultiplied:
            blended[alpha <= 0] = BACKGROUND
        colour = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(to_eight_bits(colour)[..., ::-1])


def turned(pixels: UInt8Array, orientation: int) -> UInt8Array:
    """Turn pixels as an EXIF orientation (1 to 8) says; any other figure leaves them as they are."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _full_scale(kind: np.dtype[np.generic]) -> float:
    return float(2 ** (8 * kind.itemsize) - 1) if np.issubdtype(kind, np.integer) else 1.0


def _tiff_tags(content: bytes) -> TiffImagePlugin.ImageFileDirectory_v2:
    stream = io.BytesIO(content)
    directory = TiffImagePlugin.ImageFileDirectory_v2(stream.read(16 if content[2] == 43 else 8))
    stream.seek(directory.next)
    directory.load(stream)
    return directory


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


def _check_pixels(name: str, width: int, height: int) -> None:
    if width * height > PIXELS_LIMIT:
        raise PictureError(f"{name} has {width} x {height} pixels; {_limit()}")


def _limit() -> str:
    return f"at most {PIXELS_LIMIT // 1_000_000} million are read"


def _refusal(content: bytes, name: str) -> str:
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS and b"avif" not in content[8:40]:
        return (
            f"{name} is not a picture that can be read: its HEIC codec is not part of this; save it as JPEG"
        )
    return f"{name} is not a picture that can be read (JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF)"
