"""A viewer's agent: notice, consent, ticket, withdrawal.

Obligations of `give_consent`, each block carrying its number:

1. the session still takes consent;
2. the study is launched, and the viewer's jurisdiction is allowed by policy and study;
3. the device that will seal crops holds the key it names (its signature over the request), and no other device
   consented before: the first consent binds its session to one device;
4. a declared minor ends the session, with nothing left but that it happened;
5. the choices allow anything to be sent at all;
6. the notice agreed to is the one of the policy in force, and it was shown before;
7. what was agreed is signed, stored append-only with what the device signed, and given to the viewer; an earlier
   receipt is out of force before that.
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
from fastapi import APIRouter, Query, Response

from cloud.api.context import ApiContext, Context, utc_us
from cloud.api.credential_first import CredentialFirstRoute
from cloud.api.openapi import refuses
from cloud.api.schemas import (
    Consent,
    Deletion,
    DeletionReceipt,
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
from cloud.errors import DeviceBoundError
from cloud.sessions.records import SessionContext, SessionState, SignedConsent
from cloud.signaling.ice_servers import ice_servers
from cloud.web.problems import ProblemError
from privacy.crypto.jws import PUBLIC_KEY_BYTES, canonical_json, load_public_key
from privacy.errors import SignatureError
from privacy.governance.consent import REFUSAL_TEXTS, ConsentChoices, ConsentRefusal, Purpose, refuse_consent
from privacy.governance.notices import LOCALES, Notice, render_notice
from privacy.governance.receipts import ReceiptClaims, receipt_digest, sign_receipt
from privacy.governance.tickets import TicketClaims, sign_ticket
from privacy.protocol.expressions import EXPRESSIONS
from privacy.protocol.messages import MINOR

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


@router.post("/notice", status_code=201, responses=refuses(409, 410))
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


@router.post("/consent", status_code=201, responses=refuses(403, 409, 410))
async def give_consent(body: Consent, context: Context, agent: Agent) -> Receipt:
    """Store a consent and give its signed receipt."""
    # 1, 2
    _require(agent, _CONSENTING)
    if agent.study.state != "launched":
        raise ProblemError(409, "study-not-launched", "The study is not open.")
    # 3
    signed = _verified_device(body)
    bound_to = agent.session.device_public_key
    if bound_to is not None and bound_to != signed.device_public_key:
        raise DeviceBoundError("consent to this session was given on another device")
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
    return await _store_consent(context, agent, body, choices, signed, locale, now)


@router.post("/ticket", status_code=201, responses=refuses(403, 409, 410))
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
    if not await context.revoker.put_in_force(
        session.id, receipt_sha256=body.receipt_sha256, ordinal=session.receipt_ordinal
    ):
        raise ProblemError(409, "receipt-unknown", "A later consent was begun: give consent again.")
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


@router.post("/withdraw", responses=refuses(404) | {202: {"model": Withdrawal}})
async def withdraw(context: Context, agent: WithdrawingAgent, response: Response) -> Withdrawal:
    """Withdraw consent, at once: the invitation is enough, from any device. Harmless when repeated.

    The stream is stopped and the database written side by side; the answer comes within a second and says what is
    done and what is still tried (202).
    """
    now = context.now()
    ended = await context.ender.end(
        agent.session,
        "withdraw",
        lambda: context.registry.withdraw(agent.tenant, agent.session, actor="viewer", now=now),
    )
    if not ended.is_settled:
        response.status_code = 202
    is_written = ended.is_recorded and (ended.waiting is None or ended.waiting.owed is None)
    return Withdrawal(
        stream="stopped" if ended.is_told else "stopping",
        record="done" if is_written else "queued",
        deletion="done" if ended.is_recorded and ended.waiting is None else "queued",
    )


@router.get("/deletion-receipt", responses=refuses(404) | {202: {"model": Deletion}})
async def get_deletion_receipt(
    context: Context, agent: WithdrawingAgent, response: Response
) -> DeletionReceipt | Deletion:
    """Give the signed receipt of this session's deletion; 202 while it is being deleted."""
    found = await context.registry.list_deletion_receipts(agent.tenant, agent.session)
    if found:
        return DeletionReceipt(receipt=found[-1].receipt_jws, at=found[-1].at)
    record = await context.registry.get_session(agent.tenant, agent.session)
    if record.state is not SessionState.WITHDRAWN:
        raise ProblemError(
            404, "no-deletion", "No deletion of this session was asked for, or its receipt is kept no longer."
        )
    response.status_code = 202
    response.headers["Retry-After"] = "1"
    return Deletion(deletion="queued")


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
    return render_notice(context.policy, locale[:2])


def _is_capture_allowed(context: ApiContext, agent: SessionContext) -> bool:
    where = agent.session.jurisdiction
    is_allowed_there = context.policy.allows_capture(where) and where in agent.study.jurisdictions
    return is_allowed_there and agent.study.is_context_allowed


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


def _verified_device(body: Consent) -> SignedConsent:
    refused = ProblemError(
        403, "device-signature", "The device's signature over this request does not verify."
    )
    key, signature = decode_base64(body.device_public_key), decode_base64(body.device_signature)
    if key is None or signature is None or len(key) != PUBLIC_KEY_BYTES:
        raise refused
    signed: dict[str, Any] = body.model_dump(mode="json", exclude={"device_signature"})
    if "opted_out" not in body.model_fields_set:
        del signed["opted_out"]
    request = canonical_json(signed)
    try:
        load_public_key(key).verify(signature, request)
    except (InvalidSignature, SignatureError):
        raise refused from None
    return SignedConsent(device_public_key=key, device_signature=signature, request=request.decode())


async def _record_refusal(
    context: ApiContext, agent: SessionContext, body: Consent, refusal: ConsentRefusal, now: datetime
) -> None:
    at, shown = (agent.session.tenant, agent.session.id), bytes.fromhex(body.notice_sha256)
    if refusal is ConsentRefusal.MINOR:
        await context.ender.end(
            agent.session.id,
            "minor",
            lambda: context.registry.end_for_minor(*at, notice_sha256=shown, now=now),
        )
    else:
        await context.registry.record_refusal(*at, is_minor=False, notice_sha256=shown, now=now)


async def _end_earlier_receipt(context: ApiContext, agent: SessionContext, sha256: bytes) -> None:
    """Put an earlier receipt out of force before a later one is stored; without Redis neither happens (503)."""
    if agent.session.receipt_sha256 is None:
        return
    is_next = await context.revoker.put_in_force(
        agent.session.id, receipt_sha256=sha256.hex(), ordinal=agent.session.receipt_ordinal + 1
    )
    if not is_next:
        raise ProblemError(409, "consent-overtaken", "Another consent came in meanwhile: give consent again.")


async def _store_consent(
    context: ApiContext,
    agent: SessionContext,
    body: Consent,
    choices: ConsentChoices,
    signed: SignedConsent,
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
        device_public_key=signed.device_public_key,
        issued_utc_us=utc_us(now),
        expires_utc_us=utc_us(expires_at),
    )
    receipt = sign_receipt(claims, context.signing_key)
    sha256 = receipt_digest(receipt)
    await _end_earlier_receipt(context, agent, sha256)
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
        signed=signed,
    )
    return Receipt(receipt=receipt, receipt_sha256=sha256.hex(), expires_at=expires_at)
