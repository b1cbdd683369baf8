"""A setup is admitted only with a receipt for this session, this tenant and this device."""

from __future__ import annotations

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.errors import OpeningError, ReceiptError
from privacy.governance.admission import admit_setup
from privacy.governance.consent import Purpose
from privacy.governance.receipts import sign_receipt
from tests.unit.privacy.worlds import NOW_UTC_US, World, make_claims


def test_an_honest_setup_is_admitted_with_its_claims(world: World) -> None:
    claims = admit_setup(world.start().setup, world.platform.public_key(), now_utc_us=NOW_UTC_US)
    assert claims == world.claims


def test_a_setup_that_its_device_did_not_sign_is_refused(world: World) -> None:
    setup = msgspec.structs.replace(world.start().setup, epoch=2)
    with pytest.raises(OpeningError, match="not signed"):
        admit_setup(setup, world.platform.public_key(), now_utc_us=NOW_UTC_US)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"session": make_claims(Ed25519PrivateKey.generate()).receipt_id}, "session"),
        ({"tenant": make_claims(Ed25519PrivateKey.generate()).receipt_id}, "tenant"),
        ({"device_public_key": bytes(range(32))}, "device"),
        ({"expires_utc_us": NOW_UTC_US + 1}, "expired"),
        ({"purposes": frozenset({Purpose.CAPTURE})}, "does not allow"),
        ({"purposes": frozenset({Purpose.CLOUD_SCORING})}, "does not allow"),
    ],
)
def test_a_receipt_for_something_else_is_refused(
    world: World, changes: dict[str, object], message: str
) -> None:
    receipt = sign_receipt(make_claims(world.device, **changes), world.platform)
    setup = world.start(receipt=receipt).setup
    with pytest.raises(ReceiptError, match=message):
        admit_setup(setup, world.platform.public_key(), now_utc_us=NOW_UTC_US + 1)


def test_another_device_cannot_use_a_stolen_receipt(world: World) -> None:
    setup = world.start(device_key=Ed25519PrivateKey.generate()).setup
    with pytest.raises(ReceiptError, match="another device"):
        admit_setup(setup, world.platform.public_key(), now_utc_us=NOW_UTC_US)


def test_a_forged_receipt_is_refused(world: World) -> None:
    setup = world.start(receipt=sign_receipt(world.claims, Ed25519PrivateKey.generate())).setup
    with pytest.raises(ReceiptError, match="forged"):
        admit_setup(setup, world.platform.public_key(), now_utc_us=NOW_UTC_US)


@pytest.mark.parametrize(
    "changes",
    [
        {"session": "x"},
        {"tenant": ""},
        {"epoch": 0},
        {"epoch": 1 << 32},
        {"not_after_utc_us": -1},
        {"key_id": ""},
        {"key_id": "k" * 65},
        {"key_id": "é"},
        {"device_public_key": b""},
        {"encapsulated": bytes(79)},
        {"device_signature": b""},
        {"receipt": "r" * 9_000},
        {"receipt": "\ud800"},
    ],
)
def test_a_malformed_setup_raises_only_the_documented_error(world: World, changes: dict[str, object]) -> None:
    setup = msgspec.structs.replace(world.start().setup, **changes)
    with pytest.raises(OpeningError):
        admit_setup(setup, world.platform.public_key(), now_utc_us=NOW_UTC_US)
