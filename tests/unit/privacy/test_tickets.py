"""A ticket lets one session in, briefly."""

from __future__ import annotations

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from privacy.crypto.jws import sign_document
from privacy.errors import TicketError
from privacy.governance.receipts import receipt_digest
from privacy.governance.tickets import (
    TICKET_LIFETIME_MAX_US,
    TICKET_TYP,
    TicketClaims,
    sign_ticket,
    verify_ticket,
)
from tests.unit.privacy.worlds import NOW_UTC_US, SESSION, TENANT, World


def ticket_claims(world: World) -> TicketClaims:
    return TicketClaims(
        session=SESSION,
        tenant=TENANT,
        receipt_sha256=receipt_digest(world.receipt).hex(),
        expires_utc_us=NOW_UTC_US + 120_000_000,
        nonce="n" * 22,
    )


def test_a_ticket_survives_the_round_trip_until_it_expires(world: World) -> None:
    claims = ticket_claims(world)
    jws = sign_ticket(claims, world.platform)
    root = world.platform.public_key()
    assert verify_ticket(jws, root, now_utc_us=NOW_UTC_US) == claims
    assert verify_ticket(jws, root, now_utc_us=claims.expires_utc_us - 1) == claims
    with pytest.raises(TicketError, match="expired"):
        verify_ticket(jws, root, now_utc_us=claims.expires_utc_us)


def test_a_ticket_that_claims_to_live_too_long_is_refused(world: World) -> None:
    claims = dataclasses.replace(ticket_claims(world), expires_utc_us=NOW_UTC_US + TICKET_LIFETIME_MAX_US + 1)
    with pytest.raises(TicketError, match="long-lived"):
        verify_ticket(sign_ticket(claims, world.platform), world.platform.public_key(), now_utc_us=NOW_UTC_US)


@pytest.mark.parametrize("changes", [{"receipt_sha256": "00"}, {"nonce": "short"}, {"nonce": "n" * 65}])
def test_a_ticket_with_a_malformed_claim_is_refused(world: World, changes: dict[str, str]) -> None:
    jws = sign_ticket(dataclasses.replace(ticket_claims(world), **changes), world.platform)  # type: ignore[arg-type]
    with pytest.raises(TicketError, match="malformed"):
        verify_ticket(jws, world.platform.public_key(), now_utc_us=NOW_UTC_US)


def test_a_forged_ticket_or_another_signed_document_is_refused(world: World) -> None:
    forged = sign_ticket(ticket_claims(world), Ed25519PrivateKey.generate())
    extra = sign_document({"session": str(SESSION)}, world.platform, typ=TICKET_TYP)
    for jws in (forged, extra, world.receipt):
        with pytest.raises(TicketError):
            verify_ticket(jws, world.platform.public_key(), now_utc_us=NOW_UTC_US)


@given(st.text(max_size=100))
def test_garbage_raises_only_the_documented_error(text: str) -> None:
    with pytest.raises(TicketError):
        verify_ticket(text, Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key(), now_utc_us=0)
