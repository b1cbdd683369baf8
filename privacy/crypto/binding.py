"""What a session's key is bound to: the HPKE `info`, the device's signature, the AAD.

Sealing and opening both compute these; neither trusts the other's copy (protocol rules K3, K5, S2).

    info = "countenance/1 session" | suite (1) | key id length (1) | key id | session (16) | tenant (16)
         | SHA-256(receipt) (32) | device Ed25519 public key (32) | epoch (4) | not_after_utc_us (8)
"""

from __future__ import annotations

import hashlib
import struct
from uuid import UUID

from cryptography.exceptions import InvalidSignature

from privacy.crypto.jws import PUBLIC_KEY_BYTES, SIGNATURE_BYTES, load_public_key
from privacy.crypto.keys import SESSION_SECRET_BYTES, X25519_BYTES
from privacy.crypto.small_order import is_sound_x25519
from privacy.errors import OpeningError, SignatureError
from privacy.protocol import limits
from privacy.protocol.envelope import SUITE
from privacy.protocol.ids import KeyId, SessionId, TenantId
from privacy.protocol.messages import SessionSetup

ENCAPSULATED_BYTES = X25519_BYTES + SESSION_SECRET_BYTES + limits.TAG_BYTES
"""HPKE single shot: encapsulated key, then the sealed session secret with its tag."""

_INFO_LABEL = b"countenance/1 session"
_SIGNATURE_LABEL = b"countenance/1 setup"
_TAIL = struct.Struct(">IQ")
_KEY_ID_MAX_BYTES = 64
_UTC_US_MAX = 1 << 53


def receipt_digest(receipt: str) -> bytes:
    """Give SHA-256 of a receipt's compact JWS, 32 bytes."""
    return hashlib.sha256(receipt.encode()).digest()


def session_info(
    *,
    key_id: KeyId,
    session: SessionId,
    tenant: TenantId,
    receipt_sha256: bytes,
    device_public_key: bytes,
    epoch: int,
    not_after_utc_us: int,
) -> bytes:
    """Lay out the HPKE `info` of one epoch; see the module's docstring."""
    name = key_id.encode("ascii")
    return b"".join(
        (
            _INFO_LABEL,
            bytes((SUITE, len(name))),
            name,
            session.bytes,
            tenant.bytes,
            receipt_sha256,
            device_public_key,
            _TAIL.pack(epoch, not_after_utc_us),
        )
    )


def setup_info(setup: SessionSetup) -> bytes:
    """Check a setup's bounds and lay out the `info` it claims.

    Raises:
        OpeningError: a field is out of its bounds.
    """
    if len(setup.device_public_key) != PUBLIC_KEY_BYTES or len(setup.encapsulated) != ENCAPSULATED_BYTES:
        raise OpeningError("setup's key or blob has the wrong length")
    if len(setup.device_signature) != SIGNATURE_BYTES or len(setup.receipt) > limits.RECEIPT_MAX_BYTES:
        raise OpeningError("setup's signature or receipt has the wrong length")
    if not 1 <= setup.epoch < 1 << 32 or not 0 <= setup.not_after_utc_us < _UTC_US_MAX:
        raise OpeningError("setup's epoch or end is out of range")
    if not (0 < len(setup.key_id) <= _KEY_ID_MAX_BYTES and setup.key_id.isascii()):
        raise OpeningError("setup's key id is malformed")
    try:
        session, tenant = UUID(setup.session), UUID(setup.tenant)
        digest = receipt_digest(setup.receipt)
    except ValueError:
        raise OpeningError("setup's session, tenant or receipt is malformed") from None
    return session_info(
        key_id=KeyId(setup.key_id),
        session=SessionId(session),
        tenant=TenantId(tenant),
        receipt_sha256=digest,
        device_public_key=setup.device_public_key,
        epoch=setup.epoch,
        not_after_utc_us=setup.not_after_utc_us,
    )


def signed_bytes(info: bytes, encapsulated: bytes) -> bytes:
    """Give what the device signs: HPKE's base mode leaves the sender anonymous (protocol rule K5)."""
    return _SIGNATURE_LABEL + hashlib.sha256(info + encapsulated).digest()


def verify_setup_signature(setup: SessionSetup) -> bytes:
    """Check a setup's bounds and its device's signature; give its `info`.

    Needs no secret, so that ingest can refuse a forged setup before it stores one.

    Raises:
        OpeningError: malformed, or not signed by the device key it names.
    """
    info = setup_info(setup)
    try:
        key = load_public_key(setup.device_public_key)
        key.verify(setup.device_signature, signed_bytes(info, setup.encapsulated))
    except (SignatureError, InvalidSignature):
        raise OpeningError("setup is not signed by its device") from None
    if not is_sound_x25519(setup.encapsulated[:X25519_BYTES]):
        raise OpeningError("setup is sealed with a key of small order")
    return info


def frame_aad(raw_header: bytes, receipt_sha256: bytes) -> bytes:
    """Give the AAD of one frame: its 64-byte header, then the receipt's digest, which is not sent."""
    return raw_header + receipt_sha256
