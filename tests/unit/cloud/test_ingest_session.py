from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from cloud.ingest.session import EventKind, IngestSession, SessionEnd
from cloud.streams.entries import SealedCrop, decode_event, encode_event
from privacy.protocol import limits
from privacy.protocol.codec import decode_control_from_agent, decode_control_from_ingest, encode_message
from privacy.protocol.envelope import Codec, DatagramKind, Header, encode_header, wrap_datagram
from privacy.protocol.ids import SessionId, TenantId
from privacy.protocol.messages import Bye, Clock, ClockOffset, Counters, Gap, RefusalReason, Withdraw

SESSION = SessionId(UUID(int=1))
NOW = 1_700_000_000_000_000


def session() -> IngestSession:
    return IngestSession(SESSION, TenantId(UUID(int=2)), epoch=1)


def datagram(counter: int, *, kind: DatagramKind = DatagramKind.LIVE, monotonic_us: int = 0) -> bytes:
    length = limits.PLAINTEXT_BUCKETS_BYTES[0] + limits.TAG_BYTES
    header = Header(
        codec=Codec.JPEG_RGB,
        session=SESSION,
        epoch=1,
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
        ciphertext_length=length,
    )
    return wrap_datagram(kind, encode_header(header) + bytes(length))


def test_a_datagram_becomes_a_sealed_crop_with_its_arrival_and_clock() -> None:
    one = session()
    one.receive_control(encode_message(ClockOffset(offset_us=NOW - 500, error_us=10)), now_utc_us=NOW)
    crop = one.receive_datagram(datagram(0, kind=DatagramKind.LATE, monotonic_us=400), now_utc_us=NOW)
    assert crop == SealedCrop(
        late=True,
        received_utc_us=NOW,
        clock_offset_us=NOW - 500,
        envelope=datagram(0, monotonic_us=400)[1:],
    )


def test_a_replay_is_dropped_with_its_reason() -> None:
    one = session()
    assert isinstance(one.receive_datagram(datagram(0), now_utc_us=NOW), SealedCrop)
    assert one.receive_datagram(datagram(0), now_utc_us=NOW) is RefusalReason.REPLAYED


def test_a_flood_is_cut_to_the_rate_that_is_allowed() -> None:
    one = session()
    outcomes = [one.receive_datagram(datagram(n), now_utc_us=NOW + n) for n in range(1_000)]
    assert sum(isinstance(o, SealedCrop) for o in outcomes) == limits.DATAGRAMS_BURST
    assert outcomes[-1] is RefusalReason.RATE


def test_connecting_is_reported_once() -> None:
    one = session()
    event = one.connect(now_utc_us=NOW)
    assert event is not None
    assert (event.kind, event.epoch, event.at_utc_us) == ("connected", 1, NOW)
    assert one.connect(now_utc_us=NOW) is None


def test_a_clock_question_is_answered_and_not_reported() -> None:
    outcome = session().receive_control(encode_message(Clock(t1_monotonic_us=9)), now_utc_us=NOW)
    assert outcome.event is None
    assert outcome.reply is not None
    reply = decode_control_from_ingest(outcome.reply)
    assert (reply.t1_monotonic_us, reply.t2_utc_us, reply.t3_utc_us) == (9, NOW, NOW)


def test_reports_travel_in_events_that_can_be_read_back() -> None:
    one = session()
    for message in (
        Gap(first_frame=1, last_frame=2, segment=0, media_time_us=3, reason="no_face"),
        Counters(captured=9, with_face=8, sent=7, skipped={"no_face": 1}),
    ):
        outcome = one.receive_control(encode_message(message), now_utc_us=NOW)
        assert outcome.event is not None
        event = decode_event(encode_event(outcome.event))
        assert decode_control_from_agent(bytes(event.body)) == message


def test_after_goodbye_gaps_may_still_be_repaired_but_silence_is_no_loss() -> None:
    one = session()
    outcome = one.receive_control(encode_message(Bye(last_frame=4)), now_utc_us=NOW)
    assert (outcome.end, one.is_ended) == (SessionEnd.CLOSED, True)
    late = datagram(3, kind=DatagramKind.LATE)
    assert isinstance(one.receive_datagram(late, now_utc_us=NOW), SealedCrop)


def test_after_withdrawal_nothing_passes_any_more() -> None:
    one = session()
    outcome = one.receive_control(encode_message(Withdraw(monotonic_us=4)), now_utc_us=NOW)
    assert outcome.end is SessionEnd.WITHDRAWN
    assert outcome.event is not None
    assert outcome.event.kind == EventKind.WITHDRAWN
    assert one.receive_datagram(datagram(0), now_utc_us=NOW) is RefusalReason.OVER
    assert one.receive_control(encode_message(Bye(last_frame=1)), now_utc_us=NOW).refused == "over"


@given(st.binary(max_size=1_200))
def test_no_bytes_can_harm_a_session(data: bytes) -> None:
    one = session()
    assert isinstance(one.receive_datagram(data, now_utc_us=NOW), RefusalReason)
    outcome = one.receive_control(data, now_utc_us=NOW)
    assert outcome.event is None
    if outcome.end is not None:
        assert outcome.end is SessionEnd.BROKEN
        assert one.receive_datagram(datagram(0), now_utc_us=NOW) is RefusalReason.OVER
