"""Messages survive the round trip, and whatever else arrives raises only `MessageError`."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import MessageError
from privacy.protocol import limits
from privacy.protocol.codec import (
    decode_control_from_agent,
    decode_control_from_ingest,
    decode_setup,
    decode_signalling,
    encode_message,
    encode_setup,
)
from privacy.protocol.messages import (
    REFUSAL_REASONS,
    SKIP_REASONS,
    Ack,
    Answer,
    Bye,
    Clock,
    ClockOffset,
    ClockReply,
    Counters,
    Gap,
    Offer,
    Refusals,
    Refused,
    Revoked,
    Segment,
    SessionSetup,
    Withdraw,
)

times = st.integers(0, 2**53 - 1)
signed_times = st.integers(-(2**53), 2**53 - 1)
u32 = st.integers(0, 2**32 - 1)
u16 = st.integers(0, 2**16 - 1)
reasons = st.sampled_from(sorted(SKIP_REASONS))
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200)
setups = st.builds(
    SessionSetup,
    session=st.uuids().map(str),
    tenant=st.uuids().map(str),
    epoch=st.integers(1, 2**32 - 1),
    key_id=st.text("0123456789abcdef", min_size=16, max_size=16),
    not_after_utc_us=times,
    device_public_key=st.binary(min_size=32, max_size=32),
    encapsulated=st.binary(min_size=80, max_size=80),
    device_signature=st.binary(min_size=64, max_size=64),
    receipt=st.text("abc._-", max_size=300),
)
signalling = st.one_of(
    st.builds(Offer, ticket=texts, sdp=texts, setup=setups, minor=u16),
    st.builds(Answer, sdp=texts),
    st.builds(Refused, code=st.integers(400, 599), reason=texts, retry_after_ms=st.integers(0, 600_000)),
    st.builds(Revoked, reason=st.text("abc ", min_size=1, max_size=200)),
)
gaps = st.tuples(u32, u32).flatmap(
    lambda pair: st.builds(
        Gap,
        first_frame=st.just(min(pair)),
        last_frame=st.just(max(pair)),
        segment=u16,
        media_time_us=signed_times,
        reason=reasons,
    )
)
from_agent = st.one_of(
    st.builds(Clock, t1_monotonic_us=times),
    st.builds(ClockOffset, offset_us=signed_times, error_us=times),
    st.builds(
        Segment,
        segment=u16,
        media_time_us=signed_times,
        monotonic_us=times,
        rate_permille=st.integers(0, 16_000),
    ),
    st.builds(
        Counters, captured=u32, with_face=u32, sent=u32, skipped=st.dictionaries(reasons, u32, max_size=13)
    ),
    gaps,
    st.builds(Withdraw, monotonic_us=times),
    st.builds(Bye, last_frame=st.integers(-1, 2**32 - 1)),
)
from_ingest = st.one_of(
    st.builds(ClockReply, t1_monotonic_us=times, t2_utc_us=times, t3_utc_us=times),
    st.builds(
        Ack, bucket=st.integers(0, 2**32 // 30), mask=st.integers(0, 2**30 - 1), committed_utc_us=times
    ),
    st.builds(Revoked, reason=st.text("abc ", min_size=1, max_size=200)),
    st.builds(Refusals, counts=st.dictionaries(st.sampled_from(sorted(REFUSAL_REASONS)), u32)),
)
DECODERS = (decode_signalling, decode_control_from_agent, decode_control_from_ingest, decode_setup)


@given(signalling)
def test_signalling_messages_survive_the_round_trip(message: Any) -> None:
    data = encode_message(message)
    assert len(data) <= limits.SIGNALLING_MESSAGE_MAX_BYTES
    assert decode_signalling(data) == message


@given(from_agent)
def test_the_agents_control_messages_fit_one_packet_and_survive(message: Any) -> None:
    data = encode_message(message)
    assert len(data) <= limits.CTL_MESSAGE_MAX_BYTES
    assert decode_control_from_agent(data) == message


@given(from_ingest)
def test_ingests_control_messages_fit_one_packet_and_survive(message: Any) -> None:
    data = encode_message(message)
    assert len(data) <= limits.CTL_MESSAGE_MAX_BYTES
    assert decode_control_from_ingest(data) == message


@given(setups)
def test_a_setup_survives_the_round_trip(setup: SessionSetup) -> None:
    data = encode_setup(setup)
    assert len(data) <= limits.SETUP_MAX_BYTES
    assert decode_setup(data) == setup


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.one_of(st.binary(max_size=200), json_values.map(lambda value: msgspec.json.encode(value))))
def test_garbage_raises_only_the_documented_error(data: bytes) -> None:
    for decode in DECODERS:
        with contextlib.suppress(MessageError):
            decode(data)


@given(st.one_of(signalling, from_agent, from_ingest), st.data())
def test_a_damaged_message_raises_only_the_documented_error(message: Any, data: st.DataObject) -> None:
    damaged = bytearray(encode_message(message))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    for decode in DECODERS:
        with contextlib.suppress(MessageError):
            decode(bytes(damaged))


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"type":"gap"' + b',"a":[' * 5_000,
        b'{"type":"clock","t1_monotonic_us":1e300}',
        b'{"type":"clock","t1_monotonic_us":-1}',
        b'{"type":"clock","t1_monotonic_us":9007199254740992}',
        b'{"type":"clock","t1_monotonic_us":1,"extra":1}',
        b'{"type":"clock","t1_monotonic_us":true}',
        b'{"type":"gap","first_frame":2,"last_frame":1,"segment":0,"media_time_us":0,"reason":"dark"}',
        b'{"type":"gap","first_frame":1,"last_frame":1,"segment":0,"media_time_us":0,"reason":"bored"}',
        b'{"type":"counters","captured":1,"with_face":1,"sent":1,"skipped":{"bored":1}}',
        b'{"type":"counters","captured":1,"with_face":1,"sent":-1,"skipped":{}}',
        b'{"type":"segment","segment":65536,"media_time_us":0,"monotonic_us":0,"rate_permille":1000}',
        b'{"type":"bye","last_frame":-2}',
        b'{"type":"answer","sdp":""}',
    ],
)
def test_a_message_out_of_bounds_is_refused(data: bytes) -> None:
    for decode in DECODERS:
        with pytest.raises(MessageError):
            decode(data)


def test_an_offer_of_minor_version_0_is_written_as_before_there_were_any() -> None:
    setup = SessionSetup(
        session="11111111-2222-4333-8444-555555555555",
        tenant="11111111-2222-4333-8444-555555555555",
        epoch=1,
        key_id="k",
        not_after_utc_us=1,
        device_public_key=b"",
        encapsulated=b"",
        device_signature=b"",
        receipt="r",
    )
    plain = Offer(ticket="t", sdp="s", setup=setup)
    assert encode_message(plain).startswith(b'{"type":"offer","ticket":"t","sdp":"s","setup":{"session"')
    assert b"minor" not in encode_message(plain)
    assert encode_message(msgspec.structs.replace(plain, minor=1)).endswith(b',"minor":1}')
    assert decode_signalling(encode_message(plain)) == plain


def test_one_directions_messages_are_refused_in_the_other() -> None:
    ack = encode_message(Ack(bucket=0, mask=1, committed_utc_us=1))
    clock = encode_message(Clock(t1_monotonic_us=1))
    with pytest.raises(MessageError):
        decode_control_from_agent(ack)
    with pytest.raises(MessageError):
        decode_control_from_ingest(clock)


def test_a_message_over_its_limit_is_refused_before_it_is_parsed() -> None:
    padding = b" " * limits.CTL_MESSAGE_MAX_BYTES
    with pytest.raises(MessageError, match="over"):
        decode_control_from_agent(encode_message(Clock(t1_monotonic_us=1)) + padding)
    with pytest.raises(MessageError, match="over"):
        encode_message(Answer(sdp="s" * limits.SIGNALLING_MESSAGE_MAX_BYTES))


@pytest.mark.parametrize(
    "changes",
    [
        {"session": "x"},
        {"session": "{11111111-2222-4333-8444-555555555555}"},
        {"epoch": 0},
        {"key_id": ""},
        {"encapsulated": bytes(257)},
        {"receipt": "r" * 9_000},
        {"not_after_utc_us": -1},
    ],
)
def test_a_setup_out_of_bounds_is_neither_written_nor_read(changes: dict[str, object]) -> None:
    good = SessionSetup(
        session="11111111-2222-4333-8444-555555555555",
        tenant="11111111-2222-4333-8444-555555555555",
        epoch=1,
        key_id="k",
        not_after_utc_us=1,
        device_public_key=b"",
        encapsulated=b"",
        device_signature=b"",
        receipt="r",
    )
    assert decode_setup(encode_setup(good)) == good
    bad = msgspec.structs.replace(good, **changes)
    with pytest.raises(MessageError):
        encode_setup(bad)
    with pytest.raises(MessageError):
        decode_setup(msgspec.json.encode(bad))
