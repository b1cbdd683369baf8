"""Studios and their keys."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Response

from cloud.api.context import Context
from cloud.api.credential_first import CredentialFirstRoute
from cloud.api.openapi import refuses
from cloud.api.schemas import Key, NewKey, NewStudio, Studio
from cloud.api.security import (
    SCOPES_OF,
    KeyRole,
    Principal,
    Scope,
    admitted_admin,
    issue_api_key,
    needs,
)
from cloud.web.problems import ProblemError
from privacy.protocol.ids import TenantId

router = APIRouter(prefix="/v1", tags=["studios"], route_class=CredentialFirstRoute)

KeyWriter = Annotated[Principal, Depends(needs(Scope.KEYS_WRITE))]


@router.post("/studios", status_code=201, dependencies=[Depends(admitted_admin)])
async def register_studio(body: NewStudio, context: Context) -> Studio:
    """Register a studio and give its first key."""
    now, tenant = context.now(), TenantId(uuid4())
    async with context.registry.unit_of_work(tenant):
        await context.registry.create_tenant(name=body.name, now=now, tenant=tenant)
        _, key = await issue_api_key(
            context.registry, tenant, role=KeyRole.ADMIN, scopes=SCOPES_OF[KeyRole.ADMIN], now=now
        )
        await context.registry.append_audit(
            tenant, actor="platform", action="studio.registered", subject=str(tenant), detail={}, now=now
        )
    return Studio(tenant_id=tenant, api_key=key)


@router.post("/keys", status_code=201, responses=refuses(409))
async def make_key(body: NewKey, context: Context, principal: KeyWriter) -> Key:
    """Make a further key of a role, with the role's scopes or fewer."""
    now = context.now()
    allowed = SCOPES_OF[body.role]
    scopes = allowed if body.scopes is None else body.scopes
    if not scopes <= allowed:
        raise ProblemError(
            403, "scope-not-of-role", f"A key of role {body.role} cannot have all these scopes."
        )
    expires_at = body.expires_at
    if expires_at is not None and expires_at <= now:
        raise ProblemError(409, "expiry-past", "expires_at must lie in the future.")
    async with context.registry.unit_of_work(principal.tenant):
        key_id, key = await issue_api_key(
            context.registry,
            principal.tenant,
            role=body.role,
            scopes=scopes,
            now=now,
            expires_at=expires_at,
        )
        await context.registry.append_audit(
            principal.tenant,
            actor=principal.actor,
            action="key.made",
            subject=str(key_id),
            detail={"role": str(body.role), "scopes": " ".join(sorted(scopes))},
            now=now,
        )
    return Key(key_id=key_id, role=body.role, scopes=sorted(scopes), expires_at=expires_at, api_key=key)


@router.delete("/keys/{key_id}", status_code=204, response_class=Response)
async def revoke_key(key_id: UUID, context: Context, principal: KeyWriter) -> None:
    """Revoke a key; it is refused from the next request on."""
    now = context.now()
    if await context.registry.find_api_key(principal.tenant, key_id) is None:
        raise ProblemError(404, "not-found", "There is no such thing here.")
    async with context.registry.unit_of_work(principal.tenant):
        await context.registry.revoke_api_key(principal.tenant, key_id, now=now)
        await context.registry.append_audit(
            principal.tenant,
            actor=principal.actor,
            action="key.revoked",
            subject=str(key_id),
            detail={},
            now=now,
        )
