"""Session events as changes to a session's rows (rule P6)."""

from __future__ import annotations

from typing import TypeVar
from uuid import UUID

import msgspec

from cloud.errors import EntryError
from cloud.results.changes import (
    Change,
    Connected,
    Counted,
    Ended,
    EndKind,
    FramesSkipped,
    SegmentBegan,
    SessionChange,
)
from cloud.streams.entries import SessionEvent
from privacy.protocol.ids import SessionId, TenantId
from privacy.protocol.messages import Counters, Gap, Segment

_INT32_MAX = 2**31 - 1
_INT64_MAX = 2**63 - 1
_REASON_MAX_CHARS = 40
_REASONS_MAX = 32


Message = TypeVar("Message", Segment, Gap, Counters)


def read_change(event: SessionEvent) -> SessionChange:
    """Read what an event changes.

    Raises:
        EntryError: an unknown kind, a malformed id or body, or a number out of range.
    """
    try:
        tenant, session = TenantId(UUID(event.tenant)), SessionId(UUID(event.session))
    except ValueError:
        raise EntryError("event names no tenant or session") from None
    if not 0 <= event.epoch <= _INT64_MAX:
        raise EntryError("event's epoch is out of range")
    return SessionChange(tenant=tenant, session=session, change=_read(event))


def _read(event: SessionEvent) -> Change:
    match event.kind:
        case "connected":
            return Connected(epoch=event.epoch, at_utc_us=event.at_utc_us)
        case "closed" | "lost" | "withdrawn":
            return Ended(epoch=event.epoch, at_utc_us=event.at_utc_us, kind=EndKind(event.kind))
        case "segment":
            return _segment(event)
        case "gap":
            return _gap(event)
        case "counters":
            return _counters(event)
        case _:
            raise EntryError("event is of an unknown kind")


def _segment(event: SessionEvent) -> SegmentBegan:
    body = _body(event, Segment)
    return SegmentBegan(
        segment=_bounded(body.segment, _INT32_MAX),
        media_time_ms=_media_time_ms(body.media_time_us),
        monotonic_us=_bounded(body.monotonic_us, _INT64_MAX),
        rate_permille=_bounded(body.rate_permille, _INT32_MAX),
    )


def _gap(event: SessionEvent) -> FramesSkipped:
    body = _body(event, Gap)
    if body.last_frame < body.first_frame:
        raise EntryError("gap ends before it begins")
    return FramesSkipped(
        first_frame=_bounded(body.first_frame, _INT64_MAX),
        last_frame=_bounded(body.last_frame, _INT64_MAX),
        segment=_bounded(body.segment, _INT32_MAX),
        media_time_ms=_media_time_ms(body.media_time_us),
        reason=_reason(body.reason),
    )


def _counters(event: SessionEvent) -> Counted:
    body = _body(event, Counters)
    if len(body.skipped) > _REASONS_MAX:
        raise EntryError("counters name too many reasons")
    return Counted(
        captured=_bounded(body.captured, _INT64_MAX),
        with_face=_bounded(body.with_face, _INT64_MAX),
        sent=_bounded(body.sent, _INT64_MAX),
        skipped={_reason(name): _bounded(count, _INT64_MAX) for name, count in body.skipped.items()},
    )


def _body(event: SessionEvent, kind: type[Message]) -> Message:
    try:
        return msgspec.json.decode(event.body, type=kind)
    except msgspec.MsgspecError:
        raise EntryError("event's body is malformed") from None


def _bounded(value: int, high: int) -> int:
    if not 0 <= value <= high:
        raise EntryError("event holds a number out of range")
    return value


def _media_time_ms(media_time_us: int) -> int:
    return max(-_INT32_MAX, min(media_time_us // 1_000, _INT32_MAX))


def _reason(text: str) -> str:
    if not 1 <= len(text) <= _REASON_MAX_CHARS or not text.isprintable():
        raise EntryError("event names no reason")
    return text
