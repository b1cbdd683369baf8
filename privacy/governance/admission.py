"""Decide whether a session setup may be used: receipt, device and consent belong together.

Ingest asks before it stores a setup, and the classify worker asks again before it opens one, because
neither trusts the way between them (protocol rule S7).
"""

from __future__ import annotations

import hmac
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from privacy.crypto.binding import verify_setup_signature
from privacy.errors import OpeningError, ReceiptError
from privacy.governance.receipts import ReceiptClaims, verify_receipt
from privacy.protocol.ids import SessionId, TenantId
from privacy.protocol.messages import SessionSetup


def admit_setup(setup: SessionSetup, public_key: Ed25519PublicKey, *, now_utc_us: int) -> ReceiptClaims:
    """Check a setup against the receipt it carries; give the receipt's claims.

    Args:
        setup: from outside.
        public_key: the platform's, which signed the receipt.
        now_utc_us: present time.

    Raises:
        OpeningError: the setup is malformed or not signed by the device key it names.
        ReceiptError: the receipt is malformed, forged, expired, for another session, tenant or device,
            or does not allow crops to be sent.
    """
    # S7.1 the device signed this setup
    verify_setup_signature(setup)
    # S7.2 the platform signed the receipt, for this session and tenant, and it still holds
    try:
        session, tenant = SessionId(UUID(setup.session)), TenantId(UUID(setup.tenant))
    except ValueError:
        raise OpeningError("setup's session or tenant is malformed") from None
    claims = verify_receipt(setup.receipt, public_key, now_utc_us=now_utc_us, session=session, tenant=tenant)
    # S7.3 the receipt names the device that signed
    if not hmac.compare_digest(claims.device_public_key, setup.device_public_key):
        raise ReceiptError("receipt is for another device")
    # C2 capture and cloud scoring
    if not claims.choices.may_send_crops:
        raise ReceiptError("receipt does not allow crops to be sent")
    return claims
