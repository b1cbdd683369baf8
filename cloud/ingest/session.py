"""What one admitted connection may put on the streams.

`privacy.protocol.receiver` checks; this module turns what passed into stream entries and session events.
Nothing is opened: ingest holds no key.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from cloud.streams.entries import SealedCrop, SessionEvent
from privacy.errors import MessageError
from privacy.protocol.codec import encode_message
from privacy.protocol.ids import SessionId, TenantId
from privacy.protocol.messages import Bye, ControlFromAgent, Counters, Gap, RefusalReason, Segment, Withdraw
from privacy.protocol.receiver import ReceiverSession

MALFORMED_CONTROL = "malformed_control"


class EventKind(StrEnum):
    """Kinds of session events; see `cloud.streams.entries.SessionEvent`."""

    CONNECTED = "connected"
    SEGMENT = "segment"
    COUNTERS = "counters"
    GAP = "gap"
    CLOSED = "closed"
    WITHDRAWN = "withdrawn"
    LOST = "lost"


_KINDS: dict[type, EventKind] = {
    Segment: EventKind.SEGMENT,
    Counters: EventKind.COUNTERS,
    Gap: EventKind.GAP,
    Bye: EventKind.CLOSED,
    Withdraw: EventKind.WITHDRAWN,
}


class SessionEnd(StrEnum):
    """How an agent ended its session; `broken` is an agent that speaks another language."""

    CLOSED = "closed"
    WITHDRAWN = "withdrawn"
    BROKEN = "broken"


_ENDS: dict[type, SessionEnd] = {Bye: SessionEnd.CLOSED, Withdraw: SessionEnd.WITHDRAWN}


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlOutcome:
    """What a control message leads to.

    Attributes:
        reply: bytes to send back on `ctl`.
        event: for the result stream.
        end: the session ends.
        refused: why the message was dropped.
    """

    reply: bytes | None = None
    event: SessionEvent | None = None
    end: SessionEnd | None = None
    refused: str | None = None


class IngestSession:
    """One admitted epoch of one session, without I/O.

    Attributes:
        is_ended: the agent said goodbye, withdrew, or was told to stop; silence is no loss any more.
    """

    def __init__(self, session: SessionId, tenant: TenantId, *, epoch: int) -> None:
        self.is_ended = False
        self._session = session
        self._tenant = tenant
        self._epoch = epoch
        self._receiver = ReceiverSession(session, epoch=epoch)
        self._is_connected = False

    def connect(self, *, now_utc_us: int) -> SessionEvent | None:
        """Give the `connected` event, once."""
        if self._is_connected:
            return None
        self._is_connected = True
        return self.event(EventKind.CONNECTED, now_utc_us=now_utc_us)

    def receive_datagram(self, datagram: bytes, *, now_utc_us: int) -> SealedCrop | RefusalReason:
        """Check a datagram; give the sealed crop it carries or why it is dropped."""
        outcome = self._receiver.on_datagram(datagram, now_utc_us=now_utc_us)
        if isinstance(outcome, RefusalReason):
            return outcome
        return SealedCrop(
            late=outcome.late,
            received_utc_us=outcome.received_utc_us,
            clock_offset_us=outcome.clock_offset_us,
            envelope=outcome.envelope,
        )

    def receive_control(self, message: bytes, *, now_utc_us: int) -> ControlOutcome:
        """Check a control message and say what to do."""
        try:
            effects = self._receiver.on_control(message, now_utc_us=now_utc_us)
        except MessageError:
            self.stop()
            return ControlOutcome(refused=MALFORMED_CONTROL, end=SessionEnd.BROKEN)
        if isinstance(effects, RefusalReason):
            return ControlOutcome(refused=effects.value)
        if effects.reply is not None:
            return ControlOutcome(reply=encode_message(effects.reply))
        if effects.event is None:
            return ControlOutcome()
        event = self._report(effects.event, now_utc_us=now_utc_us)
        end = _ENDS.get(type(effects.event))
        # after Bye the agent may still repair gaps and wait for its last acks
        self.is_ended = self.is_ended or end is not None
        return ControlOutcome(event=event, end=end)

    def stop(self) -> None:
        """Accept nothing any more."""
        self.is_ended = True
        self._receiver.end()

    def event(self, kind: EventKind, *, now_utc_us: int) -> SessionEvent:
        """Make an event that the agent did not send itself."""
        return SessionEvent(
            tenant=str(self._tenant),
            session=str(self._session),
            kind=kind.value,
            epoch=self._epoch,
            at_utc_us=now_utc_us,
        )

    def _report(self, message: ControlFromAgent, *, now_utc_us: int) -> SessionEvent:
        event = self.event(_KINDS[type(message)], now_utc_us=now_utc_us)
        return msgspec.structs.replace(event, body=msgspec.Raw(encode_message(message)))
