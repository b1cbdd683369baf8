"""A receipt is bound to its session, tenant, device and time, and follows its schema."""

from __future__ import annotations

import dataclasses
import json
from uuid import uuid4

import jsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from privacy.crypto.jws import decode_base64url, sign_document
from privacy.errors import ReceiptError
from privacy.governance.consent import Purpose
from privacy.governance.receipts import (
    RECEIPT_TYP,
    ReceiptClaims,
    receipt_digest,
    receipt_document,
    receipt_schema,
    sign_receipt,
    verify_receipt,
)
from privacy.protocol import limits
from privacy.protocol.expressions import EXPRESSIONS
from privacy.protocol.ids import SessionId, TenantId
from tests.unit.privacy.worlds import NOW_UTC_US, SESSION, TENANT, World, make_claims

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=200)
PLATFORM = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
DEVICE = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
claims_strategy = st.builds(
    lambda **changes: make_claims(DEVICE, **changes),
    receipt_id=st.uuids(),
    session=st.uuids(),
    tenant=st.uuids(),
    study=texts,
    title=texts,
    pseudonym=texts,
    controller=texts,
    purposes=st.frozensets(st.sampled_from(Purpose), min_size=1),
    opted_out=st.frozensets(st.sampled_from(EXPRESSIONS), max_size=5),
    jurisdiction=st.sampled_from(["DE", "US-CA"]),
)


@given(claims_strategy)
def test_a_receipt_survives_the_round_trip_and_follows_its_schema(claims: ReceiptClaims) -> None:
    try:
        jws = sign_receipt(claims, PLATFORM)
    except ReceiptError as error:
        assert "bound" in str(error)
        return
    assert len(jws) <= limits.RECEIPT_MAX_BYTES
    assert verify_receipt(jws, PLATFORM.public_key(), now_utc_us=NOW_UTC_US) == claims
    document = json.loads(decode_base64url(jws.split(".")[1]))
    jsonschema.Draft202012Validator(receipt_schema()).validate(document)


def test_the_schema_itself_is_valid_and_refuses_what_the_reader_refuses(world: World) -> None:
    schema = receipt_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = receipt_document(world.claims)
    for section in ("party", "processing", "event", "binding"):
        for change in ({"extra": 1}, {}):
            bad = json.loads(json.dumps(good))
            if change:
                bad[section] |= change
            else:
                bad[section].popitem()
            assert not validator.is_valid(bad)
            jws = sign_document(bad, world.platform, typ=RECEIPT_TYP)
            with pytest.raises(ReceiptError, match="malformed"):
                verify_receipt(jws, world.platform.public_key(), now_utc_us=NOW_UTC_US)


def test_a_receipt_for_somebody_else_is_refused(world: World) -> None:
    root = world.platform.public_key()
    verify_receipt(world.receipt, root, now_utc_us=NOW_UTC_US, session=SESSION, tenant=TENANT)
    with pytest.raises(ReceiptError, match="session"):
        verify_receipt(world.receipt, root, now_utc_us=NOW_UTC_US, session=SessionId(uuid4()))
    with pytest.raises(ReceiptError, match="tenant"):
        verify_receipt(world.receipt, root, now_utc_us=NOW_UTC_US, tenant=TenantId(uuid4()))


def test_an_expired_receipt_is_refused(world: World) -> None:
    root = world.platform.public_key()
    end = world.claims.expires_utc_us
    verify_receipt(world.receipt, root, now_utc_us=end - 1)
    with pytest.raises(ReceiptError, match="expired"):
        verify_receipt(world.receipt, root, now_utc_us=end)


def test_a_forged_receipt_is_refused(world: World) -> None:
    forged = sign_receipt(world.claims, Ed25519PrivateKey.generate())
    for jws in (forged, "", "a.b.c", world.receipt[:-2], "x" * 9_000):
        with pytest.raises(ReceiptError):
            verify_receipt(jws, world.platform.public_key(), now_utc_us=NOW_UTC_US)


@pytest.mark.parametrize(
    "changes",
    [
        {"purposes": frozenset()},
        {"opted_out": frozenset(EXPRESSIONS)},
        {"pseudonym": ""},
        {"study": "x" * 201},
        {"notice_sha256": "AB" * 32},
        {"notice_sha256": "ab" * 31},
        {"device_public_key": bytes(31)},
        {"expires_utc_us": NOW_UTC_US},
        {"issued_utc_us": -1},
        {"expires_utc_us": 1 << 53},
    ],
)
def test_claims_out_of_bounds_are_neither_signed_nor_accepted(
    world: World, changes: dict[str, object]
) -> None:
    claims = dataclasses.replace(world.claims, **changes)  # type: ignore[arg-type]
    with pytest.raises(ReceiptError):
        sign_receipt(claims, world.platform)


def test_two_receipts_never_share_a_digest(world: World) -> None:
    other = sign_receipt(dataclasses.replace(world.claims, pseudonym="viewer-8"), world.platform)
    assert len(receipt_digest(world.receipt)) == 32
    assert receipt_digest(world.receipt) != receipt_digest(other)
