"""The agent's side of a session as a state machine without I/O (protocol rules S9-S12, R1-R3).

The caller moves bytes and tells the time (microseconds on its monotonic clock):

    idle --begin_connect--> connecting --connected--> streaming --close--> closing --closed--> closed
      ^---connection_lost-------+------------------------+

A streaming session may begin the connection of its next epoch while the old one still carries frames.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from enum import StrEnum

from privacy.errors import WireError
from privacy.protocol.clock_sync import ClockFilter, OffsetEstimate
from privacy.protocol.envelope import DatagramKind, wrap_datagram
from privacy.protocol.gaps import GapFolder
from privacy.protocol.messages import (
    Ack,
    Bye,
    Clock,
    ClockOffset,
    ClockReply,
    ControlFromAgent,
    ControlFromIngest,
    Counters,
    Gap,
    Refusals,
    Revoked,
    Segment,
    SkipReason,
    Withdraw,
)
from privacy.protocol.rate import TokenBucket
from privacy.protocol.resend_ring import ACK_WAIT_US, ResendRing, RingEntry

CLOCK_EVERY_US = 5_000_000
CLOCK_FIRST_EVERY_US = 250_000
CLOCK_FIRST_SAMPLES = 4
COUNTERS_EVERY_US = 1_000_000
HEARD_KEPT_US = 2_000_000
"""Reports that ingest has heard are kept a little longer: if it dies, it may have had them in hand still."""

DRAIN_MAX_US = 3_000_000
DRAIN_GIVE_UP_US = 2_500_000
"""What is not committed by then is reported lost, while there is still a connection to say so."""

CLOSING_ACK_WAIT_US = 700_000
BACKOFF_FIRST_US = 250_000
BACKOFF_MAX_US = 8_000_000
CONTROL_QUEUE_MAX = 4_096
REPORTS_PER_S = 50
REPORTS_BURST = 300
"""Below what ingest allows, so that a long outage's gaps are not dropped there when they are reported."""


class SenderState(StrEnum):
    """Where a sender's session stands."""

    IDLE = "idle"
    CONNECTING = "connecting"
    STREAMING = "streaming"
    CLOSING = "closing"
    CLOSED = "closed"


def backoff_us(attempt: int, *, jitter: float) -> int:
    """Give the wait before a connection attempt.

    Args:
        attempt: failures in a row, from 1.
        jitter: in [0, 1), random.

    Returns:
        Half to all of 0.25 s doubled for each failure, 8 s at most, in microseconds.
    """
    span = min(BACKOFF_MAX_US, BACKOFF_FIRST_US << min(max(attempt, 1) - 1, 16))
    return int(span * (0.5 + 0.5 * jitter))


