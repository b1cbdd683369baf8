"""Session tickets: the API lets one agent into signalling, for minutes (protocol rule S6)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy.crypto.jws import sign_document, verify_document
from privacy.errors import SignatureError, TicketError
from privacy.protocol.ids import SessionId, TenantId

TICKET_TYP = "countenance-ticket+jws"
TICKET_MAX_BYTES = 2_048
TICKET_LIFETIME_MAX_US = 600 * 1_000_000
"""A ticket that claims to live longer is refused, whoever signed it."""

_SHA256_HEX = re.compile(r"[0-9a-f]{64}\Z")
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketClaims:
    """What a ticket lets in.

    Attributes:
        session: the session.
        tenant: its studio.
        receipt_sha256: hex digest of the only receipt it may be used with.
        expires_utc_us: from when on it is refused.
        nonce: 16 to 64 characters of base64url; makes each ticket different.
    """

    session: SessionId
    tenant: TenantId
    receipt_sha256: str
    expires_utc_us: int
    nonce: str


def sign_ticket(claims: TicketClaims, signing_key: Ed25519PrivateKey) -> str:
    """Sign a ticket with the platform's key."""
    document = {
        "session": str(claims.session),
        "tenant": str(claims.tenant),
        "receipt_sha256": claims.receipt_sha256,
        "expires_utc_us": claims.expires_utc_us,
        "nonce": claims.nonce,
    }
    return sign_document(document, signing_key, typ=TICKET_TYP)


def verify_ticket(jws: str, public_key: Ed25519PublicKey, *, now_utc_us: int) -> TicketClaims:
    """Check a ticket and read its claims.

    Raises:
        TicketError: malformed, forged, expired or too long-lived.
    """
    try:
        payload = verify_document(jws, public_key, typ=TICKET_TYP, limit_bytes=TICKET_MAX_BYTES)
        record = msgspec.json.decode(payload, type=TicketDocument)
        session, tenant = SessionId(UUID(record.session)), TenantId(UUID(record.tenant))
    except (SignatureError, msgspec.MsgspecError, ValueError):
        raise TicketError("ticket is malformed or forged") from None
    if not (_SHA256_HEX.match(record.receipt_sha256) and _NONCE.match(record.nonce)):
        raise TicketError("ticket's digest or nonce is malformed")
    if not now_utc_us < record.expires_utc_us <= now_utc_us + TICKET_LIFETIME_MAX_US:
        raise TicketError("ticket is expired or too long-lived")
    return TicketClaims(
        session=session,
        tenant=tenant,
        receipt_sha256=record.receipt_sha256,
        expires_utc_us=record.expires_utc_us,
        nonce=record.nonce,
    )


class TicketDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a signed ticket says (protocol rule S6)."""

    session: str
    tenant: str
    receipt_sha256: str
    expires_utc_us: int
    nonce: str
