"""Byte layout of the entries on the crop and result streams.

A crop entry carries a batch of sealed crops, a result entry a batch of score records, and an event
entry what the agent reports about its session. Numbers are big-endian; decoders raise only
`EntryError`, whatever the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from cloud.errors import EntryError
from cloud.streams.scoring import DIGEST_BYTES, ScoringModel
from privacy.protocol import limits
from privacy.protocol.ids import SessionId, TenantId

CROP_BATCH_MAX = 64
CROP_BATCH_MAX_BYTES = 128 * 1024

_CROP_HEAD = struct.Struct(">BqqH")
_SCORE = struct.Struct(">16s16sBHIqqq6sBBH")
_COUNT = struct.Struct(">H")
_MODEL = struct.Struct(f">{DIGEST_BYTES}sBBB")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedCrop:
    """One envelope as ingest received it.

    Attributes:
        late: it came in the LATE wrapper (gap repair).
        received_utc_us: arrival on ingest's UTC clock.
        clock_offset_us: agent monotonic + this = server UTC; 0 with `received_utc_us` while unknown.
        envelope: header and ciphertext, nothing opened.
    """

    late: bool
    received_utc_us: int
    clock_offset_us: int
    envelope: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRecord:
    """What the classify worker read from one face, after opt-outs were applied.

    Attributes:
        probabilities: six u8 in `EXPRESSIONS` order that sum to 255; an opted-out one is 0.
        confidence: u8, calibrated probability of the leading expression x 255.
        attention: u8 x 255, 0 where the agent sent none.
        flags: bit 0 late, bit 1 grey, bit 2 uncertain (low confidence or out of scope), bit 3 out of scope
            (the face shows none of the six, as far as the network can tell; sets bit 2 too), bit 4 scored by the
            agent, not by this platform's network.
        captured_utc_us: capture time on the server's UTC clock.
        classified_utc_us: when the result was ready.
    """

    tenant: TenantId
    session: SessionId
    face: int
    segment: int
    frame: int
    media_time_us: int
    captured_utc_us: int
    classified_utc_us: int
    probabilities: bytes
    confidence: int
    attention: int
    flags: int


FLAG_LATE = 1
FLAG_GREY = 2
FLAG_UNCERTAIN = 4
FLAG_OUT_OF_SCOPE = 8
FLAG_ON_DEVICE = 16


class SessionEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ingest reports about a session on the result stream; idempotent by content.

    `kind` is one of: connected, segment, counters, gap, closed, withdrawn, lost. `body` is the agent's
    message as `privacy.protocol.messages` encodes it, or empty.
    """

    tenant: str
    session: str
    kind: str
    epoch: int
    at_utc_us: int
    body: msgspec.Raw = msgspec.Raw(b"{}")


def encode_crops(crops: Sequence[SealedCrop]) -> bytes:
    """Lay out a batch of at most `CROP_BATCH_MAX` crops."""
    parts = [_COUNT.pack(len(crops))]
    for crop in crops:
        parts.append(
            _CROP_HEAD.pack(crop.late, crop.received_utc_us, crop.clock_offset_us, len(crop.envelope))
        )
        parts.append(crop.envelope)
    return b"".join(parts)


def decode_crops(entry: bytes) -> list[SealedCrop]:
    """Read a batch of crops.

    Raises:
        EntryError: truncated, oversized or trailing bytes.
    """
    try:
        (count,) = _COUNT.unpack_from(entry, 0)
        if count > CROP_BATCH_MAX:
            raise EntryError(f"crop entry of {count} crops is over its bound")
        crops = []
        at = _COUNT.size
        for _ in range(count):
            late, received, offset, length = _CROP_HEAD.unpack_from(entry, at)
            at += _CROP_HEAD.size
            if late > 1 or length > limits.ENVELOPE_MAX_BYTES or at + length > len(entry):
                raise EntryError("crop entry is malformed")
            crops.append(
                SealedCrop(
                    late=bool(late),
                    received_utc_us=received,
                    clock_offset_us=offset,
                    envelope=bytes(entry[at : at + length]),
                )
            )
            at += length
    except struct.error:
        raise EntryError("crop entry is truncated") from None
    if at != len(entry):
        raise EntryError("crop entry has trailing bytes")
    return crops


def encode_scores(records: Sequence[ScoreRecord], *, model: ScoringModel) -> bytes:
    """Lay out a batch of score records behind the model that they are from."""
    return (
        _encode_model(model)
        + _COUNT.pack(len(records))
        + b"".join(
            _SCORE.pack(
                r.tenant.bytes,
                r.session.bytes,
                r.face,
                r.segment,
                r.frame,
                r.media_time_us,
                r.captured_utc_us,
                r.classified_utc_us,
                r.probabilities,
                r.confidence,
                r.attention,
                r.flags,
            )
            for r in records
        )
    )


def _encode_model(model: ScoringModel) -> bytes:
    texts = [text.encode("ascii") for text in (model.name, model.version, model.variant)]
    return _MODEL.pack(model.sha256, *(len(text) for text in texts)) + b"".join(texts)


def split_model(entry: bytes) -> tuple[ScoringModel, bytes]:
    """Take the model off a score entry.

    Returns:
        The model, and what follows: a count and that many records.

    Raises:
        EntryError: truncated, or no model.
    """
    if len(entry) < _MODEL.size:
        raise EntryError("score entry is truncated")
    sha256, *lengths = _MODEL.unpack_from(entry)
    texts, at = [], _MODEL.size
    for length in lengths:
        texts.append(entry[at : at + length])
        at += length
    if at > len(entry):
        raise EntryError("score entry is truncated")
    try:
        name, version, variant = (text.decode("ascii") for text in texts)
        return ScoringModel(name=name, version=version, variant=variant, sha256=sha256), entry[at:]
    except ValueError:
        raise EntryError("score entry names no model") from None


def decode_scores(entry: bytes) -> list[ScoreRecord]:
    """Read a batch of score records.

    Raises:
        EntryError: truncated, trailing bytes, or probabilities that do not sum to 255.
    """
    _, entry = split_model(entry)
    if len(entry) < _COUNT.size:
        raise EntryError("score entry is truncated")
    (count,) = _COUNT.unpack_from(entry, 0)
    if len(entry) != _COUNT.size + count * _SCORE.size:
        raise EntryError("score entry's length does not match its count")
    records = []
    for fields in _SCORE.iter_unpack(entry[_COUNT.size :]):
        if sum(fields[8]) != 255:
            raise EntryError("probabilities do not sum to 255")
        records.append(
            ScoreRecord(
                tenant=TenantId(UUID(bytes=fields[0])),
                session=SessionId(UUID(bytes=fields[1])),
                face=fields[2],
                segment=fields[3],
                frame=fields[4],
                media_time_us=fields[5],
                captured_utc_us=fields[6],
                classified_utc_us=fields[7],
                probabilities=fields[8],
                confidence=fields[9],
                attention=fields[10],
                flags=fields[11],
            )
        )
    return records


def encode_event(event: SessionEvent) -> bytes:
    """Lay out a session event."""
    return msgspec.json.encode(event)


def decode_event(entry: bytes) -> SessionEvent:
    """Read a session event.

    Raises:
        EntryError: it is not one.
    """
    try:
        return msgspec.json.decode(entry, type=SessionEvent)
    except msgspec.MsgspecError:
        raise EntryError("event entry is malformed") from None


def shard_of(session: SessionId, *, shards: int) -> int:
    """Place a session: all its entries live on one shard, 0..shards-1."""
    return int.from_bytes(session.bytes[-4:], "big") % shards
