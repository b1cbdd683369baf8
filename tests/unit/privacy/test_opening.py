"""What one side seals, the other opens, and nothing else does."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.crypto.keys import MemoryKeyring, generate_pool_key
from privacy.crypto.opening import open_setup
from privacy.errors import EnvelopeError, OpeningError
from privacy.governance.receipts import sign_receipt
from privacy.protocol import limits
from privacy.protocol.payload import Features
from tests.unit.privacy.worlds import NOW_UTC_US, World, make_claims, seal


def test_an_envelope_opens_to_what_was_sealed(world: World) -> None:
    sealer = world.start()
    opened = open_setup(sealer.setup, world.keyring, now_utc_us=NOW_UTC_US)
    for counter, content in enumerate((b"", b"crop", bytes(3_000))):
        frame = opened.open(seal(sealer, content=content, frame=counter + 9))
        assert frame.content == content
        assert frame.features == Features(yaw_deg=-7, quality=200)
        assert (frame.header.counter, frame.header.frame, frame.header.epoch) == (counter, counter + 9, 1)


def test_every_flipped_bit_of_an_envelope_is_refused(world: World) -> None:
    sealer = world.start()
    opened = open_setup(sealer.setup, world.keyring, now_utc_us=NOW_UTC_US)
    envelope = seal(sealer)
    for bit in range(len(envelope) * 8):
        tampered = bytearray(envelope)
        tampered[bit // 8] ^= 1 << bit % 8
        with pytest.raises((EnvelopeError, OpeningError)):
            opened.open(bytes(tampered))


def test_an_envelope_of_another_epoch_is_refused(world: World) -> None:
    first, second = world.start(epoch=1), world.start(epoch=2)
    opened = open_setup(first.setup, world.keyring, now_utc_us=NOW_UTC_US)
    with pytest.raises(OpeningError, match="another session or epoch"):
        opened.open(seal(second))


@pytest.mark.parametrize(
    "field, value",
    [
        ("session", "11111111-2222-4333-8444-555555555556"),
        ("tenant", "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeef"),
        ("epoch", 2),
        ("key_id", "0" * 16),
        ("not_after_utc_us", NOW_UTC_US + 500_000_000),
        ("receipt", "another"),
        ("device_public_key", bytes(32)),
        ("encapsulated", bytes(80)),
        ("device_signature", bytes(64)),
    ],
)
def test_a_setup_with_a_swapped_field_is_refused(world: World, field: str, value: object) -> None:
    setup = msgspec.structs.replace(world.start().setup, **{field: value})
    with pytest.raises(OpeningError, match="not signed"):
        open_setup(setup, world.keyring, now_utc_us=NOW_UTC_US)


@pytest.mark.parametrize("field", ["session", "tenant", "epoch", "receipt", "device_key", "not_after_utc_us"])
def test_a_setup_signed_again_around_a_foreign_blob_does_not_open(world: World, field: str) -> None:
    """Even a device that signs its own lie cannot use a blob that was sealed under other facts."""
    from privacy.crypto.binding import setup_info, signed_bytes

    other_device = Ed25519PrivateKey.generate()
    changes: dict[str, object] = {
        "session": make_claims(world.device).receipt_id,
        "tenant": make_claims(world.device).receipt_id,
        "epoch": 5,
        "receipt": "other",
        "device_key": other_device,
        "not_after_utc_us": NOW_UTC_US + 1_000_000,
    }
    honest = world.start().setup
    lying = world.start(**{field: changes[field]}).setup
    lying = msgspec.structs.replace(lying, encapsulated=honest.encapsulated)
    signer = other_device if field == "device_key" else world.device
    lying = msgspec.structs.replace(
        lying, device_signature=signer.sign(signed_bytes(setup_info(lying), lying.encapsulated))
    )
    with pytest.raises(OpeningError, match="does not open"):
        open_setup(lying, world.keyring, now_utc_us=NOW_UTC_US)


def test_frames_sealed_under_one_receipt_do_not_open_under_another(world: World) -> None:
    """The receipt's digest is in the AAD as well as in the key's info."""
    from privacy.crypto.opening import OpenSession

    sealer = world.start()
    honest = open_setup(sealer.setup, world.keyring, now_utc_us=NOW_UTC_US)
    other_receipt = sign_receipt(make_claims(world.device, pseudonym="viewer-8"), world.platform)
    other = OpenSession(setup=msgspec.structs.replace(sealer.setup, receipt=other_receipt), keys=honest._keys)
    envelope = seal(sealer)
    assert honest.open(envelope).content == b"crop"
    with pytest.raises(OpeningError, match="authenticate"):
        other.open(envelope)


def test_a_foreign_pool_key_does_not_open_a_setup(world: World) -> None:
    setup = world.start().setup
    foreign = generate_pool_key(NOW_UTC_US)
    with pytest.raises(OpeningError, match="unknown pool key"):
        open_setup(setup, MemoryKeyring([foreign]), now_utc_us=NOW_UTC_US)
    disguised = dataclasses.replace(foreign, public=world.pool.public)
    with pytest.raises(OpeningError, match="does not open"):
        open_setup(setup, MemoryKeyring([disguised]), now_utc_us=NOW_UTC_US)


def test_time_bounds_a_setup(world: World) -> None:
    setup = world.start().setup
    minute_us = 60_000_000
    open_setup(setup, world.keyring, now_utc_us=setup.not_after_utc_us)
    with pytest.raises(OpeningError, match="over"):
        open_setup(setup, world.keyring, now_utc_us=setup.not_after_utc_us + minute_us)
    with pytest.raises(OpeningError, match="longer"):
        open_setup(setup, world.keyring, now_utc_us=NOW_UTC_US - minute_us - 1)
    short = world.start(not_after_utc_us=NOW_UTC_US + 1).setup
    with pytest.raises(OpeningError, match="not valid yet"):
        open_setup(short, world.keyring, now_utc_us=NOW_UTC_US - minute_us - 1)


def test_opened_things_do_not_show_what_they_hold(world: World) -> None:
    sealer = world.start()
    opened = open_setup(sealer.setup, world.keyring, now_utc_us=NOW_UTC_US)
    frame = opened.open(seal(sealer, content=b"FACE" * 50))
    for shown in (repr(frame), repr(opened), repr(sealer), repr(world.pool), repr(opened._keys)):
        assert "FACE" not in shown
        assert repr(world.pool.private_bytes)[2:-1] not in shown
        assert repr(opened._keys.key)[2:-1] not in shown


def test_no_envelope_is_larger_than_its_limit(world: World) -> None:
    from privacy.protocol.payload import max_content_bytes

    envelope = seal(world.start(), content=bytes(max_content_bytes()))
    assert len(envelope) == limits.ENVELOPE_MAX_BYTES <= limits.DATAGRAM_MAX_BYTES - 1
