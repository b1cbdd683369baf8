"""Plaintext layout of a sealed crop: attention features, content, padding.

    features (16) | content length (2, big-endian) | content | zeros up to a size bucket

Features block, version 1 (protocol rule W5):

    offset size field
         0    1 version         1
         1    1 yaw_deg         i8, -90..90; positive turns to the viewer's left
         2    1 pitch_deg       i8, -90..90; positive looks up
         3    1 roll_deg        i8, -90..90; positive tilts to the viewer's left shoulder
         4    1 quality         u8, 0 unusable .. 255 best
         5    1 detector_score  u8, detector score x 255
         6    1 brightness      u8, mean luma of the crop
         7    1 sharpness       u8, 0 blurred .. 255 sharp
         8    1 attention       u8, 0 away .. 255 facing the screen; 0 also where not measured
         9    7 reserved        0
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from dataclasses import dataclass
from typing import TypeVar

from privacy.errors import PayloadError, SealingError
from privacy.protocol import limits

Bytes = TypeVar("Bytes", bytes, memoryview)

FEATURES_VERSION = 1
FEATURES_BYTES = 16
ANGLE_MAX_DEG = 90

_FEATURES = struct.Struct(">BbbbBBBBB7s")
_LENGTH = struct.Struct(">H")
_RESERVED = bytes(7)
_ZEROS = bytes(limits.PLAINTEXT_BUCKETS_BYTES[-1])
_OVERHEAD_BYTES = FEATURES_BYTES + _LENGTH.size
assert _FEATURES.size == FEATURES_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What the agent measured about one face; see the module's table for units and ranges."""

    yaw_deg: int = 0
    pitch_deg: int = 0
    roll_deg: int = 0
    quality: int = 0
    detector_score: int = 0
    brightness: int = 0
    sharpness: int = 0
    attention: int = 0


def max_content_bytes() -> int:
    """Give the largest content, in bytes, that fits the largest size bucket."""
    return limits.PLAINTEXT_BUCKETS_BYTES[-1] - _OVERHEAD_BYTES


def bucket_bytes(content_bytes: int) -> int:
    """Give the padded plaintext's size for a content's size, both in bytes.

    Raises:
        SealingError: the content is too large for every bucket.
    """
    place = bisect_left(limits.PLAINTEXT_BUCKETS_BYTES, _OVERHEAD_BYTES + content_bytes)
    if place == len(limits.PLAINTEXT_BUCKETS_BYTES):
        raise SealingError(f"content of {content_bytes} bytes is over {max_content_bytes()}")
    return limits.PLAINTEXT_BUCKETS_BYTES[place]


def encode_payload(features: Features, content: bytes) -> bytes:
    """Lay out features and content, padded with zeros to a size bucket.

    Raises:
        SealingError: the content is too large, or a feature is out of range.
    """
    size = bucket_bytes(len(content))
    if max(abs(features.yaw_deg), abs(features.pitch_deg), abs(features.roll_deg)) > ANGLE_MAX_DEG:
        raise SealingError("head angle out of range")
    try:
        block = _FEATURES.pack(
            FEATURES_VERSION,
            features.yaw_deg,
            features.pitch_deg,
            features.roll_deg,
            features.quality,
            features.detector_score,
            features.brightness,
            features.sharpness,
            features.attention,
            _RESERVED,
        )
    except struct.error:
        raise SealingError("feature out of range") from None
    return b"".join((block, _LENGTH.pack(len(content)), content)).ljust(size, b"\0")


def decode_payload(plaintext: Bytes) -> tuple[Features, Bytes]:
    """Read features and content back; the layout has one accepted form.

    Args:
        plaintext: as it was opened; of a view the content is a view too, and nothing is copied.

    Raises:
        PayloadError: size, version, a range, the inner length or the padding is refused.
    """
    # W5.1 size
    if len(plaintext) not in limits.PLAINTEXT_BUCKETS_BYTES:
        raise PayloadError("plaintext is not padded to a size bucket")
    version, yaw, pitch, roll, quality, score, brightness, sharpness, attention, reserved = (
        _FEATURES.unpack_from(plaintext, 0)
    )
    # W5.2 version and ranges
    if version != FEATURES_VERSION or reserved != _RESERVED:
        raise PayloadError("unknown features version")
    if max(abs(yaw), abs(pitch), abs(roll)) > ANGLE_MAX_DEG:
        raise PayloadError("head angle out of range")
    # W5.3 inner length: the smallest bucket that holds the content, else padding is a side channel
    (length,) = _LENGTH.unpack_from(plaintext, FEATURES_BYTES)
    if length > max_content_bytes() or bucket_bytes(length) != len(plaintext):
        raise PayloadError("content length does not fit its size bucket")
    # W5.4 padding
    end = _OVERHEAD_BYTES + length
    if plaintext[end:] != _ZEROS[: len(plaintext) - end]:
        raise PayloadError("padding is not zero")
    features = Features(
        yaw_deg=yaw,
        pitch_deg=pitch,
        roll_deg=roll,
        quality=quality,
        detector_score=score,
        brightness=brightness,
        sharpness=sharpness,
        attention=attention,
    )
    return features, plaintext[_OVERHEAD_BYTES:end]
