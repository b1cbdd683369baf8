"""Byte layout of a sealed crop; no crypto.

A datagram on the `crops` channel is one kind byte followed by an envelope:

    kind (1) | header (64, big-endian, the AAD) | ciphertext (padded plaintext + 16-byte tag)

Header layout (protocol rule W2):

    offset size field
         0    1 version            1
         1    1 suite              1 = HPKE X25519/HKDF-SHA256/AES-256-GCM, then AES-256-GCM per frame
         2    1 flags              reserved, 0
         3    1 codec              `Codec`
         4   16 session            UUID
        20    4 epoch              u32, from 1
        24    8 counter            u64, from 0 in each epoch; the nonce is salt XOR counter
        32    4 frame              u32, index of the captured frame in its session
        36    8 media_time_us      i64, position in the film
        44    8 monotonic_us       u64, capture time on the agent's monotonic clock
        52    1 face               face slot, 0 for the consented viewer
        53    1 faces              faces in view, for flags; at most 8
        54    1 width              px; 0 with codec `SCORES`
        55    1 height             px; 0 with codec `SCORES`
        56    2 detector           id of the detector variant
        58    2 segment            playback segment
        60    4 ciphertext_length  bytes, tag included
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

from privacy.errors import EnvelopeError
from privacy.protocol import limits
from privacy.protocol.ids import SessionId

VERSION = 1
SUITE = 1

_LAYOUT = struct.Struct(">BBBB16sIQIqQBBBBHHI")
assert _LAYOUT.size == limits.HEADER_BYTES


class DatagramKind(IntEnum):
    """Outer byte of a datagram on the `crops` channel."""

    LIVE = 1
    LATE = 2


class Codec(IntEnum):
    """How the plaintext's content is encoded."""

    JPEG_RGB = 1
    JPEG_GRAY = 2
    RAW_GRAY = 3
    SCORES = 16


CROP_CODECS = frozenset({Codec.JPEG_RGB, Codec.JPEG_GRAY, Codec.RAW_GRAY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The authenticated header of one envelope; see the module's table for units and ranges."""

    codec: Codec
    session: SessionId
    epoch: int
    counter: int
    frame: int
    media_time_us: int
    monotonic_us: int
    face: int
    faces: int
    width: int
    height: int
    detector: int
    segment: int
    ciphertext_length: int


def encode_header(header: Header) -> bytes:
    """Lay out a header in 64 bytes.

    Raises:
        EnvelopeError: a field does not fit its width.
    """
    try:
        return _LAYOUT.pack(
            VERSION,
            SUITE,
            0,
            header.codec,
            header.session.bytes,
            header.epoch,
            header.counter,
            header.frame,
            header.media_time_us,
            header.monotonic_us,
            header.face,
            header.faces,
            header.width,
            header.height,
            header.detector,
            header.segment,
            header.ciphertext_length,
        )
    except struct.error as error:
        raise EnvelopeError(f"header field out of range: {error}") from None


def decode_envelope(envelope: bytes) -> tuple[Header, bytes, bytes]:
    """Split an envelope into header, its raw 64 bytes (the AAD) and the ciphertext, cheap checks only.

    Raises:
        EnvelopeError: length, an enumeration or a bound is refused; whatever the bytes, nothing else.
    """
    # W3.1 length
    if not limits.HEADER_BYTES + limits.TAG_BYTES <= len(envelope) <= limits.ENVELOPE_MAX_BYTES:
        raise EnvelopeError(f"envelope of {len(envelope)} bytes is outside its bounds")
    raw = bytes(envelope[: limits.HEADER_BYTES])
    fields = _LAYOUT.unpack(raw)
    # W3.2 enumerations
    if fields[0] != VERSION or fields[1] != SUITE or fields[2] != 0:
        raise EnvelopeError("unknown version, suite or flag")
    try:
        codec = Codec(fields[3])
    except ValueError:
        raise EnvelopeError("unknown codec") from None
    header = Header(
        codec=codec,
        session=SessionId(UUID(bytes=fields[4])),
        epoch=fields[5],
        counter=fields[6],
        frame=fields[7],
        media_time_us=fields[8],
        monotonic_us=fields[9],
        face=fields[10],
        faces=fields[11],
        width=fields[12],
        height=fields[13],
        detector=fields[14],
        segment=fields[15],
        ciphertext_length=fields[16],
    )
    # W3.3 bounds
    if header.ciphertext_length != len(envelope) - limits.HEADER_BYTES:
        raise EnvelopeError("ciphertext length differs from the header's")
    if header.ciphertext_length - limits.TAG_BYTES not in limits.PLAINTEXT_BUCKETS_BYTES:
        raise EnvelopeError("plaintext is not padded to a size bucket")
    if header.epoch < 1 or header.counter >= limits.EPOCH_MAX_FRAMES:
        raise EnvelopeError("epoch or counter out of range")
    if header.face >= limits.FACES_MAX or header.faces > limits.FACES_MAX:
        raise EnvelopeError("face index or count out of range")
    if codec in CROP_CODECS and not (
        limits.CROP_SIDE_MIN_PX <= header.width <= limits.CROP_SIDE_MAX_PX
        and limits.CROP_SIDE_MIN_PX <= header.height <= limits.CROP_SIDE_MAX_PX
    ):
        raise EnvelopeError("crop side out of range")
    if codec is Codec.SCORES and (header.width or header.height):
        raise EnvelopeError("scores have no size in pixels")
    return header, raw, bytes(envelope[limits.HEADER_BYTES :])


def wrap_datagram(kind: DatagramKind, envelope: bytes) -> bytes:
    """Put the outer kind byte before an envelope."""
    return bytes((kind,)) + envelope


def unwrap_datagram(datagram: bytes) -> tuple[DatagramKind, bytes]:
    """Take the outer kind byte off a datagram.

    Raises:
        EnvelopeError: the datagram is empty, too large or of an unknown kind.
    """
    if not 1 < len(datagram) <= limits.DATAGRAM_MAX_BYTES:
        raise EnvelopeError(f"datagram of {len(datagram)} bytes is outside its bounds")
    try:
        kind = DatagramKind(datagram[0])
    except ValueError:
        raise EnvelopeError("unknown datagram kind") from None
    return kind, bytes(datagram[1:])
