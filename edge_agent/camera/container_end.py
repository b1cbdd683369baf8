"""Tell whether a file ends before its own headers say so: it was cut, or its recording never finished."""

from __future__ import annotations

import os
from typing import BinaryIO

_BOX_HEADER_BYTES = 8
_BOXES_MAX = 100_000
_FIRST_BOXES = (
    b"ftyp",
    b"styp",
    b"moov",
    b"mdat",
    b"moof",
    b"free",
    b"skip",
    b"wide",
    b"pnot",
    b"sidx",
    b"uuid",
)
_OGG_PAGE, _OGG_HEADER_BYTES, _OGG_PAGE_MAX_BYTES = b"OggS", 27, 65_307
_TS_SYNC, _TS_PACKET_BYTES = b"\x47", 188
_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def is_cut(file: BinaryIO) -> bool:
    """Tell whether the file is shorter than its outermost headers declare.

    Reads the headers of MP4 and QuickTime boxes, of a Matroska or WebM segment, of a RIFF (AVI) file and of the last
    Ogg page, and counts the packets of an MPEG transport stream; of other kinds, and where a live recorder declared
    no length, nothing can be told. The position in the file is lost.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(64)
    if head[4:8] in _FIRST_BOXES:
        return _is_cut_in_boxes(file, size)
    if head[:4] == _EBML:
        return _is_cut_in_segment(file, size)
    if head[:4] == b"RIFF":
        declared = int.from_bytes(head[4:8], "little")
        return 0 < declared < 0xFFFFFFF0 and declared + _BOX_HEADER_BYTES > size + 1
    if head[:4] == _OGG_PAGE:
        return _is_cut_in_page(file, size)
    file.seek(_TS_PACKET_BYTES)
    if head[:1] == _TS_SYNC and file.read(1) == _TS_SYNC:
        return size % _TS_PACKET_BYTES != 0
    return False


def _is_cut_in_page(file: BinaryIO, size: int) -> bool:
    start = max(0, size - _OGG_PAGE_MAX_BYTES)
    file.seek(start)
    tail = file.read()
    at = tail.rfind(_OGG_PAGE)
    header = tail[at : at + _OGG_HEADER_BYTES]
    if at < 0 or len(header) < _OGG_HEADER_BYTES:
        return True
    lengths = tail[at + _OGG_HEADER_BYTES : at + _OGG_HEADER_BYTES + header[-1]]
    return at + _OGG_HEADER_BYTES + header[-1] + sum(lengths) > len(tail)


def _is_cut_in_boxes(file: BinaryIO, size: int) -> bool:
    at, has_index = 0, False
    for _ in range(_BOXES_MAX):
        if at + _BOX_HEADER_BYTES > size:
            break
        file.seek(at)
        header = file.read(16)
        length, kind = int.from_bytes(header[:4], "big"), header[4:8]
        has_index |= kind in (b"moov", b"moof")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0:
            return not has_index
        if length < _BOX_HEADER_BYTES or not kind.isascii():
            # Damage or padding, not a cut: what follows is no box.
            return not has_index
        at += length
    return at > size or not has_index


def _is_cut_in_segment(file: BinaryIO, size: int) -> bool:
    file.seek(len(_EBML))
    header = _element_size(file)
    if header is None:
        return False
    file.seek(header, os.SEEK_CUR)
    if file.read(len(_SEGMENT)) != _SEGMENT:
        return False
    length = _element_size(file)
    return length is not None and file.tell() + length > size


def _element_size(file: BinaryIO) -> int | None:
    """Read an EBML length; None where it is unknown, as live recorders leave it."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    extra = 8 - first[0].bit_length()
    mask = (1 << (7 - extra)) - 1
    value = int.from_bytes(bytes([first[0] & mask]) + file.read(extra), "big")
    return None if value == (1 << (7 * (extra + 1))) - 1 else value
