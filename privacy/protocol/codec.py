"""Encode and decode messages, strictly and within their limits (protocol rules W6-W9).

Every decoder raises `MessageError` and nothing else, whatever the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from privacy.errors import MessageError
from privacy.protocol import limits
from privacy.protocol.messages import (
    REFUSAL_REASONS,
    SKIP_REASONS,
    Ack,
    Answer,
    ClockReply,
    ControlFromAgent,
    ControlFromIngest,
    Counters,
    Gap,
    Offer,
    Refusals,
    Refused,
    Revoked,
    SessionSetup,
    SignallingMessage,
)

M = TypeVar("M")

Message = SignallingMessage | ControlFromAgent | ControlFromIngest

_signalling: msgspec.json.Decoder[SignallingMessage] = msgspec.json.Decoder(SignallingMessage)
_from_agent: msgspec.json.Decoder[ControlFromAgent] = msgspec.json.Decoder(ControlFromAgent)
_from_ingest: msgspec.json.Decoder[ControlFromIngest] = msgspec.json.Decoder(ControlFromIngest)
_setup = msgspec.json.Decoder(SessionSetup)


def encode_message(message: Message) -> bytes:
    """Write a message as JSON.

    Raises:
        MessageError: a field is out of its bounds, or the message over its limit.
    """
    if isinstance(message, Offer | Answer | Refused):
        return _encode(message, _signalling, limit_bytes=limits.SIGNALLING_MESSAGE_MAX_BYTES)
    decoder = _from_ingest if isinstance(message, ClockReply | Ack | Revoked | Refusals) else _from_agent
    return _encode(message, decoder, limit_bytes=limits.CTL_MESSAGE_MAX_BYTES)


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
    return _encode(setup, _setup, limit_bytes=limits.SETUP_MAX_BYTES)


def decode_setup(data: bytes) -> SessionSetup:
    """Read a session setup from the setup store, or raise `MessageError`."""
    return _decode(data, _setup, limit_bytes=limits.SETUP_MAX_BYTES)


def _encode(
    message: Message | SessionSetup, decoder: msgspec.json.Decoder[Any], *, limit_bytes: int
) -> bytes:
    try:
        data = msgspec.json.encode(message)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError):
        raise MessageError("message cannot be encoded") from None
    # the bounds are declared once, in the structs, and reading is what checks them
    _decode(data, decoder, limit_bytes=limit_bytes)
    return data


def _decode(data: bytes, decoder: msgspec.json.Decoder[M], *, limit_bytes: int) -> M:
    # W6 length before anything is parsed
    if len(data) > limit_bytes:
        raise MessageError(f"message of {len(data)} bytes is over {limit_bytes}")
    # W7 closed types, no unknown fields; W8 bounds of each field
    try:
        message = decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise MessageError("message is malformed, or a field is out of its bounds") from None
    # W8 bounds that hold between fields
    if not _CHECKS.get(type(message), _is_anything)(message):
        raise MessageError(f"{type(message).__name__} holds a field out of its bounds")
    return message


def _is_anything(_message: object) -> bool:
    return True


_CHECKS: dict[type, Callable[[Any], bool]] = {
    Counters: lambda m: m.skipped.keys() <= SKIP_REASONS,
    Gap: lambda m: m.first_frame <= m.last_frame and m.reason in SKIP_REASONS,
    Refusals: lambda m: m.counts.keys() <= REFUSAL_REASONS,
}
