"""The plaintext's layout has one accepted form, and its length leaks only a bucket."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import PayloadError, SealingError
from privacy.protocol import limits
from privacy.protocol.payload import Features, bucket_bytes, decode_payload, encode_payload, max_content_bytes

angles = st.integers(-90, 90)
bytes_u8 = st.integers(0, 255)
features = st.builds(
    Features,
    yaw_deg=angles,
    pitch_deg=angles,
    roll_deg=angles,
    quality=bytes_u8,
    detector_score=bytes_u8,
    brightness=bytes_u8,
    sharpness=bytes_u8,
    attention=bytes_u8,
)


@given(features, st.binary(max_size=max_content_bytes()))
def test_a_payload_survives_the_round_trip_in_the_smallest_bucket(measured: Features, content: bytes) -> None:
    plaintext = encode_payload(measured, content)
    assert decode_payload(plaintext) == (measured, content)
    smaller = [size for size in limits.PLAINTEXT_BUCKETS_BYTES if size < len(plaintext)]
    assert len(plaintext) in limits.PLAINTEXT_BUCKETS_BYTES
    assert all(size < len(content) + 18 for size in smaller)


@given(st.sampled_from(limits.PLAINTEXT_BUCKETS_BYTES), st.data())
def test_garbage_raises_only_the_documented_error(size: int, data: st.DataObject) -> None:
    head = data.draw(st.binary(min_size=18, max_size=64))
    for plaintext in (head.ljust(size, b"\0"), head, (b"\x01" + bytes(15) + head).ljust(size, b"\0")[:size]):
        try:
            measured, content = decode_payload(plaintext)
        except PayloadError:
            continue
        assert encode_payload(measured, content) == plaintext


@given(st.binary(max_size=4_000))
def test_any_bytes_raise_only_the_documented_error(data: bytes) -> None:
    with contextlib.suppress(PayloadError):
        decode_payload(data)


def test_padding_that_is_not_zero_is_refused() -> None:
    plaintext = encode_payload(Features(), b"crop")
    for place in (18 + 4, 100, 511):
        tampered = bytearray(plaintext)
        tampered[place] = 1
        with pytest.raises(PayloadError, match="padding"):
            decode_payload(bytes(tampered))


def test_a_larger_bucket_than_needed_is_refused() -> None:
    with pytest.raises(PayloadError, match="bucket"):
        decode_payload(encode_payload(Features(), b"crop").ljust(1_024, b"\0"))


def test_an_unknown_version_and_reserved_bytes_are_refused() -> None:
    for place in (0, 9, 15):
        tampered = bytearray(encode_payload(Features(), b""))
        tampered[place] = 9
        with pytest.raises(PayloadError, match="version"):
            decode_payload(bytes(tampered))


def test_an_angle_beyond_ninety_degrees_is_refused_on_both_sides() -> None:
    for angle in (91, -91, 200):
        with pytest.raises(SealingError, match="angle"):
            encode_payload(Features(roll_deg=angle), b"")
    tampered = bytearray(encode_payload(Features(), b""))
    tampered[1] = 0x80
    with pytest.raises(PayloadError, match="angle"):
        decode_payload(bytes(tampered))


def test_content_beyond_the_largest_bucket_is_refused() -> None:
    assert bucket_bytes(max_content_bytes()) == limits.PLAINTEXT_BUCKETS_BYTES[-1]
    with pytest.raises(SealingError, match="over"):
        encode_payload(Features(), bytes(max_content_bytes() + 1))


def test_a_feature_out_of_range_is_refused() -> None:
    for name in ("quality", "detector_score", "brightness", "sharpness", "attention"):
        for value in (-1, 256):
            with pytest.raises(SealingError, match="feature"):
                encode_payload(Features(**{name: value}), b"")
