"""The sender accounts for every captured frame, repairs what was lost, and stops when told."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from privacy.errors import WireError
from privacy.protocol import limits
from privacy.protocol.codec import encode_message
from privacy.protocol.envelope import DatagramKind, unwrap_datagram
from privacy.protocol.messages import (
    Ack,
    Bye,
    Clock,
    ClockOffset,
    ClockReply,
    Counters,
    Gap,
    Refusals,
    Revoked,
    Segment,
    SkipReason,
    Withdraw,
)
from privacy.protocol.resend_ring import ENTRIES_MAX
from privacy.protocol.sender import HEARD_KEPT_US, SenderSession, SenderState, backoff_us

S = 1_000_000
NOT_SENT = sorted(set(SkipReason) - {SkipReason.LOST})


def streaming(now_us: int = 0) -> SenderSession:
    sender = SenderSession()
    assert sender.begin_connect() == 1
    sender.connected(now_us)
    return sender


def send(sender: SenderSession, frame: int, *, now_us: int = 0) -> None:
    sender.frame_sent(frame, segment=0, media_time_us=0, envelope=b"%d" % frame, now_us=now_us)


def skip(sender: SenderSession, frame: int, reason: SkipReason = SkipReason.NO_FACE) -> None:
    sender.frame_skipped(frame, segment=0, media_time_us=0, reason=reason, has_face=False)


def heard(sender: SenderSession, *, t1_us: int) -> None:
    """Let ingest answer the clock question that was asked then."""
    reply = ClockReply(t1_monotonic_us=t1_us, t2_utc_us=t1_us, t3_utc_us=t1_us)
    sender.on_control(reply, now_us=t1_us + 20_000)


def only(messages: list, kind: type) -> list:
    return [message for message in messages if isinstance(message, kind)]


def test_what_the_platform_refused_is_added_up_by_reason() -> None:
    sender = streaming()
    sender.on_control(Refusals(counts={"content": 30}), now_us=0)
    sender.on_control(Refusals(counts={"content": 60, "stale": 1}), now_us=S)
    assert sender.refused == {"content": 90, "stale": 1}


def test_every_attempt_has_a_new_epoch() -> None:
    sender = SenderSession(last_epoch=4)
    assert sender.begin_connect() == 5
    sender.connection_lost()
    assert (sender.state, sender.failures) == (SenderState.IDLE, 1)
    assert sender.begin_connect() == 6
    sender.connected(0)
    assert (sender.state, sender.epoch, sender.failures) == (SenderState.STREAMING, 6, 0)
    assert sender.begin_connect() == 7
    assert sender.epoch == 6
    sender.connected(0)
    assert sender.epoch == 7


def test_a_run_of_skipped_frames_is_one_gap_and_a_missing_index_is_overload() -> None:
    sender = streaming()
    for frame in (0, 1, 2):
        skip(sender, frame)
    send(sender, 5)
    gaps = only(sender.take_control(0), Gap)
    assert [(g.first_frame, g.last_frame, g.reason) for g in gaps] == [(0, 2, "no_face"), (3, 4, "overload")]
    assert sender.counters() == Counters(
        captured=6, with_face=1, sent=1, skipped={"no_face": 3, "overload": 2}
    )


def test_frames_must_ascend() -> None:
    sender = streaming()
    send(sender, 3)
    for frame in (3, 2, -1):
        with pytest.raises(WireError, match="ascend"):
            send(sender, frame)


def test_unacked_frames_are_resent_unchanged_in_the_late_wrapper() -> None:
    sender = streaming()
    for frame in range(40):
        send(sender, frame)
    sender.on_control(Ack(bucket=0, mask=2**30 - 1 - 0b10, committed_utc_us=0), now_us=1)
    assert sender.acked == 29
    resends = sender.take_resends(2 * S)
    assert [unwrap_datagram(d) for d in resends] == [
        (DatagramKind.LATE, envelope) for envelope in (b"1", b"30", b"31", b"32")
    ]
    assert sender.take_resends(2 * S) == []


def test_a_frame_that_outlives_the_ring_is_reported_lost() -> None:
    sender = streaming()
    send(sender, 0)
    send(sender, 1)
    sender.take_control(0)
    gaps = only(sender.take_control(limits.RESEND_RING_US), Gap)
    assert [(g.first_frame, g.last_frame, g.reason) for g in gaps] == [(0, 1, "lost")]
    assert sender.unacked == 0


def test_nothing_is_said_or_resent_while_not_connected() -> None:
    sender = streaming()
    send(sender, 0)
    sender.connection_lost()
    skip(sender, 1, SkipReason.NOT_CONNECTED)
    assert sender.take_control(3 * S) == []
    assert sender.take_resends(3 * S) == []


def test_what_was_said_shortly_before_a_loss_is_said_again() -> None:
    sender = streaming()
    sender.start_segment(0, media_time_us=0, monotonic_us=0)
    skip(sender, 0)
    send(sender, 1)
    before = sender.take_control(5 * S)
    sender.connection_lost()
    sender.begin_connect()
    sender.connected(6 * S)
    after = sender.take_control(6 * S)
    assert only(before, Gap) == only(after, Gap) != []
    assert only(before, Segment) == only(after, Segment) != []


def test_what_was_said_into_a_dead_connection_is_said_again_however_long_the_outage_was() -> None:
    sender = streaming()
    sender.start_segment(0, media_time_us=0, monotonic_us=0)
    skip(sender, 0)
    send(sender, 1)
    before = sender.take_control(5 * S)
    heard(sender, t1_us=3 * S)
    sender.take_control(11 * S)
    sender.connection_lost()
    sender.begin_connect()
    sender.connected(600 * S)
    after = only(sender.take_control(600 * S), Gap)
    assert only(before, Gap)[0] in after


def test_what_the_channel_did_not_take_is_due_again_but_not_the_question_for_the_time() -> None:
    sender = streaming()
    skip(sender, 0)
    send(sender, 1)
    taken = sender.take_control(0)
    assert len(only(taken, Clock)) == len(only(taken, Gap)) == 1
    sender.put_back(taken)
    assert sender.take_control(0) == [message for message in taken if not isinstance(message, Clock)]


def test_what_ingest_has_heard_is_not_repeated() -> None:
    sender = streaming()
    sender.start_segment(0, media_time_us=0, monotonic_us=0)
    skip(sender, 0)
    send(sender, 1)
    sender.take_control(0)
    heard(sender, t1_us=HEARD_KEPT_US)
    sender.connection_lost()
    sender.begin_connect()
    sender.connected(60 * S)
    after = sender.take_control(60 * S)
    assert len(only(after, Segment)) == 1
    assert [g.reason for g in only(after, Gap)] == ["lost"]


def test_ten_minutes_without_a_connection_are_told_in_few_gaps_and_none_is_lost() -> None:
    sender = streaming()
    sender.connection_lost()
    frames = limits.RESUME_MAX_S * 30
    for frame in range(frames):
        skip(sender, frame, SkipReason.NOT_CONNECTED)
    sender.begin_connect()
    sender.connected(600 * S)
    send(sender, frames, now_us=600 * S)
    told = [gap for second in range(10) for gap in only(sender.take_control((600 + second) * S), Gap)]
    assert sum(gap.last_frame - gap.first_frame + 1 for gap in told) == frames
    assert len(told) == frames // 150


def test_the_clock_is_asked_often_at_first_then_every_five_seconds() -> None:
    sender = streaming()
    asked = []
    for now_us in range(0, 20 * S, S // 20):
        for clock in only(sender.take_control(now_us), Clock):
            asked.append(now_us)
            reply = ClockReply(
                t1_monotonic_us=clock.t1_monotonic_us, t2_utc_us=7 * S + now_us, t3_utc_us=7 * S + now_us
            )
            sender.on_control(reply, now_us=now_us)
    assert asked[:5] == [0, S // 4, S // 2, 3 * S // 4, S]
    assert len(asked) == 8
    assert sender.clock_offset is not None


def test_a_better_offset_is_reported_once() -> None:
    sender = streaming()
    sender.take_control(0)
    sender.on_control(ClockReply(t1_monotonic_us=0, t2_utc_us=S, t3_utc_us=S), now_us=20_000)
    reports = [only(sender.take_control(now), ClockOffset) for now in (20_000, 30_000)]
    assert reports == [[ClockOffset(offset_us=S - 10_000, error_us=10_000)], []]


def test_totals_are_said_every_second() -> None:
    sender = streaming()
    said = sum(len(only(sender.take_control(now), Counters)) for now in range(0, 5 * S, S // 10))
    assert said == 5


def test_closing_says_the_last_gap_the_totals_and_goodbye_and_waits_for_commits() -> None:
    sender = streaming()
    send(sender, 0)
    skip(sender, 1)
    sender.take_control(0)
    sender.close(S)
    assert not sender.is_drained(S)
    said = sender.take_control(S)
    assert [type(m) for m in said] == [Gap, Counters, Bye]
    assert said[-1] == Bye(last_frame=1)
    assert not sender.is_drained(S)
    sender.on_control(Ack(bucket=0, mask=1, committed_utc_us=0), now_us=S)
    assert sender.is_drained(S)
    sender.closed()
    assert sender.state is SenderState.CLOSED


def test_closing_does_not_wait_forever() -> None:
    sender = streaming()
    send(sender, 0)
    sender.close(0)
    sender.take_control(0)
    assert not sender.is_drained(3 * S - 1)
    assert sender.is_drained(3 * S)


def test_what_is_not_committed_when_closing_ends_is_repaired_then_reported_lost() -> None:
    sender = streaming()
    for frame in range(10):
        send(sender, frame)
    sender.on_control(Ack(bucket=0, mask=0b0111111111, committed_utc_us=0), now_us=0)
    sender.close(0)
    sender.take_control(0)
    assert sender.take_resends(S // 2) == []
    assert [unwrap_datagram(d)[1] for d in sender.take_resends(S)] == [b"9"]
    assert sender.take_control(2 * S) == []
    gaps = sender.take_control(5 * S // 2)
    assert [(g.first_frame, g.last_frame, g.reason) for g in gaps] == [(9, 9, "lost")]
    assert sender.is_drained(5 * S // 2)


def test_withdrawal_forgets_every_envelope_and_takes_no_frame() -> None:
    sender = streaming()
    for frame in range(30):
        send(sender, frame)
    sender.withdraw(S)
    assert sender.unacked == 0
    assert sender.take_resends(5 * S) == []
    assert sender.take_control(S) == [Withdraw(monotonic_us=S)]
    with pytest.raises(WireError):
        send(sender, 30)
    with pytest.raises(WireError):
        sender.begin_connect()


def test_a_revoked_session_is_over() -> None:
    sender = streaming()
    send(sender, 0)
    sender.on_control(Revoked(reason="withdrawn"), now_us=0)
    assert (sender.state, sender.end_reason, sender.unacked) == (SenderState.CLOSED, "withdrawn", 0)
    for act in (sender.begin_connect, lambda: skip(sender, 1), lambda: sender.connected(0)):
        with pytest.raises(WireError):
            act()


def test_the_waits_between_attempts_grow_to_eight_seconds() -> None:
    assert [backoff_us(n, jitter=0.0) for n in (1, 2, 3, 6, 50)] == [125_000, 250_000, 500_000, 4 * S, 4 * S]
    assert backoff_us(1, jitter=0.999) < 250_000
    assert backoff_us(99, jitter=0.999) < 8 * S


class SenderMachine(RuleBasedStateMachine):
    """Random histories: every frame ends in exactly one account, and memory stays bounded."""

    def __init__(self) -> None:
        super().__init__()
        self.sender = SenderSession()
        self.now_us = 0
        self.next_frame = 0
        self.said_skipped: set[int] = set()
        self.sent: set[int] = set()
        self.skipped: set[int] = set()
        self.epochs: list[int] = []

    @property
    def open(self) -> bool:
        return self.sender.state not in (SenderState.CLOSING, SenderState.CLOSED)

    @precondition(lambda self: self.open)
    @rule(jump=st.integers(0, 3), sent=st.booleans(), reason=st.sampled_from(NOT_SENT))
    def frame(self, jump: int, sent: bool, reason: SkipReason) -> None:
        frame = self.next_frame + jump
        self.skipped |= set(range(self.next_frame, frame))
        self.next_frame = frame + 1
        if sent and self.sender.state is SenderState.STREAMING:
            self.sent.add(frame)
            send(self.sender, frame, now_us=self.now_us)
        else:
            self.skipped.add(frame)
            skip(self.sender, frame, reason)

    @precondition(lambda self: self.sender.state in (SenderState.IDLE, SenderState.STREAMING))
    @rule(works=st.booleans())
    def connect(self, works: bool) -> None:
        self.epochs.append(self.sender.begin_connect())
        if works:
            self.sender.connected(self.now_us)
        else:
            self.sender.connection_lost()

    @rule(wait_us=st.integers(0, 12 * S))
    def talk(self, wait_us: int) -> None:
        self.now_us += wait_us
        for message in self.sender.take_control(self.now_us):
            encode_message(message)
            if isinstance(message, Gap) and message.reason != SkipReason.LOST:
                self.said_skipped |= set(range(message.first_frame, message.last_frame + 1))
        for datagram in self.sender.take_resends(self.now_us):
            assert int(unwrap_datagram(datagram)[1]) in self.sent

    @rule(bucket=st.integers(0, 3), mask=st.integers(0, 2**30 - 1))
    def ack(self, bucket: int, mask: int) -> None:
        self.sender.on_control(Ack(bucket=bucket, mask=mask, committed_utc_us=0), now_us=self.now_us)

    @rule()
    def lose(self) -> None:
        self.sender.connection_lost()

    @precondition(lambda self: self.open)
    @rule()
    def close(self) -> None:
        was_streaming = self.sender.state is SenderState.STREAMING
        self.sender.close(self.now_us)
        if was_streaming:
            messages = []
            while not self.sender.is_drained(self.now_us):
                messages += self.sender.take_control(self.now_us)
                self.now_us += S
            for message in only(messages, Gap):
                if message.reason != SkipReason.LOST:
                    self.said_skipped |= set(range(message.first_frame, message.last_frame + 1))
            assert self.said_skipped == self.skipped
            said = [message for message in messages if not isinstance(message, Gap)]
            assert said[-1] == Bye(last_frame=self.next_frame - 1)

    @invariant()
    def every_captured_frame_is_accounted_for(self) -> None:
        totals = self.sender.counters()
        assert totals.captured == self.next_frame == totals.sent + sum(totals.skipped.values())
        assert (totals.sent, sum(totals.skipped.values())) == (len(self.sent), len(self.skipped))

    @invariant()
    def what_is_said_was_skipped(self) -> None:
        assert self.said_skipped <= self.skipped

    @invariant()
    def epochs_ascend_and_the_ring_is_bounded(self) -> None:
        assert self.epochs == sorted(set(self.epochs))
        assert self.sender.unacked <= min(ENTRIES_MAX, len(self.sent))


TestSender = SenderMachine.TestCase
TestSender.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
