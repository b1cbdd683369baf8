"""Records at rest open only with their key, in their place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.crypto.at_rest import new_data_key, open_at_rest, seal_at_rest, unwrap_key, wrap_key
from privacy.errors import OpeningError

KEY, KEK = bytes(32), bytes(range(32))


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_a_record_survives_the_round_trip(plaintext: bytes, aad: bytes) -> None:
    blob = seal_at_rest(KEY, plaintext, aad)
    assert open_at_rest(KEY, blob, aad) == plaintext
    assert blob != seal_at_rest(KEY, plaintext, aad)


def test_every_flipped_bit_is_refused() -> None:
    blob = seal_at_rest(KEY, b"record", b"place")
    for bit in range(len(blob) * 8):
        tampered = bytearray(blob)
        tampered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(OpeningError):
            open_at_rest(KEY, bytes(tampered), b"place")


def test_another_key_or_place_is_refused() -> None:
    blob = seal_at_rest(KEY, b"record", b"place")
    for key, aad in ((KEK, b"place"), (KEY, b"elsewhere"), (KEY, b""), (b"short", b"place")):
        with pytest.raises(OpeningError):
            open_at_rest(key, blob, aad)


def test_a_data_key_is_wrapped_apart_from_records() -> None:
    key = new_data_key()
    assert len(key) == 32
    assert key != new_data_key()
    wrapped = wrap_key(KEK, key, b"session")
    assert key not in wrapped
    assert unwrap_key(KEK, wrapped, b"session") == key
    with pytest.raises(OpeningError):
        unwrap_key(KEK, wrapped, b"other session")
    with pytest.raises(OpeningError):
        open_at_rest(KEK, wrapped, b"session")
    with pytest.raises(OpeningError):
        unwrap_key(KEK, seal_at_rest(KEK, key, b"session"), b"session")


@given(st.binary(max_size=60))
def test_garbage_raises_only_the_documented_error(blob: bytes) -> None:
    with pytest.raises(OpeningError):
        open_at_rest(KEY, blob, b"")


def test_keys_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        seal_at_rest(b"short", b"", b"")
    with pytest.raises(ValueError, match="32"):
        wrap_key(KEK, b"short", b"")
