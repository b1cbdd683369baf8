"""Pool keys are named after themselves, bundles are signed, derivation is separated."""

from __future__ import annotations

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from privacy.crypto.jws import sign_document
from privacy.crypto.keys import (
    BUNDLE_TYP,
    FrameKeys,
    MemoryKeyring,
    decode_pool_key,
    derive_frame_keys,
    encode_pool_key,
    generate_pool_key,
    key_id_of,
    sign_bundle,
    verify_bundle,
)
from privacy.errors import KeyringError
from privacy.protocol.ids import KeyId
from tests.unit.privacy.worlds import NOW_UTC_US, World

HOUR_US = 3_600_000_000


def test_a_bundle_gives_the_keys_that_are_valid_now_longest_lived_first(world: World) -> None:
    old = generate_pool_key(NOW_UTC_US - 25 * HOUR_US)
    current = generate_pool_key(NOW_UTC_US - HOUR_US)
    over = generate_pool_key(NOW_UTC_US - 50 * HOUR_US)
    coming = generate_pool_key(NOW_UTC_US + HOUR_US)
    jws = sign_bundle([k.public for k in (over, old, coming, current)], world.platform)
    root = world.platform.public_key()
    assert verify_bundle(jws, root, NOW_UTC_US - 1) == (current.public, old.public)
    assert verify_bundle(jws, root, NOW_UTC_US) == (current.public,)


def test_a_bundle_without_a_valid_key_is_refused(world: World) -> None:
    jws = sign_bundle([world.pool.public], world.platform)
    for now in (NOW_UTC_US - 1, world.pool.public.not_after_utc_us):
        with pytest.raises(KeyringError, match="no key"):
            verify_bundle(jws, world.platform.public_key(), now)


def test_a_forged_or_mislabelled_bundle_is_refused(world: World) -> None:
    root = world.platform.public_key()
    forged = sign_bundle([world.pool.public], Ed25519PrivateKey.generate())
    other = generate_pool_key(NOW_UTC_US)
    mislabelled = sign_bundle([dataclasses.replace(other.public, key_id=world.pool.key_id)], world.platform)
    short = sign_bundle([dataclasses.replace(other.public, public_bytes=b"k")], world.platform)
    wrong_shape = sign_document({"keys": 3}, world.platform, typ=BUNDLE_TYP)
    wrong_typ = sign_document({"keys": []}, world.platform, typ="other")
    for jws in (forged, mislabelled, short, wrong_shape, wrong_typ, "", "a.b.c", "é.é.é"):
        with pytest.raises(KeyringError):
            verify_bundle(jws, root, NOW_UTC_US)


def test_a_pool_key_survives_custody(world: World) -> None:
    again = decode_pool_key(encode_pool_key(world.pool))
    assert again == world.pool
    assert again.key_id == key_id_of(world.pool.public.public_bytes)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"null", b'{"private":"AA","not_before_utc_us":0,"not_after_utc_us":1}']
)
def test_a_malformed_pool_key_is_refused(data: bytes) -> None:
    with pytest.raises(KeyringError):
        decode_pool_key(data)


def test_a_keyring_forgets_what_is_over(world: World) -> None:
    keyring = MemoryKeyring([world.pool])
    keyring.add(generate_pool_key(NOW_UTC_US - 50 * HOUR_US))
    assert keyring.drop_expired(NOW_UTC_US) == 1
    assert keyring.private_key(world.pool.key_id) is world.pool
    with pytest.raises(KeyringError):
        keyring.private_key(KeyId("unknown"))


@given(st.binary(min_size=12, max_size=12), st.sets(st.integers(0, 2**20), min_size=2, max_size=20))
def test_nonces_of_different_counters_differ(salt: bytes, counters: set[int]) -> None:
    keys = FrameKeys(key=bytes(32), salt=salt)
    nonces = {keys.nonce(counter) for counter in counters}
    assert len(nonces) == len(counters)
    assert all(len(nonce) == 12 for nonce in nonces)
    assert keys.nonce(0) == salt


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80), st.binary(max_size=80))
def test_derived_keys_depend_on_secret_and_info(secret: bytes, info: bytes, other: bytes) -> None:
    keys = derive_frame_keys(secret, info)
    assert keys == derive_frame_keys(secret, info)
    assert keys.key[:12] != keys.salt
    assert (info == other) == (derive_frame_keys(secret, other).key == keys.key)


def test_a_secret_of_another_length_is_refused() -> None:
    for length in (0, 16, 31, 33):
        with pytest.raises(ValueError, match="32"):
            derive_frame_keys(bytes(length), b"")
