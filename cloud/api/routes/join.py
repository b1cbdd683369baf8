"""A viewer's agent: notice, consent, ticket, withdrawal.

Obligations of `give_consent`, each block carrying its number:

1. the session still takes consent;
2. the study is launched, and the viewer's jurisdiction is allowed by policy and study;
3. the device that will seal crops holds the key it names (its signature over the request);
4. a declared minor ends the session, with nothing left but that it happened;
5. the choices allow anything to be sent at all;
6. the notice agreed to is the one of the policy in force, and it was shown before;
7. what was agreed is signed, stored append-only, and given to the viewer.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import uuid4

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from fastapi import APIRouter, Query

from cloud.api.context import ApiContext, Context, utc_us
from cloud.api.credential_first import CredentialFirstRoute
from cloud.api.problems import ProblemError
from cloud.api.schemas import (
    Consent,
    IceServerFacts,
    Join,
    Locale,
    NoticeShown,
    NoticeStored,
    NoticeText,
    Receipt,
    Ticket,
    TicketRequest,
    TitleFacts,
    Withdrawal,
)
from cloud.api.security import Agent, WithdrawingAgent
from cloud.ports.records import SessionContext, SessionState
from cloud.signaling.ice_servers import ice_servers
from privacy.consent import REFUSAL_TEXTS, ConsentChoices, ConsentRefusal, Purpose, refuse_consent
from privacy.errors import SignatureError
from privacy.expressions import EXPRESSIONS
from privacy.jws import PUBLIC_KEY_BYTES, canonical_json, load_public_key
from privacy.notices import LOCALES, Notice, render_notice
from privacy.receipts import ReceiptClaims, receipt_digest, sign_receipt
from privacy.tickets import TicketClaims, sign_ticket
from privacy.wire.messages import MINOR

router = APIRouter(prefix="/v1/join", tags=["agent"], route_class=CredentialFirstRoute)

TICKET_LIFETIME = timedelta(seconds=60)

# Not while live: frames stored under the old choices would give a newly opted-out expression away.
_CONSENTING = frozenset({SessionState.CREATED, SessionState.CONSENTED})
_STREAMING = frozenset({SessionState.CONSENTED, SessionState.LIVE})


@router.get("")
async def join(context: Context, agent: Agent, locale: Annotated[Locale | None, Query()] = None) -> Join:
    """Give all that an agent needs to ask for consent and to connect."""
    notice = _notice(context, locale or agent.session.locale)
    return Join(
        session_id=agent.session.id,
        tenant_id=agent.session.tenant,
        study=agent.study.name,
        title=TitleFacts(name=agent.title.name, duration_ms=agent.title.duration_ms),
        jurisdiction=agent.session.jurisdiction,
        capture_allowed=_is_capture_allowed(context, agent),
        minimum_age_years=context.policy.minimum_age_years,
        notice=NoticeText(
            text=notice.text, sha256=notice.sha256, locale=notice.locale, version=notice.version
        ),
        controller=context.settings.controller,
        signing_public_key=public_key_base64(context),
        key_bundle=context.key_bundle(),
        ingest_url=context.settings.ingest_url,
        expressions=list(EXPRESSIONS),
        purposes=list(Purpose),
        state=str(agent.session.state),
        receipt=agent.session.receipt_jws,
        server_utc_us=int(context.now().timestamp() * 1_000_000),
    )


@router.post("/notice", status_code=201)
async def store_notice(body: NoticeShown, context: Context, agent: Agent) -> NoticeStored:
    """Store that the notice in force was shown (rule A1)."""
    _require(agent, _CONSENTING)
    notice = _notice(context, body.locale)
    if notice.sha256 != body.sha256:
        raise ProblemError(409, "notice-outdated", "This is not the notice in force: fetch it again.")
    event = await context.registry.record_notice(
        agent.session.tenant,
        agent.session.id,
        notice_sha256=bytes.fromhex(body.sha256),
        locale=notice.locale,
        now=context.now(),
    )
    return NoticeStored(notice_event_id=event)


@router.post("/consent", status_code=201)
async def give_consent(body: Consent, context: Context, agent: Agent) -> Receipt:
    """Store a consent and give its signed receipt."""
    # 1, 2
    _require(agent, _CONSENTING)
    if agent.study.state != "launched":
        raise ProblemError(409, "study-not-launched", "The study is not open.")
    # 3
    device_public_key = _verified_device(body)
    # 2, 4, 5
    choices = ConsentChoices(purposes=frozenset(body.purposes), opted_out=frozenset(body.opted_out))
    refusal = refuse_consent(
        choices, is_adult=body.adult, is_capture_allowed=_is_capture_allowed(context, agent)
    )
    now = context.now()
    if refusal is not None:
        await _record_refusal(context, agent, body, refusal, now)
        raise ProblemError(403, f"consent-{refusal}".replace("_", "-"), REFUSAL_TEXTS[refusal])
    # 6
    locale = next(
        (name for name in LOCALES if render_notice(context.policy, name).sha256 == body.notice_sha256), None
    )
    shown = await context.registry.has_notice(
        agent.session.tenant, agent.session.id, notice_sha256=bytes.fromhex(body.notice_sha256)
    )
    if locale is None or not shown:
        raise ProblemError(409, "notice-not-shown", "Consent needs the notice in force, shown before.")
    # 7
    return await _store_consent(context, agent, body, choices, device_public_key, locale, now)


@router.post("/ticket", status_code=201)
async def issue_ticket(body: TicketRequest, context: Context, agent: Agent) -> Ticket:
    """Give a ticket for signalling, good for a minute and for this receipt alone.

    A session whose connection was lost gets one for ten minutes more (protocol rule S12).
    """
    session, now = agent.session, context.now()
    if not session.is_resumable(now):
        _require(agent, _STREAMING)
    if session.receipt_sha256 is None or session.receipt_sha256.hex() != body.receipt_sha256:
        raise ProblemError(409, "receipt-unknown", "This is not the session's latest receipt.")
    if session.receipt_expires_at is None or now >= session.receipt_expires_at:
        raise ProblemError(410, "receipt-expired", "The consent has expired: ask again.")
    if not _is_capture_allowed(context, agent) or agent.study.state != "launched":
        raise ProblemError(403, "capture-not-allowed", "Capture is not allowed for this session now.")
    if await context.revoker.is_revoked(session.id):
        raise ProblemError(410, "session-over", "The session is over.")
    expires_at = now + TICKET_LIFETIME
    claims = TicketClaims(
        session=session.id,
        tenant=session.tenant,
        receipt_sha256=body.receipt_sha256,
        expires_utc_us=utc_us(expires_at),
        nonce=secrets.token_urlsafe(16),
    )
    return Ticket(
        ticket=sign_ticket(claims, context.signing_key),
        ingest_url=context.settings.ingest_url,
        expires_at=expires_at,
        protocol_minor=MINOR,
        ice_servers=[
            IceServerFacts(url=server.url, username=server.username, credential=server.credential)
            for server in ice_servers(
                context.settings.ice_urls,
                context.settings.turn_secret,
                now_s=int(now.timestamp()),
                nonce=secrets.token_hex(8),
            )
        ],
    )


@router.post("/withdraw")
async def withdraw(context: Context, agent: WithdrawingAgent) -> Withdrawal:
    """Withdraw consent: the database first, then everybody on the street is told. Harmless when repeated."""
    waiting = await context.registry.withdraw(
        agent.session.tenant, agent.session.id, actor="viewer", now=context.now()
    )
    await context.revoker.revoke(agent.session.id)
    return Withdrawal(deletion="done" if waiting is None else "queued")


def public_key_base64(context: ApiContext) -> str:
    """Give the platform's public signing key in base64."""
    raw = context.signing_key.public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw
    )
    return base64.b64encode(raw).decode("ascii")


