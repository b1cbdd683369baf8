"""Keys of small order and second spellings are refused wherever a key comes from outside."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from privacy.crypto.binding import setup_info, signed_bytes, verify_setup_signature
from privacy.crypto.jws import load_public_key
from privacy.crypto.keys import key_id_of, sign_bundle, verify_bundle
from privacy.crypto.small_order import PRIME, is_sound_ed25519, is_sound_x25519
from privacy.errors import KeyringError, OpeningError, SignatureError
from tests.unit.privacy.worlds import World

# The torsion points of edwards25519, as in table 1 of "Taming the many EdDSAs".
TORSION = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
]
SECOND_SPELLINGS = [
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    (PRIME + 3).to_bytes(32, "little").hex(),
]
MONTGOMERY = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b880",
]
D = (-121665 * pow(121666, PRIME - 2, PRIME)) % PRIME
ANYTHING_SIGNED = bytes.fromhex(TORSION[0]) + bytes(32)
"""R the neutral element, S zero: under a key that is the neutral element it signs every message."""


def point(encoded: bytes) -> tuple[int, int]:
    y = int.from_bytes(encoded, "little") & ~(1 << 255)
    square = (y * y - 1) * pow(D * y * y + 1, PRIME - 2, PRIME) % PRIME
    x = pow(square, (PRIME + 3) // 8, PRIME)
    if x * x % PRIME != square:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    assert x * x % PRIME == square
    return (PRIME - x if x & 1 != encoded[31] >> 7 else x) % PRIME, y


def double(at: tuple[int, int]) -> tuple[int, int]:
    x, y = at
    common = D * x * x * y * y % PRIME
    return (
        2 * x * y * pow(1 + common, PRIME - 2, PRIME) % PRIME,
        (y * y + x * x) * pow(1 - common, PRIME - 2, PRIME) % PRIME,
    )


@pytest.mark.parametrize("spelled", TORSION)
def test_each_vector_is_a_point_whose_order_divides_eight_and_is_refused(spelled: str) -> None:
    encoded = bytes.fromhex(spelled)
    assert double(double(double(point(encoded)))) == (0, 1)
    assert not is_sound_ed25519(encoded)
    with pytest.raises(SignatureError):
        load_public_key(encoded)


@pytest.mark.parametrize("spelled", SECOND_SPELLINGS)
def test_a_second_spelling_of_a_point_is_refused(spelled: str) -> None:
    with pytest.raises(SignatureError):
        load_public_key(bytes.fromhex(spelled))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(SignatureError):
        load_public_key(b"\x09" * length)


@given(st.binary(min_size=32, max_size=32))
def test_every_key_that_is_made_properly_is_accepted(seed: bytes) -> None:
    signing = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    assert load_public_key(signing).public_bytes_raw() == signing
    assert is_sound_x25519(X25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())


def test_a_setup_that_nobody_signed_is_refused_under_a_device_key_of_small_order(world: World) -> None:
    setup = world.start().setup
    neutral = bytes.fromhex(TORSION[0])
    Ed25519PublicKey.from_public_bytes(neutral).verify(ANYTHING_SIGNED, b"whatever")
    forged = msgspec.structs.replace(setup, device_public_key=neutral, device_signature=ANYTHING_SIGNED)
    with pytest.raises(OpeningError):
        verify_setup_signature(forged)


@pytest.mark.parametrize("spelled", MONTGOMERY)
def test_pool_and_encapsulated_keys_of_small_order_are_refused(world: World, spelled: str) -> None:
    encoded = bytes.fromhex(spelled)
    assert not is_sound_x25519(encoded)
    honest = world.start().setup
    setup = msgspec.structs.replace(honest, encapsulated=encoded + honest.encapsulated[32:])
    signature = world.device.sign(signed_bytes(setup_info(setup), setup.encapsulated))
    with pytest.raises(OpeningError, match="small order"):
        verify_setup_signature(msgspec.structs.replace(setup, device_signature=signature))
    weak = dataclasses.replace(world.pool.public, public_bytes=encoded, key_id=key_id_of(encoded))
    with pytest.raises(KeyringError):
        verify_bundle(
            sign_bundle([weak], world.platform), world.platform.public_key(), weak.not_before_utc_us
        )


def test_the_vectors_name_all_torsion_points() -> None:
    assert len({point(bytes.fromhex(spelled)) for spelled in TORSION}) == 8
