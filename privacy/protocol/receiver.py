"""Ingest's side of one connection as a state machine without I/O (protocol rules S5, S8, S10, R4).

Ingest holds no key: what it accepts is only well-formed, of this session, fresh, not seen before and
within its rate. The classify worker authenticates, and PostgreSQL decides what is counted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from privacy.errors import EnvelopeError
from privacy.protocol import limits
from privacy.protocol.codec import decode_control_from_agent
from privacy.protocol.envelope import DatagramKind, Header, decode_envelope, unwrap_datagram
from privacy.protocol.ids import SessionId
from privacy.protocol.messages import (
    Clock,
    ClockOffset,
    ClockReply,
    ControlFromAgent,
    RefusalReason,
    Withdraw,
)
from privacy.protocol.rate import TokenBucket
from privacy.protocol.replay_window import ReplayWindow

EPOCHS_KEPT = 3
"""Replay windows: this epoch's, and those whose envelopes may still be in the agent's ring."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A datagram that may go on to the crop stream.

    Attributes:
        late: it came in the LATE wrapper.
        received_utc_us: arrival on ingest's UTC clock.
        clock_offset_us: agent's monotonic time + this = server's UTC; 0 while unknown.
        header: not authenticated yet.
        envelope: header and ciphertext, nothing opened.
    """

    late: bool
    received_utc_us: int
    clock_offset_us: int
    header: Header
    envelope: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlEffects:
    """What a control message asks ingest to do.

    Attributes:
        reply: to send back, if any.
        event: to publish on the result stream, if any.
    """

    reply: ClockReply | None = None
    event: ControlFromAgent | None = None


class ReceiverSession:
    """Checks one connection's datagrams and messages.

    Attributes:
        session: whose connection it is.
        epoch: of the setup that this connection was admitted with.
        refused: how many were dropped, by reason.
        accepted: how many datagrams went on.
        clock_offset_us: agent's monotonic time + this = server's UTC; 0 while unknown.
        clock_error_us: half the round trip behind it.
        is_over: after Withdraw or `end`; nothing is accepted any more.
    """

    def __init__(self, session: SessionId, *, epoch: int) -> None:
        self.session = session
        self.epoch = epoch
        self.refused: Counter[RefusalReason] = Counter()
        self.accepted = 0
        self.clock_offset_us = 0
        self.clock_error_us = 0
        self.is_over = False
        self._has_clock = False
        self._windows: dict[int, ReplayWindow] = {}
        self._datagrams = TokenBucket(rate_per_s=limits.DATAGRAMS_PER_S, burst=limits.DATAGRAMS_BURST)
        self._bytes = TokenBucket(
            rate_per_s=limits.DATAGRAMS_PER_S * limits.DATAGRAM_MAX_BYTES,
            burst=limits.DATAGRAMS_BURST * limits.DATAGRAM_MAX_BYTES,
        )
        self._controls = TokenBucket(rate_per_s=limits.CTL_MESSAGES_PER_S, burst=limits.CTL_MESSAGES_BURST)

    def on_datagram(self, datagram: bytes, *, now_utc_us: int) -> Accepted | RefusalReason:
        """Check a datagram from the `crops` channel, cheap checks first."""
        outcome = self._judge(datagram, now_utc_us)
        if isinstance(outcome, RefusalReason):
            self.refused[outcome] += 1
        else:
            self.accepted += 1
        return outcome

    def on_control(self, data: bytes, *, now_utc_us: int) -> ControlEffects | RefusalReason:
        """Take a message from the `ctl` channel.

        Raises:
            MessageError: it is malformed; the caller counts it and hangs up.
        """
        if self.is_over or not self._controls.take(1, now_us=now_utc_us):
            reason = RefusalReason.OVER if self.is_over else RefusalReason.RATE
            self.refused[reason] += 1
            return reason
        message = decode_control_from_agent(data)
        if isinstance(message, Clock):
            # the caller stamps t3 last, just before it sends
            reply = ClockReply(
                t1_monotonic_us=message.t1_monotonic_us, t2_utc_us=now_utc_us, t3_utc_us=now_utc_us
            )
            return ControlEffects(reply=reply)
        if isinstance(message, ClockOffset):
            self.clock_offset_us, self.clock_error_us = message.offset_us, message.error_us
            self._has_clock = True
            return ControlEffects()
        if isinstance(message, Withdraw):
            self.is_over = True
        return ControlEffects(event=message)

    def end(self) -> None:
        """Accept nothing any more: revoked, fenced by a later epoch, or the peer is gone."""
        self.is_over = True

    def _judge(self, datagram: bytes, now_utc_us: int) -> Accepted | RefusalReason:
        if self.is_over:
            return RefusalReason.OVER
        # S10.1 rate, before anything is parsed
        if not self._datagrams.take(1, now_us=now_utc_us) or not self._bytes.take(
            len(datagram), now_us=now_utc_us
        ):
            return RefusalReason.RATE
        # S10.2 layout
        try:
            kind, envelope = unwrap_datagram(datagram)
            header, _, _ = decode_envelope(envelope)
        except EnvelopeError:
            return RefusalReason.MALFORMED
        # S10.3 session and epoch
        if header.session != self.session:
            return RefusalReason.FOREIGN_SESSION
        late = kind is DatagramKind.LATE
        if header.epoch > self.epoch or (header.epoch < self.epoch and not late):
            return RefusalReason.FENCED
        if header.epoch <= self.epoch - EPOCHS_KEPT:
            return RefusalReason.FENCED
        # S10.4 freshness
        age_refusal = self._judge_age(header, late=late, now_utc_us=now_utc_us)
        if age_refusal is not None:
            return age_refusal
        # S10.5 replay; gap repair repeats on purpose, and a repeat changes nothing that is stored
        window = self._windows.setdefault(header.epoch, ReplayWindow())
        if window.is_fresh(header.counter):
            window.accept(header.counter)
        elif not late:
            return RefusalReason.REPLAYED
        return Accepted(
            late=late,
            received_utc_us=now_utc_us,
            clock_offset_us=self.clock_offset_us,
            header=header,
            envelope=envelope,
        )

    def _judge_age(self, header: Header, *, late: bool, now_utc_us: int) -> RefusalReason | None:
        if not self._has_clock:
            return None
        age_us = now_utc_us - (header.monotonic_us + self.clock_offset_us)
        margin_us = self.clock_error_us
        if age_us > (limits.LATE_MAX_AGE_US if late else limits.FRESH_MAX_AGE_US) + margin_us:
            return RefusalReason.STALE
        if age_us < -limits.FUTURE_MAX_US - margin_us:
            return RefusalReason.FUTURE
        return None