def decode_base64(text: str) -> bytes | None:
    """Read base64 of either alphabet, padded or not; None if it is neither."""
    try:
        return base64.b64decode(
            text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=_alphabet(text)
        )
    except (binascii.Error, ValueError):
        return None


def _alphabet(text: str) -> bytes:
    return b"-_" if "-" in text or "_" in text else b"+/"


def _notice(context: ApiContext, locale: str) -> Notice:
    if locale[:2] not in LOCALES:
        raise ProblemError(422, "locale-unknown", f"There is a notice in {', '.join(LOCALES)} only.")
    return render_notice(context.policy, locale[:2])


def _is_capture_allowed(context: ApiContext, agent: SessionContext) -> bool:
    where = agent.session.jurisdiction
    return context.policy.allows_capture(where) and where in agent.study.jurisdictions


def _require(agent: SessionContext, states: frozenset[SessionState]) -> None:
    state = agent.session.state
    if state in states:
        return
    if state is SessionState.CREATED:
        raise ProblemError(409, "consent-missing", "Give consent first.")
    if state is SessionState.LIVE:
        raise ProblemError(
            409,
            "session-live",
            "Consent cannot change while watching: withdraw, then ask for a new invitation.",
        )
    raise ProblemError(410, "session-over", "The session is over.")


