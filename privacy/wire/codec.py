"""Encode and decode messages, strictly and within their limits (protocol rules W6-W9).

Every decoder raises `MessageError` and nothing else, whatever the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

import msgspec

from privacy.errors import MessageError
from privacy.wire import limits
from privacy.wire.messages import (
    SKIP_REASONS,
    Ack,
    Answer,
    Bye,
    Clock,
    ClockOffset,
    ClockReply,
    ControlFromAgent,
    ControlFromIngest,
    Counters,
    Gap,
    Offer,
    Refused,
    Revoked,
    Segment,
    SessionSetup,
    SignallingMessage,
    Withdraw,
)

M = TypeVar("M")

Message = SignallingMessage | ControlFromAgent | ControlFromIngest

_U16: Final = 1 << 16
_U32: Final = 1 << 32
_TIME: Final = 1 << 53
_REASON_MAX_CHARS = 200
_RATE_MAX_PERMILLE = 16_000
_RETRY_MAX_MS = 600_000

_signalling: msgspec.json.Decoder[SignallingMessage] = msgspec.json.Decoder(SignallingMessage)
_from_agent: msgspec.json.Decoder[ControlFromAgent] = msgspec.json.Decoder(ControlFromAgent)
_from_ingest: msgspec.json.Decoder[ControlFromIngest] = msgspec.json.Decoder(ControlFromIngest)
_setup = msgspec.json.Decoder(SessionSetup)


def encode_message(message: Message) -> bytes:
    """Write a message as JSON.

    Raises:
        MessageError: a field is out of its bounds, or the message over its limit.
    """
    signalling = isinstance(message, Offer | Answer | Refused)
    limit = limits.SIGNALLING_MESSAGE_MAX_BYTES if signalling else limits.CTL_MESSAGE_MAX_BYTES
    return _encode(message, limit_bytes=limit)


def decode_signalling(data: bytes) -> SignallingMessage:
    """Read a message from the signalling websocket, or raise `MessageError`."""
    return _decode(data, _signalling, limit_bytes=limits.SIGNALLING_MESSAGE_MAX_BYTES)


def decode_control_from_agent(data: bytes) -> ControlFromAgent:
    """Read an agent's message from the `ctl` channel, or raise `MessageError`."""
    return _decode(data, _from_agent, limit_bytes=limits.CTL_MESSAGE_MAX_BYTES)


def decode_control_from_ingest(data: bytes) -> ControlFromIngest:
    """Read ingest's message from the `ctl` channel, or raise `MessageError`."""
    return _decode(data, _from_ingest, limit_bytes=limits.CTL_MESSAGE_MAX_BYTES)


def encode_setup(setup: SessionSetup) -> bytes:
    """Write a session setup for the setup store, or raise `MessageError`."""
    return _encode(setup, limit_bytes=limits.SETUP_MAX_BYTES)


def decode_setup(data: bytes) -> SessionSetup:
    """Read a session setup from the setup store, or raise `MessageError`."""
    return _decode(data, _setup, limit_bytes=limits.SETUP_MAX_BYTES)


def _encode(message: Message | SessionSetup, *, limit_bytes: int) -> bytes:
    _check(message)
    try:
        data = msgspec.json.encode(message)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError):
        raise MessageError("message cannot be encoded") from None
    if len(data) > limit_bytes:
        raise MessageError(f"message of {len(data)} bytes is over {limit_bytes}")
    return data


def _decode(data: bytes, decoder: msgspec.json.Decoder[M], *, limit_bytes: int) -> M:
    # W6 length before anything is parsed
    if len(data) > limit_bytes:
        raise MessageError(f"message of {len(data)} bytes is over {limit_bytes}")
    # W7 closed types, no unknown fields
    try:
        message = decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise MessageError("message is malformed") from None
    # W8 bounds of every field
    _check(message)
    return message


def _within(value: int, top: int, *, bottom: int = 0) -> bool:
    return bottom <= value < top


def _is_short(text: str) -> bool:
    return 0 < len(text) <= _REASON_MAX_CHARS


def _is_setup(setup: SessionSetup) -> bool:
    try:
        canonical = str(UUID(setup.session)) == setup.session and str(UUID(setup.tenant)) == setup.tenant
    except ValueError:
        return False
    return (
        canonical
        and _within(setup.epoch, _U32, bottom=1)
        and _within(setup.not_after_utc_us, _TIME)
        and _is_short(setup.key_id)
        and len(setup.receipt) <= limits.RECEIPT_MAX_BYTES
        and max(len(setup.device_public_key), len(setup.encapsulated), len(setup.device_signature))
        <= limits.SETUP_FIELD_MAX_BYTES
    )


def _is_counters(message: Counters) -> bool:
    totals = (message.captured, message.with_face, message.sent, *message.skipped.values())
    return all(_within(total, _U32) for total in totals) and message.skipped.keys() <= SKIP_REASONS


def _is_gap(message: Gap) -> bool:
    return (
        0 <= message.first_frame <= message.last_frame < _U32
        and _within(message.segment, _U16)
        and _within(message.media_time_us, _TIME, bottom=-_TIME)
        and message.reason in SKIP_REASONS
    )


def _is_segment(message: Segment) -> bool:
    return (
        _within(message.segment, _U16)
        and _within(message.media_time_us, _TIME, bottom=-_TIME)
        and _within(message.monotonic_us, _TIME)
        and _within(message.rate_permille, _RATE_MAX_PERMILLE + 1)
    )


def _is_ack(message: Ack) -> bool:
    return (
        _within(message.bucket, _U32 // limits.FRAMES_PER_PACK + 1)
        and _within(message.mask, 1 << limits.FRAMES_PER_PACK)
        and _within(message.committed_utc_us, _TIME)
    )


def _is_refused(message: Refused) -> bool:
    return (
        _within(message.code, 600, bottom=400)
        and _is_short(message.reason)
        and _within(message.retry_after_ms, _RETRY_MAX_MS + 1)
    )


_CHECKS: dict[type, Callable[..., bool]] = {
    SessionSetup: _is_setup,
    Offer: lambda m: _is_setup(m.setup) and bool(m.sdp) and bool(m.ticket),
    Answer: lambda m: bool(m.sdp),
    Refused: _is_refused,
    Revoked: lambda m: _is_short(m.reason),
    Clock: lambda m: _within(m.t1_monotonic_us, _TIME),
    ClockReply: lambda m: all(
        map(partial(_within, top=_TIME), (m.t1_monotonic_us, m.t2_utc_us, m.t3_utc_us))
    ),
    ClockOffset: lambda m: _within(m.offset_us, _TIME, bottom=-_TIME) and _within(m.error_us, _TIME),
    Segment: _is_segment,
    Counters: _is_counters,
    Gap: _is_gap,
    Withdraw: lambda m: _within(m.monotonic_us, _TIME),
    Bye: lambda m: _within(m.last_frame, _U32, bottom=-1),
    Ack: _is_ack,
}


def _check(message: object) -> None:
    if not _CHECKS[type(message)](message):
        raise MessageError(f"{type(message).__name__} holds a field out of its bounds")
