"""The receiver lets on only what is well-formed, its own, fresh, new and within its rate."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from privacy.errors import MessageError
from privacy.protocol import limits
from privacy.protocol.codec import encode_message
from privacy.protocol.envelope import Codec, DatagramKind, Header, encode_header, wrap_datagram
from privacy.protocol.ids import SessionId
from privacy.protocol.messages import (
    Bye,
    Clock,
    ClockOffset,
    ClockReply,
    Counters,
    Gap,
    RefusalReason,
    Withdraw,
)
from privacy.protocol.receiver import Accepted, ControlEffects, ReceiverSession

SESSION = SessionId(UUID(int=5))
S = 1_000_000
NOW = 1_795_000_000 * S


def datagram(
    counter: int = 0,
    *,
    epoch: int = 2,
    kind: DatagramKind = DatagramKind.LIVE,
    session: SessionId = SESSION,
    monotonic_us: int = 0,
) -> bytes:
    header = Header(
        codec=Codec.JPEG_RGB,
        session=session,
        epoch=epoch,
        counter=counter,
        frame=counter,
        media_time_us=0,
        monotonic_us=monotonic_us,
        face=0,
        faces=1,
        width=96,
        height=96,
        detector=0,
        segment=0,
        ciphertext_length=528,
    )
    return wrap_datagram(kind, encode_header(header) + bytes(528))


def receiver(*, offset_us: int | None = None) -> ReceiverSession:
    session = ReceiverSession(SESSION, epoch=2)
    if offset_us is not None:
        told = encode_message(ClockOffset(offset_us=offset_us, error_us=1_000))
        assert session.on_control(told, now_utc_us=NOW) == ControlEffects()
    return session


def test_a_fresh_datagram_goes_on_with_its_envelope_unchanged() -> None:
    session = receiver(offset_us=NOW)
    data = datagram(3)
    accepted = session.on_datagram(data, now_utc_us=NOW + 7)
    assert isinstance(accepted, Accepted)
    assert (accepted.envelope, accepted.late) == (data[1:], False)
    assert (accepted.received_utc_us, accepted.clock_offset_us) == (NOW + 7, NOW)
    assert session.accepted == 1


def test_a_replayed_datagram_is_refused_and_a_resent_one_is_not() -> None:
    session = receiver()
    session.on_datagram(datagram(3), now_utc_us=NOW)
    assert session.on_datagram(datagram(3), now_utc_us=NOW) is RefusalReason.REPLAYED
    late = session.on_datagram(datagram(3, kind=DatagramKind.LATE), now_utc_us=NOW)
    assert isinstance(late, Accepted)
    assert late.late
    assert session.refused == {RefusalReason.REPLAYED: 1}


def test_reordered_datagrams_are_accepted() -> None:
    session = receiver()
    for counter in (5, 3, 4, 0, 9):
        assert isinstance(session.on_datagram(datagram(counter), now_utc_us=NOW), Accepted)


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", RefusalReason.MALFORMED),
        (b"\x01", RefusalReason.MALFORMED),
        (bytes(limits.DATAGRAM_MAX_BYTES + 1), RefusalReason.MALFORMED),
        (datagram(session=SessionId(UUID(int=6))), RefusalReason.FOREIGN_SESSION),
        (datagram(epoch=1), RefusalReason.FENCED),
        (datagram(epoch=3), RefusalReason.FENCED),
        (datagram(epoch=3, kind=DatagramKind.LATE), RefusalReason.FENCED),
    ],
)
def test_what_is_not_its_own_is_refused(data: bytes, reason: RefusalReason) -> None:
    session = receiver()
    assert session.on_datagram(data, now_utc_us=NOW) is reason
    assert session.refused[reason] == 1


def test_repair_may_bring_an_earlier_epoch_but_not_an_old_one() -> None:
    session = ReceiverSession(SESSION, epoch=5)
    for epoch, accepted in ((5, True), (4, True), (3, True), (2, False)):
        outcome = session.on_datagram(datagram(epoch=epoch, kind=DatagramKind.LATE), now_utc_us=NOW)
        assert isinstance(outcome, Accepted) == accepted


@pytest.mark.parametrize(
    "kind, age_us, outcome",
    [
        (DatagramKind.LIVE, 2 * S, None),
        (DatagramKind.LIVE, 2 * S + 2_000, RefusalReason.STALE),
        (DatagramKind.LATE, 15 * S, None),
        (DatagramKind.LATE, 15 * S + 2_000, RefusalReason.STALE),
        (DatagramKind.LIVE, -S, None),
        (DatagramKind.LIVE, -S - 2_000, RefusalReason.FUTURE),
    ],
)
def test_freshness_is_judged_once_the_clock_is_known(
    kind: DatagramKind, age_us: int, outcome: RefusalReason | None
) -> None:
    session = receiver(offset_us=NOW - 100 * S)
    data = datagram(monotonic_us=100 * S, kind=kind)
    result = session.on_datagram(data, now_utc_us=NOW + age_us)
    assert result is outcome if outcome else isinstance(result, Accepted)
    unknown = receiver()
    assert isinstance(unknown.on_datagram(data, now_utc_us=NOW + age_us), Accepted)


def test_a_flood_is_cut_to_the_allowed_rate() -> None:
    session = receiver()
    outcomes = [session.on_datagram(datagram(n), now_utc_us=NOW + n * 1_000) for n in range(3_000)]
    accepted = sum(isinstance(outcome, Accepted) for outcome in outcomes)
    assert accepted >= limits.DATAGRAMS_BURST + 3 * limits.DATAGRAMS_PER_S - 5
    assert accepted <= limits.DATAGRAMS_BURST + 3 * limits.DATAGRAMS_PER_S
    assert session.refused[RefusalReason.RATE] == 3_000 - accepted


def test_a_flood_of_messages_is_cut_before_it_is_parsed() -> None:
    session = receiver()
    for _ in range(limits.CTL_MESSAGES_BURST):
        session.on_control(encode_message(Clock(t1_monotonic_us=1)), now_utc_us=NOW)
    assert session.on_control(b"garbage", now_utc_us=NOW) is RefusalReason.RATE


def test_a_clock_request_is_answered() -> None:
    effects = receiver().on_control(encode_message(Clock(t1_monotonic_us=9)), now_utc_us=NOW)
    assert effects == ControlEffects(reply=ClockReply(t1_monotonic_us=9, t2_utc_us=NOW, t3_utc_us=NOW))


@pytest.mark.parametrize(
    "message",
    [
        Gap(first_frame=1, last_frame=2, segment=0, media_time_us=0, reason="dark"),
        Counters(captured=1, with_face=1, sent=1, skipped={}),
        Bye(last_frame=3),
    ],
)
def test_reports_become_events(message: Gap | Counters | Bye) -> None:
    session = receiver()
    assert session.on_control(encode_message(message), now_utc_us=NOW) == ControlEffects(event=message)
    assert not session.is_over


def test_after_withdrawal_nothing_is_accepted() -> None:
    session = receiver()
    withdraw = Withdraw(monotonic_us=1)
    assert session.on_control(encode_message(withdraw), now_utc_us=NOW) == ControlEffects(event=withdraw)
    assert session.on_datagram(datagram(), now_utc_us=NOW) is RefusalReason.OVER
    assert session.on_control(b"", now_utc_us=NOW) is RefusalReason.OVER


@given(st.binary(max_size=limits.DATAGRAM_MAX_BYTES + 5))
def test_garbage_is_refused_without_an_error(data: bytes) -> None:
    outcome = receiver().on_datagram(data, now_utc_us=NOW)
    assert isinstance(outcome, RefusalReason)


@given(st.binary(max_size=300))
def test_a_garbage_message_raises_only_the_documented_error(data: bytes) -> None:
    with pytest.raises(MessageError):
        receiver().on_control(data, now_utc_us=NOW)


class ReceiverMachine(RuleBasedStateMachine):
    """Random traffic against a model: each live counter goes on once, nothing foreign ever."""

    def __init__(self) -> None:
        super().__init__()
        self.receiver = ReceiverSession(SESSION, epoch=4)
        self.now = NOW
        self.live: set[tuple[int, int]] = set()
        self.seen: set[tuple[int, int]] = set()

    @rule(
        counter=st.integers(0, 40),
        epoch=st.integers(1, 5),
        kind=st.sampled_from(DatagramKind),
        wait_us=st.integers(10_000, 50_000),
    )
    def datagram(self, counter: int, epoch: int, kind: DatagramKind, wait_us: int) -> None:
        self.now += wait_us
        outcome = self.receiver.on_datagram(datagram(counter, epoch=epoch, kind=kind), now_utc_us=self.now)
        key = (epoch, counter)
        if kind is DatagramKind.LIVE:
            expected = epoch == 4 and key not in self.seen
            assert isinstance(outcome, Accepted) == expected
            if expected:
                assert key not in self.live
                self.live.add(key)
        else:
            assert isinstance(outcome, Accepted) == (2 <= epoch <= 4)
        if isinstance(outcome, Accepted):
            self.seen.add(key)

    @invariant()
    def windows_are_bounded(self) -> None:
        assert len(self.receiver._windows) <= 3


TestReceiver = ReceiverMachine.TestCase
TestReceiver.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