def _verified_device(body: Consent) -> bytes:
    refused = ProblemError(
        422, "device-signature", "The device's signature over this request does not verify."
    )
    key, signature = decode_base64(body.device_public_key), decode_base64(body.device_signature)
    if key is None or signature is None or len(key) != PUBLIC_KEY_BYTES:
        raise refused
    signed: dict[str, Any] = body.model_dump(mode="json", exclude={"device_signature"})
    if "opted_out" not in body.model_fields_set:
        del signed["opted_out"]
    try:
        load_public_key(key).verify(signature, canonical_json(signed))
    except (InvalidSignature, SignatureError):
        raise refused from None
    return key


async def _record_refusal(
    context: ApiContext, agent: SessionContext, body: Consent, refusal: ConsentRefusal, now: datetime
) -> None:
    is_minor = refusal is ConsentRefusal.MINOR
    await context.registry.record_refusal(
        agent.session.tenant,
        agent.session.id,
        is_minor=is_minor,
        notice_sha256=bytes.fromhex(body.notice_sha256),
        now=now,
    )
    if is_minor:
        await context.revoker.revoke(agent.session.id)


async def _store_consent(
    context: ApiContext,
    agent: SessionContext,
    body: Consent,
    choices: ConsentChoices,
    device_public_key: bytes,
    locale: str,
    now: datetime,
) -> Receipt:
    expires_at = now + timedelta(microseconds=context.policy.consent_ttl_us)
    claims = ReceiptClaims(
        receipt_id=uuid4(),
        session=agent.session.id,
        tenant=agent.session.tenant,
        study=agent.study.name,
        title=agent.title.name,
        pseudonym=agent.viewer.pseudonym,
        controller=context.settings.controller,
        purposes=choices.purposes,
        opted_out=choices.opted_out,
        notice_sha256=body.notice_sha256,
        notice_locale=locale,
        jurisdiction=agent.session.jurisdiction,
        device_public_key=device_public_key,
        issued_utc_us=utc_us(now),
        expires_utc_us=utc_us(expires_at),
    )
    receipt = sign_receipt(claims, context.signing_key)
    sha256 = receipt_digest(receipt)
    await context.registry.record_consent(
        agent.session.tenant,
        agent.session.id,
        receipt_jws=receipt,
        receipt_sha256=sha256,
        receipt_expires_at=expires_at,
        notice_sha256=bytes.fromhex(body.notice_sha256),
        purposes=[str(purpose) for purpose in Purpose if purpose in choices.purposes],
        opted_out=[str(name) for name in EXPRESSIONS if name in choices.opted_out],
        now=now,
    )
    return Receipt(receipt=receipt, receipt_sha256=sha256.hex(), expires_at=expires_at)
