"""Sessions: inviting a viewer, looking at a session, erasing it."""

from __future__ import annotations

import asyncio
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Query, Response

from cloud.api.context import ApiContext, Context
from cloud.api.credential_first import CredentialFirstRoute
from cloud.api.join_tokens import new_join_token
from cloud.api.openapi import refuses
from cloud.api.routes.studies import context_refused
from cloud.api.schemas import (
    ConsentEvidence,
    Deletion,
    DeletionReceipt,
    Invitation,
    Moment,
    NewSession,
    Session,
)
from cloud.api.security import Principal, Scope, admitted_erasing_key, digest, needs
from cloud.web.problems import ProblemError
from privacy.protocol.ids import SessionId, TenantId

router = APIRouter(prefix="/v1/sessions", tags=["sessions"], route_class=CredentialFirstRoute)

ERASURE_WAIT_S = 10.0
ERASURE_POLL_S = 0.1

_RECEIPTS_LOCATION = {
    "Location": {"required": True, "description": "Where the receipt will be.", "schema": {"type": "string"}}
}

Inviter = Annotated[Principal, Depends(needs(Scope.SESSIONS_WRITE))]
Reader = Annotated[Principal, Depends(needs(Scope.RESULTS_READ))]
Eraser = Annotated[Principal, Depends(admitted_erasing_key)]


@router.post("", status_code=201, responses=refuses(404, 409))
async def invite(body: NewSession, context: Context, principal: Inviter) -> Invitation:
    """Invite a viewer of a launched study to one viewing."""
    if not context.policy.allows_capture(body.jurisdiction):
        raise ProblemError(422, "jurisdiction-denied", "The policy does not allow capture there.")
    study = await context.registry.get_study(principal.tenant, body.study_id)
    if study.state != "launched":
        raise ProblemError(409, "study-not-launched", "The study is not launched.")
    if not study.is_context_allowed:
        raise context_refused()
    if body.jurisdiction not in study.jurisdictions:
        raise ProblemError(409, "jurisdiction-denied", "The study is not planned for this jurisdiction.")
    session = SessionId(uuid4())
    token = new_join_token(principal.tenant, session, context.signing_key)
    await context.registry.create_session(
        principal.tenant,
        session=session,
        study_id=body.study_id,
        viewer_id=body.viewer_id,
        jurisdiction=body.jurisdiction,
        locale=body.locale[:2],
        join_token_sha256=digest(token),
        now=context.now(),
    )
    return Invitation(session_id=session, invite=f"{context.settings.public_url}/v1/join#{token}")


@router.get("")
async def list_sessions(
    context: Context,
    principal: Reader,
    study_id: UUID | None = None,
    before: Moment | None = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> list[Session]:
    """List sessions, newest first; `before` (a creation time) pages on."""
    found = await context.registry.list_sessions(
        principal.tenant, study_id=study_id, before=before, limit=limit
    )
    return [Session.of(record) for record in found]


@router.get("/{session_id}")
async def get_session(session_id: UUID, context: Context, principal: Reader) -> Session:
    """Read a session."""
    return Session.of(await context.registry.get_session(principal.tenant, SessionId(session_id)))


@router.post(
    "/{session_id}/erase",
    responses={202: {"model": Deletion, "description": "Under way.", "headers": _RECEIPTS_LOCATION}},
)
async def erase(session_id: UUID, context: Context, principal: Eraser, response: Response) -> Deletion:
    """Delete everything of a session but the evidence of consent, and give the signed receipt.

    The session stops at once, whatever one of the stores does. The lifecycle process deletes; if it takes longer
    than a few seconds the answer is 202, and the receipt appears under `deletion-receipts`.
    """
    session, now = SessionId(session_id), context.now()
    # whose session it is comes first: nobody stops another's
    await context.registry.get_session(principal.tenant, session)
    ended = await context.ender.end(
        session,
        "erase",
        lambda: context.registry.request_erasure(principal.tenant, session, actor=principal.actor, now=now),
    )
    receipt = None
    if ended.is_recorded and (ended.waiting is None or ended.waiting.owed is None):
        receipt = await _await_receipt(
            context, principal.tenant, session, is_waiting=ended.waiting is not None
        )
    if receipt is None:
        response.status_code = 202
        response.headers["Location"] = f"/v1/sessions/{session_id}/deletion-receipts"
        return Deletion(deletion="queued")
    return Deletion(deletion="done", receipt=receipt)


@router.get("/{session_id}/deletion-receipts")
async def list_deletion_receipts(
    session_id: UUID, context: Context, principal: Eraser
) -> list[DeletionReceipt]:
    """List the signed receipts of a session's deletions, oldest first."""
    await context.registry.get_session(principal.tenant, SessionId(session_id))
    found = await context.registry.list_deletion_receipts(principal.tenant, SessionId(session_id))
    return [DeletionReceipt(receipt=record.receipt_jws, at=record.at) for record in found]


@router.get("/{session_id}/consents")
async def list_consents(session_id: UUID, context: Context, principal: Eraser) -> list[ConsentEvidence]:
    """List a session's consent events as evidence, oldest first, with what the viewer's device signed."""
    await context.registry.get_session(principal.tenant, SessionId(session_id))
    found = await context.registry.list_consents(principal.tenant, SessionId(session_id))
    return [ConsentEvidence.of(record) for record in found]


async def _await_receipt(
    context: ApiContext, tenant: TenantId, session: SessionId, *, is_waiting: bool
) -> str | None:
    deadline = asyncio.get_running_loop().time() + (ERASURE_WAIT_S if is_waiting else 0.0)
    while True:
        record = await context.registry.get_session(tenant, session)
        if record.erased_at is not None:
            found = await context.registry.list_deletion_receipts(tenant, session)
            if found:
                return found[-1].receipt_jws
        if asyncio.get_running_loop().time() >= deadline:
            return None
        await asyncio.sleep(ERASURE_POLL_S)
