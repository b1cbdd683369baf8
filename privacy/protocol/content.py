"""Check that opened content is what the authenticated header says, before anything decodes it.

A header's codec decides the content (protocol rules W10-W12): a JPEG, raw grey pixels, or the scores of
an agent that classified on the device.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from privacy.errors import ContentError, SealingError
from privacy.protocol.envelope import Codec, Header
from privacy.protocol.jpeg import check_jpeg

SCORES_SUM = 255
_SCORES = struct.Struct(">B6sB")
_SCORES_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What an agent in on-device mode read from one face, after opt-outs were applied.

    Attributes:
        probabilities: six u8 in `EXPRESSIONS` order that sum to 255; an opted-out one is 0.
        confidence: u8, calibrated probability of the leading expression x 255.
    """

    probabilities: bytes
    confidence: int


def check_content(header: Header, content: bytes | memoryview) -> None:
    """Refuse content that differs from its header.

    Raises:
        ContentError: not of the codec, the size or the component count that the header names.
    """
    if header.codec is Codec.JPEG_RGB:
        check_jpeg(content, width=header.width, height=header.height, components=3)
    elif header.codec is Codec.JPEG_GRAY:
        check_jpeg(content, width=header.width, height=header.height, components=1)
    elif header.codec is Codec.RAW_GRAY:
        if len(content) != header.width * header.height:
            raise ContentError("raw crop's length differs from the header's size")
    else:
        decode_scores_content(content)


def encode_scores_content(scores: Scores) -> bytes:
    """Lay out scores as the content of an envelope with codec `SCORES`: version, six u8, confidence.

    Raises:
        SealingError: probabilities that are not six or do not sum to 255, or confidence out of range.
    """
    if len(scores.probabilities) != 6 or sum(scores.probabilities) != SCORES_SUM:
        raise SealingError("probabilities must be six and sum to 255")
    if not 0 <= scores.confidence <= 255:
        raise SealingError("confidence out of range")
    return _SCORES.pack(_SCORES_VERSION, scores.probabilities, scores.confidence)


def decode_scores_content(content: bytes | memoryview) -> Scores:
    """Read scores back.

    Raises:
        ContentError: another length or version, or probabilities that do not sum to 255.
    """
    if len(content) != _SCORES.size:
        raise ContentError("scores have the wrong length")
    version, probabilities, confidence = _SCORES.unpack(content)
    if version != _SCORES_VERSION or sum(probabilities) != SCORES_SUM:
        raise ContentError("scores are of an unknown version or do not sum to 255")
    return Scores(probabilities=probabilities, confidence=confidence)
