"""The end-to-end claim: whoever holds everything but the pool's private key learns no face.

A relay that recorded the signalling, the setup store, the key bundle and every datagram cannot open a
crop, forge one, or move one elsewhere. (Whoever holds the platform's signing key could name a pool key of
its own to future agents: docs/threat-model.md, T4.)
"""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.crypto.binding import setup_info
from privacy.crypto.keys import MemoryKeyring, derive_frame_keys, generate_pool_key
from privacy.crypto.opening import OpenSession, open_setup
from privacy.errors import OpeningError, PrivacyError, ReceiptError
from privacy.governance.admission import admit_setup
from privacy.governance.receipts import sign_receipt
from privacy.protocol.codec import encode_setup
from tests.unit.privacy.worlds import NOW_UTC_US, World, make_world, seal

CANARY = b"\xff\xd8CANARY-FACE-" + bytes(range(256)) * 4


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


def test_a_full_capture_holds_no_plaintext_and_no_key(world: World) -> None:
    sealer = world.start()
    capture = encode_setup(sealer.setup) + b"".join(seal(sealer, content=CANARY) for _ in range(30))
    for start in range(0, len(CANARY) - 12, 8):
        assert CANARY[start : start + 12] not in capture
    assert sealer._keys.key not in capture
    assert sealer._keys.salt not in capture


def test_equal_crops_look_different_every_time(world: World) -> None:
    sealer = world.start()
    ciphertexts = {seal(sealer, content=CANARY)[64:] for _ in range(50)}
    assert len(ciphertexts) == 50
    prefixes = {ciphertext[:16] for ciphertext in ciphertexts}
    assert len(prefixes) == 50


def test_length_tells_only_a_bucket(world: World) -> None:
    sealer = world.start()
    assert len({len(seal(sealer, content=bytes(n))) for n in range(494)}) == 1
    assert len({len(seal(sealer, content=bytes(n))) for n in range(0, 3_374, 7)}) == 7


def test_every_guess_at_the_secret_that_a_relay_can_make_fails(world: World) -> None:
    sealer = world.start()
    envelope = seal(sealer, content=CANARY)
    setup = sealer.setup
    guesses = (bytes(32), setup.device_public_key, setup.encapsulated[:32], setup.encapsulated[32:64])
    for guess in guesses:
        forged = OpenSession(setup=setup, keys=derive_frame_keys(guess, setup_info(setup)))
        with pytest.raises(OpeningError):
            forged.open(envelope)


def test_a_relay_cannot_lead_the_worker_to_its_own_key(world: World) -> None:
    """It seals a secret that it knows, but cannot sign as the device that the receipt names."""
    relay_device = Ed25519PrivateKey.generate()
    forged = world.start(device_key=relay_device).setup
    with pytest.raises(ReceiptError, match="device"):
        admit_setup(forged, world.platform.public_key(), now_utc_us=NOW_UTC_US)
    disguised = msgspec.structs.replace(
        forged, device_public_key=world.device.public_key().public_bytes_raw()
    )
    with pytest.raises(OpeningError, match="not signed"):
        admit_setup(disguised, world.platform.public_key(), now_utc_us=NOW_UTC_US)


def test_a_frame_cannot_be_moved_to_another_place(world: World) -> None:
    """Session, epoch, media time, frame: all are in the AAD."""
    sealer = world.start()
    opened = open_setup(sealer.setup, world.keyring, now_utc_us=NOW_UTC_US)
    envelope, donor = seal(sealer), seal(sealer, frame=4, media_time_us=200_000, monotonic_us=5_033_333)
    for first, last in ((4, 20), (20, 24), (24, 32), (32, 36), (36, 44), (44, 52), (52, 60)):
        moved = bytearray(envelope)
        moved[first:last] = donor[first:last]
        if bytes(moved) == envelope:
            moved[last - 1] ^= 1
        with pytest.raises(PrivacyError):
            opened.open(bytes(moved))
    swapped_body = envelope[:64] + donor[64:]
    with pytest.raises(OpeningError):
        opened.open(swapped_body)


def test_the_tenant_and_the_receipt_are_bound_though_they_are_not_sent(world: World) -> None:
    sealer = world.start()
    envelope = seal(sealer)
    honest = open_setup(sealer.setup, world.keyring, now_utc_us=NOW_UTC_US)
    secret_keys = honest._keys
    other = sign_receipt(dataclasses.replace(world.claims, pseudonym="x"), world.platform)
    for changes in ({"receipt": other}, {"tenant": "11111111-2222-4333-8444-555555555555"}):
        setup = msgspec.structs.replace(sealer.setup, **changes)
        with pytest.raises(OpeningError):
            open_setup(setup, world.keyring, now_utc_us=NOW_UTC_US)
        if "receipt" in changes:
            with pytest.raises(OpeningError):
                OpenSession(setup=setup, keys=secret_keys).open(envelope)


def test_a_destroyed_pool_key_closes_what_was_captured(world: World) -> None:
    sealer = world.start()
    seal(sealer)
    keyring = MemoryKeyring([world.pool])
    assert keyring.drop_expired(world.pool.public.not_after_utc_us) == 1
    keyring.add(generate_pool_key(NOW_UTC_US))
    with pytest.raises(OpeningError, match="unknown"):
        open_setup(sealer.setup, keyring, now_utc_us=NOW_UTC_US)
