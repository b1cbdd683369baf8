"""The envelope's layout has one accepted form and never more than its limit."""

from __future__ import annotations

import contextlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import EnvelopeError
from privacy.protocol import limits
from privacy.protocol.envelope import (
    CROP_CODECS,
    Codec,
    DatagramKind,
    Header,
    decode_envelope,
    encode_header,
    unwrap_datagram,
    wrap_datagram,
)
from privacy.protocol.ids import SessionId


@st.composite
def headers(draw: st.DrawFn) -> Header:
    codec = draw(st.sampled_from(sorted(Codec)))
    side = (
        st.integers(limits.CROP_SIDE_MIN_PX, limits.CROP_SIDE_MAX_PX) if codec in CROP_CODECS else st.just(0)
    )
    bucket = draw(st.sampled_from(limits.PLAINTEXT_BUCKETS_BYTES))
    return Header(
        codec=codec,
        session=SessionId(draw(st.uuids())),
        epoch=draw(st.integers(1, 2**32 - 1)),
        counter=draw(st.integers(0, limits.EPOCH_MAX_FRAMES - 1)),
        frame=draw(st.integers(0, 2**32 - 1)),
        media_time_us=draw(st.integers(-(2**63), 2**63 - 1)),
        monotonic_us=draw(st.integers(0, 2**64 - 1)),
        face=draw(st.integers(0, limits.FACES_MAX - 1)),
        faces=draw(st.integers(0, limits.FACES_MAX)),
        width=draw(side),
        height=draw(side),
        detector=draw(st.integers(0, 2**16 - 1)),
        segment=draw(st.integers(0, 2**16 - 1)),
        ciphertext_length=bucket + limits.TAG_BYTES,
    )


def a_header(**changes: object) -> Header:
    fields: dict[str, object] = {
        "codec": Codec.JPEG_RGB,
        "session": SessionId(UUID(int=7)),
        "epoch": 1,
        "counter": 0,
        "frame": 0,
        "media_time_us": 0,
        "monotonic_us": 0,
        "face": 0,
        "faces": 1,
        "width": 96,
        "height": 96,
        "detector": 0,
        "segment": 0,
        "ciphertext_length": 528,
    }
    return Header(**(fields | changes))  # type: ignore[arg-type]


@given(headers())
def test_a_header_survives_the_round_trip(header: Header) -> None:
    raw = encode_header(header)
    envelope = raw + bytes(header.ciphertext_length)
    assert len(envelope) <= limits.ENVELOPE_MAX_BYTES
    decoded, aad, ciphertext = decode_envelope(envelope)
    assert (decoded, aad, len(ciphertext)) == (header, raw, header.ciphertext_length)


@given(st.binary(max_size=limits.ENVELOPE_MAX_BYTES + 10))
def test_garbage_raises_only_the_documented_error(data: bytes) -> None:
    for decode in (decode_envelope, unwrap_datagram):
        with contextlib.suppress(EnvelopeError):
            decode(data)


@given(headers(), st.integers(0, 63), st.integers(1, 255))
def test_a_changed_header_byte_is_refused_or_decodes_to_another_header(
    header: Header, place: int, change: int
) -> None:
    envelope = bytearray(encode_header(header) + bytes(header.ciphertext_length))
    envelope[place] ^= change
    with contextlib.suppress(EnvelopeError):
        assert decode_envelope(bytes(envelope))[0] != header


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": 0},
        {"counter": limits.EPOCH_MAX_FRAMES},
        {"face": limits.FACES_MAX},
        {"faces": limits.FACES_MAX + 1},
        {"width": 15},
        {"width": 129},
        {"height": 15},
        {"height": 129},
        {"ciphertext_length": 529},
        {"codec": Codec.SCORES},
    ],
)
def test_a_header_out_of_bounds_is_refused(changes: dict[str, object]) -> None:
    header = a_header(**changes)
    with pytest.raises(EnvelopeError):
        decode_envelope(encode_header(header) + bytes(528))


@pytest.mark.parametrize("length", [0, 63, 79, limits.ENVELOPE_MAX_BYTES + 1, 1 << 20])
def test_an_envelope_of_impossible_length_is_refused(length: int) -> None:
    with pytest.raises(EnvelopeError, match="bounds"):
        decode_envelope(bytes(length))


def test_a_plaintext_outside_every_size_bucket_is_refused() -> None:
    with pytest.raises(EnvelopeError, match="bucket"):
        decode_envelope(encode_header(a_header(ciphertext_length=600)) + bytes(600))


@pytest.mark.parametrize("field", ["frame", "epoch", "media_time_us", "width", "faces"])
def test_a_field_that_does_not_fit_is_refused_when_encoding(field: str) -> None:
    with pytest.raises(EnvelopeError):
        encode_header(a_header(**{field: 1 << 65}))


def test_the_outer_kind_is_not_part_of_the_envelope() -> None:
    for kind in DatagramKind:
        assert unwrap_datagram(wrap_datagram(kind, b"envelope")) == (kind, b"envelope")
    for datagram in (b"", b"\x01", b"\x00e", b"\x03e", bytes(limits.DATAGRAM_MAX_BYTES + 1)):
        with pytest.raises(EnvelopeError):
            unwrap_datagram(datagram)
