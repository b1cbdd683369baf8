"""Walk a JPEG without decoding it, so that a decoder only ever meets small, plain pictures.

Accepted is what the agent and a browser's canvas write: SOI, at most one small APP0, at most one small ICC profile in
an APP2, tables, one baseline frame, one scan with every component, EOI at the very end (protocol rule W10). The
markers are those of ITU-T T.81, table B.1; the ICC segment is that of ICC.1, annex B.4, and nobody interprets it.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from privacy.errors import ContentError

Bytes = bytes | memoryview
"""A view is walked where it lies: the walk makes no copy of a crop."""

APP0_MAX_BYTES = 64
APP2_MAX_BYTES = 1_024
"""Chromium's canvas writes an sRGB profile of 456 bytes behind 14 of name and numbers."""

SEGMENTS_MAX = 24

_EOI, _SOF0, _DHT, _DQT, _DRI, _SOS, _APP0, _APP2 = 0xD9, 0xC0, 0xC4, 0xDB, 0xDD, 0xDA, 0xE0, 0xE2
_ICC_ALONE = b"ICC_PROFILE\0\x01\x01"
"""The first chunk of one: a profile in parts is larger than a crop may be."""

_TABLES = frozenset({_DHT, _DQT, _DRI})
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00]")
_FRAME = struct.Struct(">BHHB")


@dataclass(slots=True)
class _Walk:
    components: int = 0
    restart_interval: int = 0
    has_app0: bool = False
    has_icc: bool = False


def check_jpeg(content: Bytes, *, width: int, height: int, components: int | None = None) -> None:
    """Refuse a JPEG that is anything but a plain baseline picture of the size announced.

    Args:
        content: the whole file.
        width: in pixels, from the authenticated header.
        height: in pixels, from the authenticated header.
        components: 3 for colour, 1 for grey, None for either.

    Raises:
        ContentError: whatever else it is.
    """
    if content[:2] != b"\xff\xd8":
        raise ContentError("not a JPEG")
    walk = _Walk()
    at = 2
    for _ in range(SEGMENTS_MAX):
        marker, body, at = _next_segment(content, at)
        if marker == _SOS:
            _check_scan_header(body, walk)
            _check_scan_data(content, at, walk)
            return
        if marker == _SOF0:
            _check_frame(body, walk, width=width, height=height, components=components)
        elif marker in _TABLES:
            _check_table(marker, body, walk)
        elif marker == _APP0 and not walk.has_app0 and len(body) <= APP0_MAX_BYTES:
            walk.has_app0 = True
        elif marker == _APP2 and not walk.has_icc and _is_small_icc(body):
            walk.has_icc = True
        else:
            raise ContentError(f"JPEG marker {marker:#04x} is not accepted here")
    raise ContentError("JPEG has too many segments")


def _next_segment(content: Bytes, at: int) -> tuple[int, Bytes, int]:
    if at + 4 > len(content) or content[at] != 0xFF:
        raise ContentError("JPEG is truncated or malformed")
    length = int.from_bytes(content[at + 2 : at + 4], "big")
    end = at + 2 + length
    if length < 2 or end > len(content):
        raise ContentError("JPEG segment is truncated")
    return content[at + 1], content[at + 4 : end], end


def _is_small_icc(body: Bytes) -> bool:
    return len(body) <= APP2_MAX_BYTES and body[: len(_ICC_ALONE)] == _ICC_ALONE


def _check_frame(body: Bytes, walk: _Walk, *, width: int, height: int, components: int | None) -> None:
    if walk.components or len(body) < _FRAME.size:
        raise ContentError("JPEG has a second or truncated frame header")
    precision, lines, samples, count = _FRAME.unpack_from(body)
    if precision != 8 or (samples, lines) != (width, height):
        raise ContentError("JPEG size differs from the header's")
    if count not in (1, 3) or (components is not None and count != components):
        raise ContentError("JPEG components differ from the codec's")
    if len(body) != _FRAME.size + 3 * count:
        raise ContentError("JPEG frame header has the wrong length")
    ids = body[_FRAME.size :: 3]
    if len(set(ids)) != count:
        raise ContentError("JPEG component is named twice")
    for sampling, table in zip(body[_FRAME.size + 1 :: 3], body[_FRAME.size + 2 :: 3], strict=True):
        if not (1 <= sampling >> 4 <= 2 and 1 <= sampling & 15 <= 2 and table <= 3):
            raise ContentError("JPEG sampling factor or table out of range")
    walk.components = count


def _check_table(marker: int, body: Bytes, walk: _Walk) -> None:
    if marker == _DRI:
        if len(body) != 2:
            raise ContentError("JPEG restart interval is malformed")
        walk.restart_interval = int.from_bytes(body, "big")
        return
    at = 0
    while at < len(body):
        at += _quantisation_bytes(body, at) if marker == _DQT else _huffman_bytes(body, at)
    if at != len(body) or not body:
        raise ContentError("JPEG table is truncated")


def _quantisation_bytes(body: Bytes, at: int) -> int:
    # baseline: 8-bit precision, tables 0..3
    if body[at] > 3:
        raise ContentError("JPEG quantisation table is not baseline")
    return 65


def _huffman_bytes(body: Bytes, at: int) -> int:
    # baseline: class 0 or 1, tables 0..1
    if body[at] not in (0x00, 0x01, 0x10, 0x11):
        raise ContentError("JPEG Huffman table is not baseline")
    symbols = sum(body[at + 1 : at + 17])
    if symbols > 256:
        raise ContentError("JPEG Huffman table is over its bound")
    return 17 + symbols


def _check_scan_header(body: Bytes, walk: _Walk) -> None:
    # one scan with every component: no progressive refinement to amplify
    if not walk.components or len(body) != 4 + 2 * walk.components or body[0] != walk.components:
        raise ContentError("JPEG scan does not hold every component")
    if body[-3:] != b"\x00\x3f\x00":
        raise ContentError("JPEG scan is not baseline")


def _check_scan_data(content: Bytes, at: int, walk: _Walk) -> None:
    while True:
        match = _MARKER_IN_SCAN.search(content, at)
        if match is None:
            raise ContentError("JPEG has no end")
        marker, at = content[match.start() + 1], match.end()
        if marker == _EOI:
            break
        if not (walk.restart_interval and 0xD0 <= marker <= 0xD7):
            raise ContentError("JPEG scan holds another marker")
    if at != len(content):
        raise ContentError("bytes follow the end of the JPEG")
