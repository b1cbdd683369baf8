"""Signed consent receipts with the fields of ISO/IEC TS 27560 (protocol rules C4, C6).

A receipt is a compact JWS (Ed25519) over canonical JSON; `receipt.schema.json` describes the payload.
Everything that a crop's key is bound to hangs on its SHA-256.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy.crypto.binding import receipt_digest
from privacy.crypto.jws import (
    PUBLIC_KEY_BYTES,
    decode_base64url,
    encode_base64url,
    sign_document,
    verify_document,
)
from privacy.errors import ReceiptError, SignatureError
from privacy.governance.consent import ConsentChoices, Purpose
from privacy.protocol import limits
from privacy.protocol.expressions import EXPRESSIONS, Expression
from privacy.protocol.ids import SessionId, TenantId

__all__ = [
    "RECEIPT_SCHEMA_VERSION",
    "RECEIPT_TYP",
    "ReceiptClaims",
    "receipt_digest",
    "receipt_document",
    "receipt_schema",
    "sign_receipt",
    "verify_receipt",
]

RECEIPT_TYP = "countenance-receipt+jws"
RECEIPT_SCHEMA_VERSION = "countenance-receipt-1"
_SHA256_HEX = re.compile(r"[0-9a-f]{64}\Z")
_TEXT_MAX_CHARS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptClaims:
    """What a viewer agreed to, and who wrote it down.

    Attributes:
        receipt_id: of this receipt.
        session: whose faces it allows to be sent.
        tenant: the studio's id.
        study: id or name of the study.
        title: id or name of the title watched.
        pseudonym: stands for the viewer; never a name or an address.
        controller: who answers for the processing.
        purposes: agreed to.
        opted_out: expressions that must not be reported.
        notice_sha256: of the notice's text as shown, 64 hex digits.
        notice_locale: language of that text.
        jurisdiction: ISO 3166 code, as in the policy.
        device_public_key: Ed25519, 32 bytes; signs every session setup.
        issued_utc_us: when consent was given.
        expires_utc_us: from when on it no longer holds.
    """

    receipt_id: UUID
    session: SessionId
    tenant: TenantId
    study: str
    title: str
    pseudonym: str
    controller: str
    purposes: frozenset[Purpose]
    opted_out: frozenset[Expression]
    notice_sha256: str
    notice_locale: str
    jurisdiction: str
    device_public_key: bytes
    issued_utc_us: int
    expires_utc_us: int

    @property
    def choices(self) -> ConsentChoices:
        """The purposes and opt-outs."""
        return ConsentChoices(purposes=self.purposes, opted_out=self.opted_out)


def receipt_document(claims: ReceiptClaims) -> dict[str, object]:
    """Lay out a receipt's JSON document.

    Raises:
        ReceiptError: a claim is out of its bounds.
    """
    _check(claims)
    return {
        "schema_version": RECEIPT_SCHEMA_VERSION,
        "record_id": str(claims.receipt_id),
        "pii_principal_id": claims.pseudonym,
        "party": {"role": "pii_controller", "name": claims.controller},
        "processing": {
            "notice_sha256": claims.notice_sha256,
            "language": claims.notice_locale,
            "lawful_basis": "explicit_consent",
            "jurisdiction": claims.jurisdiction,
            "purposes": [purpose.value for purpose in Purpose if purpose in claims.purposes],
            "opted_out": [name.value for name in EXPRESSIONS if name in claims.opted_out],
            "study": claims.study,
            "title": claims.title,
        },
        "event": {
            "type": "explicit",
            "state": "given",
            "time_utc_us": claims.issued_utc_us,
            "valid_until_utc_us": claims.expires_utc_us,
        },
        "binding": {
            "session": str(claims.session),
            "tenant": str(claims.tenant),
            "device_public_key": encode_base64url(claims.device_public_key),
        },
    }


def sign_receipt(claims: ReceiptClaims, signing_key: Ed25519PrivateKey) -> str:
    """Sign a receipt with the platform's key.

    Raises:
        ReceiptError: a claim is out of its bounds.
    """
    try:
        jws = sign_document(receipt_document(claims), signing_key, typ=RECEIPT_TYP)
    except SignatureError as error:
        raise ReceiptError(str(error)) from None
    if len(jws) > limits.RECEIPT_MAX_BYTES:
        raise ReceiptError("receipt is over its bound")
    return jws


def verify_receipt(
    jws: str,
    public_key: Ed25519PublicKey,
    *,
    now_utc_us: int,
    session: SessionId | None = None,
    tenant: TenantId | None = None,
) -> ReceiptClaims:
    """Check a receipt and read its claims.

    Args:
        jws: compact serialisation.
        public_key: the platform's.
        now_utc_us: present time.
        session: refuse a receipt for any other.
        tenant: refuse a receipt for any other.

    Raises:
        ReceiptError: malformed, forged, not yet or no longer valid, or meant for another session or tenant.
    """
    try:
        payload = verify_document(jws, public_key, typ=RECEIPT_TYP, limit_bytes=limits.RECEIPT_MAX_BYTES)
        claims = _read(msgspec.json.decode(payload, type=_Record))
    except (SignatureError, msgspec.MsgspecError, ValueError):
        raise ReceiptError("receipt is malformed or forged") from None
    _check(claims)
    if now_utc_us >= claims.expires_utc_us:
        raise ReceiptError("receipt is expired")
    if session is not None and claims.session != session:
        raise ReceiptError("receipt is for another session")
    if tenant is not None and claims.tenant != tenant:
        raise ReceiptError("receipt is for another tenant")
    return claims


@cache
def receipt_schema() -> dict[str, Any]:
    """Load the JSON Schema of a receipt's document from the package."""
    text = resources.files("privacy.governance").joinpath("receipt.schema.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, Any])


class _Party(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    role: Literal["pii_controller"]
    name: str


class _Processing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    notice_sha256: str
    language: str
    lawful_basis: Literal["explicit_consent"]
    jurisdiction: str
    purposes: list[Purpose]
    opted_out: list[Expression]
    study: str
    title: str


class _Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    type: Literal["explicit"]
    state: Literal["given"]
    time_utc_us: int
    valid_until_utc_us: int


class _Binding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    session: str
    tenant: str
    device_public_key: str


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    schema_version: Literal["countenance-receipt-1"]
    record_id: str
    pii_principal_id: str
    party: _Party
    processing: _Processing
    event: _Event
    binding: _Binding


def _read(record: _Record) -> ReceiptClaims:
    return ReceiptClaims(
        receipt_id=UUID(record.record_id),
        session=SessionId(UUID(record.binding.session)),
        tenant=TenantId(UUID(record.binding.tenant)),
        study=record.processing.study,
        title=record.processing.title,
        pseudonym=record.pii_principal_id,
        controller=record.party.name,
        purposes=frozenset(record.processing.purposes),
        opted_out=frozenset(record.processing.opted_out),
        notice_sha256=record.processing.notice_sha256,
        notice_locale=record.processing.language,
        jurisdiction=record.processing.jurisdiction,
        device_public_key=decode_base64url(record.binding.device_public_key),
        issued_utc_us=record.event.time_utc_us,
        expires_utc_us=record.event.valid_until_utc_us,
    )


def _check(claims: ReceiptClaims) -> None:
    texts = (
        claims.study,
        claims.title,
        claims.pseudonym,
        claims.controller,
        claims.notice_locale,
        claims.jurisdiction,
    )
    if not all(0 < len(text) <= _TEXT_MAX_CHARS for text in texts):
        raise ReceiptError("a text of the receipt is empty or too long")
    if not _SHA256_HEX.match(claims.notice_sha256):
        raise ReceiptError("notice digest is malformed")
    if len(claims.device_public_key) != PUBLIC_KEY_BYTES:
        raise ReceiptError("device key has the wrong length")
    if not claims.purposes or len(claims.opted_out) >= len(EXPRESSIONS):
        raise ReceiptError("receipt agrees to nothing")
    if not 0 <= claims.issued_utc_us < claims.expires_utc_us < 1 << 53:
        raise ReceiptError("receipt's times are out of order")