class SenderSession:
    """Counts every captured frame, reports what was not sent, and repairs what was lost.

    Attributes:
        state: see the module's docstring.
        epoch: of the connection that carries frames, 0 before the first.
        failures: connection attempts that failed in a row.
        acked: frames known to be committed.
        refused: datagrams that the platform says it dropped, by `RefusalReason` value; a frame that is sent again
            and refused again counts twice.
        end_reason: why ingest ended the session, empty otherwise.
    """

    def __init__(self, *, last_epoch: int = 0) -> None:
        """Begin; `last_epoch` is the largest that this session ever used."""
        self.state = SenderState.IDLE
        self.epoch = 0
        self.failures = 0
        self.acked = 0
        self.refused: Counter[str] = Counter()
        self.end_reason = ""
        self._last_epoch = last_epoch
        self._captured = self._with_face = self._sent = 0
        self._skipped: Counter[str] = Counter()
        self._last_frame = -1
        self._segment: Segment | None = None
        self._gaps = GapFolder()
        self._lost = GapFolder()
        self._ring = ResendRing()
        self._clock = ClockFilter()
        self._queue: deque[ControlFromAgent] = deque(maxlen=CONTROL_QUEUE_MAX)
        self._recent: deque[tuple[int, ControlFromAgent]] = deque(maxlen=CONTROL_QUEUE_MAX)
        self._reports = TokenBucket(rate_per_s=REPORTS_PER_S, burst=REPORTS_BURST)
        self._next_clock_us: int | None = None
        self._next_counters_us: int | None = None
        self._reported_offset: OffsetEstimate | None = None
        self._closing_since_us = 0

    # connection

    def begin_connect(self) -> int:
        """Start a connection attempt; give the epoch to seal its setup for.

        Raises:
            WireError: an attempt is under way, or the session is over.
        """
        if self.state not in (SenderState.IDLE, SenderState.STREAMING):
            raise WireError(f"cannot connect while {self.state}")
        if self.state is SenderState.IDLE:
            self.state = SenderState.CONNECTING
        self._last_epoch += 1
        return self._last_epoch

    def connected(self, now_us: int) -> None:
        """Note that both channels of the latest attempt are open; frames go over it from now on.

        What ingest is not known to have heard may have been lost with the old connection and is said again,
        however long the silence was; all of it is idempotent.
        """
        if self.state not in (SenderState.CONNECTING, SenderState.STREAMING):
            raise WireError(f"cannot be connected while {self.state}")
        self.state = SenderState.STREAMING
        self.epoch = self._last_epoch
        self.failures = 0
        self._queue.extendleft(message for _, message in reversed(self._recent))
        self._recent.clear()
        if self._segment is not None and self._segment not in self._queue:
            self._queue.appendleft(self._segment)
        self._clock = ClockFilter()
        self._reported_offset = None
        self._next_clock_us = self._next_counters_us = now_us

    def connection_lost(self) -> None:
        """Note that an attempt failed or the connection fell silent; the session can resume."""
        if self.state in (SenderState.CONNECTING, SenderState.STREAMING):
            self.state = SenderState.IDLE
            self.failures += 1
        elif self.state is SenderState.CLOSING:
            self.state = SenderState.CLOSED

    # frames

    def start_segment(
        self, segment: int, *, media_time_us: int, monotonic_us: int, rate_permille: int = 1_000
    ) -> None:
        """Begin a playback segment: start, pause, seek, stall or change of rate."""
        self._queue.extend(self._gaps.close())
        self._segment = Segment(
            segment=segment,
            media_time_us=media_time_us,
            monotonic_us=monotonic_us,
            rate_permille=rate_permille,
        )
        self._queue.append(self._segment)

    def frame_sent(
        self, frame: int, *, segment: int, media_time_us: int, envelope: bytes, now_us: int
    ) -> None:
        """Count a frame that was handed to the channel, and keep its envelope until it is committed."""
        self._account(frame, segment=segment, media_time_us=media_time_us)
        self._queue.extend(self._gaps.close())
        self._with_face += 1
        self._sent += 1
        entry = RingEntry(
            frame=frame, segment=segment, media_time_us=media_time_us, sent_us=now_us, envelope=envelope
        )
        self._report_lost(self._ring.add(entry))

    def frame_skipped(
        self, frame: int, *, segment: int, media_time_us: int, reason: SkipReason, has_face: bool
    ) -> None:
        """Count a captured frame that was not sent."""
        self._account(frame, segment=segment, media_time_us=media_time_us)
        self._with_face += has_face
        self._skip(frame, segment=segment, media_time_us=media_time_us, reason=reason)

    # control channel

    def on_control(self, message: ControlFromIngest, *, now_us: int) -> None:
        """Take a message from ingest."""
        if isinstance(message, Ack):
            self.acked += self._ring.ack(message)
        elif isinstance(message, ClockReply):
            self._clock.add(
                t1_us=message.t1_monotonic_us,
                t2_utc_us=message.t2_utc_us,
                t3_utc_us=message.t3_utc_us,
                t4_us=now_us,
            )
            self._heard(message.t1_monotonic_us)
        elif isinstance(message, Refusals):
            self.refused.update(message.counts)
        elif isinstance(message, Revoked):
            self.end_reason = message.reason
            self._end()

    def take_control(self, now_us: int) -> list[ControlFromAgent]:
        """Give the messages that are due, in order; empty while not connected."""
        self._report_lost(self._ring.expire(now_us))
        if self.state not in (SenderState.STREAMING, SenderState.CLOSING):
            return []
        if self.state is SenderState.CLOSING and now_us - self._closing_since_us >= DRAIN_GIVE_UP_US:
            self._report_lost(self._ring.take_all())
        messages: list[ControlFromAgent] = []
        while self._queue and self._reports.take(1, now_us=now_us):
            messages.append(self._queue.popleft())
        self._recent.extend((now_us, message) for message in messages if isinstance(message, Gap | Segment))
        if self.state is SenderState.STREAMING:
            messages += self._due_clock(now_us)
            if self._next_counters_us is not None and now_us >= self._next_counters_us:
                self._next_counters_us = now_us + COUNTERS_EVERY_US
                messages.append(self.counters())
        return messages

    def put_back(self, messages: Sequence[ControlFromAgent]) -> None:
        """Take back what `take_control` gave and the channel did not take; it is due again.

        A question for the time is left out: the moment that it names has passed.
        """
        self._queue.extendleft(message for message in reversed(messages) if not isinstance(message, Clock))

    def take_resends(self, now_us: int) -> list[bytes]:
        """Give LATE datagrams for frames that were sent and not committed, within a tenth of the rate."""
        self._report_lost(self._ring.expire(now_us))
        if self.state not in (SenderState.STREAMING, SenderState.CLOSING):
            return []
        wait_us = CLOSING_ACK_WAIT_US if self.state is SenderState.CLOSING else ACK_WAIT_US
        resends = self._ring.take_resends(now_us, ack_wait_us=wait_us)
        return [wrap_datagram(DatagramKind.LATE, envelope) for envelope in resends]

    # end

    def close(self, now_us: int) -> None:
        """End in order: report the last gap, the totals and the last frame."""
        if self.state is not SenderState.STREAMING:
            self._end()
            return
        self.state = SenderState.CLOSING
        self._closing_since_us = now_us
        self._queue.extend((*self._gaps.close(), *self._lost.close()))
        self._queue.extend((self.counters(), Bye(last_frame=self._last_frame)))

    def withdraw(self, now_us: int) -> None:
        """Stop at once: forget every envelope and say that consent is withdrawn."""
        streaming = self.state is SenderState.STREAMING
        self._end()
        if streaming:
            self.state = SenderState.CLOSING
            self._closing_since_us = now_us
            self._queue.append(Withdraw(monotonic_us=now_us))

    def is_drained(self, now_us: int) -> bool:
        """Say whether a closing session may hang up: everything is said and committed, or time is over."""
        over = now_us - self._closing_since_us >= DRAIN_MAX_US
        return self.state is SenderState.CLOSED or (
            self.state is SenderState.CLOSING and (over or (not self._queue and not len(self._ring)))
        )

    def closed(self) -> None:
        """Note that the connection was hung up after `close` or `withdraw`."""
        self._end()

    # facts

    def counters(self) -> Counters:
        """Give the totals since the session began."""
        return Counters(
            captured=self._captured, with_face=self._with_face, sent=self._sent, skipped=dict(self._skipped)
        )

    @property
    def clock_offset(self) -> OffsetEstimate | None:
        """The best estimate of this connection, None before the first reply."""
        return self._clock.best()

    @property
    def unacked(self) -> int:
        """Frames in the resend ring."""
        return len(self._ring)

    def _account(self, frame: int, *, segment: int, media_time_us: int) -> None:
        if self.state in (SenderState.CLOSING, SenderState.CLOSED):
            raise WireError(f"no frame is taken while {self.state}")
        if frame <= self._last_frame:
            raise WireError("frames must ascend")
        # R1 every captured index is accounted for: what never arrived here was dropped under load
        for missing in range(self._last_frame + 1, frame):
            self._captured += 1
            self._skip(missing, segment=segment, media_time_us=media_time_us, reason=SkipReason.OVERLOAD)
        self._captured += 1
        self._last_frame = frame

    def _skip(self, frame: int, *, segment: int, media_time_us: int, reason: SkipReason) -> None:
        self._skipped[reason.value] += 1
        self._queue.extend(
            self._gaps.add(frame, segment=segment, media_time_us=media_time_us, reason=reason.value)
        )

    def _report_lost(self, entries: list[RingEntry]) -> None:
        for entry in entries:
            self._queue.extend(
                self._lost.add(
                    entry.frame,
                    segment=entry.segment,
                    media_time_us=entry.media_time_us,
                    reason=SkipReason.LOST.value,
                )
            )
        if entries:
            self._queue.extend(self._lost.close())

    def _heard(self, t1_us: int) -> None:
        """Let go of reports that ingest has heard: `ctl` keeps order, and it answered what was asked after them."""
        while self._recent and self._recent[0][0] <= t1_us - HEARD_KEPT_US:
            self._recent.popleft()

    def _due_clock(self, now_us: int) -> list[ControlFromAgent]:
        messages: list[ControlFromAgent] = []
        if self._next_clock_us is not None and now_us >= self._next_clock_us:
            fast = len(self._clock) < CLOCK_FIRST_SAMPLES
            self._next_clock_us = now_us + (CLOCK_FIRST_EVERY_US if fast else CLOCK_EVERY_US)
            messages.append(Clock(t1_monotonic_us=now_us))
        best = self._clock.best()
        if best is not None and best != self._reported_offset:
            self._reported_offset = best
            messages.append(ClockOffset(offset_us=best.offset_us, error_us=best.error_us))
        return messages

    def _end(self) -> None:
        self.state = SenderState.CLOSED
        self._ring.clear()
        self._queue.clear()
        self._recent.clear()
