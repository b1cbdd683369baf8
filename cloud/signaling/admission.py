"""Whether the session that an offer asks for may begin.

Two steps, so that nothing is looked up for an agent that proves nothing: first what the offer proves by
itself, then what the platform knows about that session.

Rules (protocol.md, admission):

A1  The ticket is signed by the platform and unexpired; it names session, tenant and receipt.
A2  The setup names the ticket's session and tenant, and carries the ticket's receipt.
A3  Setup, receipt and device belong together, and the receipt permits sending (`privacy.governance.admission`).
A4  The setup's epoch lasts, but no longer than an epoch may.
A5  The session is not revoked, and no other receipt is in force.
A6  The epoch is greater than every epoch that was admitted before (fencing).
A7  The process has room; a session that it serves already needs none.
"""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cloud.errors import AdmissionError
from privacy.errors import OpeningError, ReceiptError, TicketError
from privacy.governance.admission import admit_setup
from privacy.governance.receipts import receipt_digest
from privacy.governance.tickets import verify_ticket
from privacy.protocol import limits
from privacy.protocol.ids import SessionId, TenantId
from privacy.protocol.messages import MINOR, Offer, SessionSetup

RETRY_FULL_MS = 2_000
RETRY_JITTER_MS = 8_000
CLOCK_SLACK_US = 60_000_000
"""How far an agent's idea of UTC may run ahead when it sets the end of an epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A session that has proven itself; `SessionState` decides whether it may begin now.

    Attributes:
        receipt_sha256: hex digest of the receipt it runs under.
        until_utc_us: end of the epoch or of the receipt, whichever is first.
        consent_until_utc_us: end of the receipt.
        minor: minor version that both sides speak (protocol rule S14).
    """

    session: SessionId
    tenant: TenantId
    epoch: int
    receipt_sha256: str
    until_utc_us: int
    consent_until_utc_us: int
    setup: SessionSetup
    minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """What the platform knows when a session asks to begin.

    Attributes:
        revoked: consent was withdrawn.
        receipt_in_force: hex digest of the session's receipt in force, None where nothing is known.
        fenced_epoch: greatest epoch admitted so far, 0 for none.
        served_here: this process holds a live peer of the session.
        live_sessions: sessions this process serves.
        max_sessions: how many it may serve.
    """

    revoked: bool
    fenced_epoch: int
    served_here: bool
    live_sessions: int
    max_sessions: int
    receipt_in_force: str | None = None


def check_offer(offer: Offer, *, platform_key: Ed25519PublicKey, now_utc_us: int) -> Admitted:
    """Check what an offer proves by itself (A1 to A4).

    Raises:
        AdmissionError: 401 for a ticket, 403 for consent, 422 for a setup that is refused.
    """
    setup = offer.setup
    # A1
    try:
        ticket = verify_ticket(offer.ticket, platform_key, now_utc_us=now_utc_us)
    except TicketError:
        raise AdmissionError(401, "the session ticket is not valid; ask for a new one") from None
    # A2
    if setup.session != str(ticket.session) or setup.tenant != str(ticket.tenant):
        raise AdmissionError(422, "the setup names another session than the ticket")
    if receipt_digest(setup.receipt).hex() != ticket.receipt_sha256:
        raise AdmissionError(403, "the ticket was made for another consent receipt")
    # A3
    try:
        receipt = admit_setup(setup, platform_key, now_utc_us=now_utc_us)
    except ReceiptError:
        raise AdmissionError(403, "the consent receipt does not allow this session") from None
    except OpeningError:
        raise AdmissionError(422, "the session setup is malformed or not signed by its device") from None
    # A4
    latest_us = now_utc_us + limits.EPOCH_MAX_S * 1_000_000 + CLOCK_SLACK_US
    if not now_utc_us < setup.not_after_utc_us <= latest_us:
        raise AdmissionError(422, "the setup's epoch is over, or lasts too long")
    return Admitted(
        session=ticket.session,
        tenant=ticket.tenant,
        epoch=setup.epoch,
        receipt_sha256=ticket.receipt_sha256,
        until_utc_us=min(setup.not_after_utc_us, receipt.expires_utc_us),
        consent_until_utc_us=receipt.expires_utc_us,
        setup=setup,
        minor=min(offer.minor, MINOR),
    )


def check_state(admitted: Admitted, state: SessionState, *, jitter: float) -> None:
    """Check what the platform knows (A5 to A7).

    Args:
        admitted: the session that asks.
        state: what is known about it.
        jitter: uniform in [0, 1); spreads retries.

    Raises:
        AdmissionError: 410 revoked, 403 another receipt in force, 409 fenced, 503 full (with a time to come back).
    """
    # A5
    if state.revoked:
        raise AdmissionError(410, "consent was withdrawn")
    if state.receipt_in_force not in (None, admitted.receipt_sha256):
        raise superseded()
    # A6
    if admitted.epoch <= state.fenced_epoch:
        raise fenced(state.fenced_epoch)
    # A7
    if not state.served_here and state.live_sessions >= state.max_sessions:
        wait_ms = RETRY_FULL_MS + int(jitter * RETRY_JITTER_MS)
        raise AdmissionError(503, "no room for another session", retry_after_ms=wait_ms)


def superseded() -> AdmissionError:
    """Make the refusal of a receipt that a later consent has replaced."""
    return AdmissionError(403, "consent was given anew; ask for a ticket under the new receipt")


def fenced(epoch: int) -> AdmissionError:
    """Make the refusal of an epoch that is not new."""
    return AdmissionError(409, f"the session has reached epoch {epoch}; begin a later one")
