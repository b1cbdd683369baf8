"""Who is asking: the platform's administrator, a studio's key, or a viewer's agent with a join token.

| credential | looks like | kept as |
|---|---|---|
| admin token | `cnta_<secret>` in `X-Admin-Token` | file in the state directory |
| API key | `cnt_<tenant>_<key id>_<secret>` as bearer or in `X-API-Key` | SHA-256 of the secret |
| join token | `<tenant>.<session>.<secret>` as bearer | SHA-256 of the whole token, until the session is erased |

The tenant is in the credential because rows of a tenant can only be seen inside its own transaction.
Secrets are compared in constant time, and every failure looks the same from outside. Failures are counted
(`cloud.web.attempts`); whoever withdraws or erases is looked at however many there were. To withdraw, and to fetch
the receipt of a deletion, the token's own tag is enough (`cloud.api.join_tokens`).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from uuid import UUID, uuid4

from fastapi import Depends, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from prometheus_client import Counter
from starlette.requests import Request

from cloud.api.context import ApiContext, Context
from cloud.api.join_tokens import is_genuine
from cloud.consents.registry import Registry
from cloud.sessions.records import SessionContext
from cloud.web.attempts import Attempt
from cloud.web.connections import source_of
from cloud.web.problems import ProblemError, too_many_failures, unauthorised
from privacy.protocol.ids import SessionId, TenantId

Admitted = TypeVar("Admitted")

SECRET_BYTES = 32
CREDENTIAL_MAX_CHARS = 256

_SHUT_OUT = Counter(
    "countenance_api_credentials_unseen_total", "Requests answered 429 after too many wrong credentials"
)
_LAST_RESORT = Counter(
    "countenance_api_credentials_last_resort_total",
    "Withdrawals and erasures whose credential was looked at although there were too many wrong ones",
)


class Scope(StrEnum):
    """What a key may do."""

    STUDIES_READ = "studies:read"
    STUDIES_WRITE = "studies:write"
    STUDIES_APPROVE = "studies:approve"
    SESSIONS_WRITE = "sessions:write"
    RESULTS_READ = "results:read"
    SESSIONS_ERASE = "sessions:erase"
    KEYS_WRITE = "keys:write"


class KeyRole(StrEnum):
    """Who a key is for; decides which scopes it can have at most."""

    ADMIN = "admin"
    ANALYST = "analyst"
    COMPLIANCE = "compliance"


SCOPES_OF: dict[KeyRole, frozenset[Scope]] = {
    KeyRole.ADMIN: frozenset(Scope),
    KeyRole.ANALYST: frozenset({Scope.STUDIES_READ, Scope.SESSIONS_WRITE, Scope.RESULTS_READ}),
    KeyRole.COMPLIANCE: frozenset({Scope.STUDIES_READ, Scope.STUDIES_APPROVE, Scope.SESSIONS_ERASE}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Invited:
    """Whoever holds the invitation to a session, which may be erased already."""

    tenant: TenantId
    session: SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A studio's key that was let in."""

    tenant: TenantId
    key_id: UUID
    role: KeyRole
    scopes: frozenset[str]

    @property
    def actor(self) -> str:
        """How the audit log names it."""
        return f"key:{self.key_id}"


def digest(secret: str) -> bytes:
    """Hash a credential for the store; it has 256 random bits, so a plain hash is enough."""
    return hashlib.sha256(secret.encode()).digest()


async def issue_api_key(
    registry: Registry,
    tenant: TenantId,
    *,
    role: KeyRole,
    scopes: frozenset[Scope],
    now: datetime,
    expires_at: datetime | None = None,
) -> tuple[UUID, str]:
    """Make a key; its secret exists in the returned text and nowhere else."""
    key_id, secret = uuid4(), secrets.token_urlsafe(SECRET_BYTES)
    await registry.create_api_key(
        tenant,
        key_id=key_id,
        secret_sha256=digest(secret),
        role=str(role),
        scopes=sorted(str(scope) for scope in scopes),
        now=now,
        expires_at=expires_at,
    )
    return key_id, f"cnt_{tenant.hex}_{key_id.hex}_{secret}"


@contextlib.asynccontextmanager
async def counted(
    context: ApiContext, request: Request, prefix: str, *, is_ending: bool = False
) -> AsyncIterator[None]:
    """Surround the check of a credential that was given: refuse it unseen after too many failures, count its own.

    Args:
        context: holds the counts.
        request: says where it comes from.
        prefix: the credential's public part, empty if it is too malformed to have one.
        is_ending: it is given to withdraw or erase, and therefore looked at in any case (F3).

    Raises:
        ProblemError: 429 with Retry-After.
    """
    attempt = Attempt(address=source_of(request.client.host if request.client else None), prefix=prefix)
    now_s = context.now().timestamp()
    wait_s = context.attempts.wait_s(attempt, now_s=now_s)
    if wait_s and not is_ending:
        _SHUT_OUT.inc()
        raise too_many_failures(wait_s)
    if wait_s:
        _LAST_RESORT.inc()
    turn: contextlib.AbstractAsyncContextManager[None] = (
        context.last_resort if wait_s else contextlib.nullcontext()
    )
    try:
        async with turn:
            yield
    except ProblemError:
        if not wait_s:
            context.attempts.failed(attempt, now_s=now_s)
        raise
    context.attempts.succeeded(attempt, now_s=now_s)


_KEY_AS_BEARER = HTTPBearer(
    scheme_name="ApiKeyBearer", description="A studio's key, `cnt_...`, as a bearer token.", auto_error=False
)
_KEY_IN_HEADER = APIKeyHeader(
    name="X-API-Key", scheme_name="ApiKey", description="A studio's key, `cnt_...`.", auto_error=False
)
_ADMIN_TOKEN = APIKeyHeader(
    name="X-Admin-Token", scheme_name="AdminToken", description="The platform's own token.", auto_error=False
)
_JOIN_TOKEN = HTTPBearer(
    scheme_name="JoinToken",
    description="What follows # in an invitation, as a bearer token.",
    auto_error=False,
)


async def admitted_admin(
    context: Context, request: Request, _token: Annotated[object, Security(_ADMIN_TOKEN)]
) -> None:
    """Let the platform's administrator in.

    Raises:
        ProblemError: 401, or 429.
    """
    await _once(request, _check_admin(context, request))


async def admitted_key(
    context: Context,
    request: Request,
    _bearer: Annotated[object, Security(_KEY_AS_BEARER)],
    _header: Annotated[object, Security(_KEY_IN_HEADER)],
) -> Principal:
    """Let a studio's key in.

    Raises:
        ProblemError: 401, or 429.
    """
    return await _once(request, _check_key(context, request))


async def admitted_erasing_key(
    context: Context,
    request: Request,
    _bearer: Annotated[object, Security(_KEY_AS_BEARER)],
    _header: Annotated[object, Security(_KEY_IN_HEADER)],
) -> Principal:
    """Let a studio's key in to erase, whatever others have failed at (F3).

    Raises:
        ProblemError: 401, or 403.
    """
    key = await _once(request, _check_key(context, request, is_ending=True))
    return _require_scope(key, Scope.SESSIONS_ERASE)


def needs(scope: Scope) -> Callable[[Principal], Awaitable[Principal]]:
    """Make a dependency that lets a key in only if it has a scope."""

    async def admitted(principal: Annotated[Principal, Depends(admitted_key)]) -> Principal:
        return _require_scope(principal, scope)

    return admitted


async def admitted_agent(
    context: Context, request: Request, _token: Annotated[object, Security(_JOIN_TOKEN)]
) -> SessionContext:
    """Let a viewer's agent in by its join token.

    Raises:
        ProblemError: 401, or 429.
    """
    return await _once(request, _check_join_token(context, request))


async def admitted_withdrawing_agent(
    context: Context, request: Request, _token: Annotated[object, Security(_JOIN_TOKEN)]
) -> Invited:
    """Let the holder of an invitation in to withdraw, whatever others have failed at (F3).

    The database is asked only about tokens without a tag, which earlier versions made.

    Raises:
        ProblemError: 401.
    """
    return await _once(request, _check_join_token_to_end(context, request))


Agent = Annotated[SessionContext, Depends(admitted_agent)]
WithdrawingAgent = Annotated[Invited, Depends(admitted_withdrawing_agent)]


async def _once(request: Request, checking: Coroutine[Any, Any, Admitted]) -> Admitted:
    """Check a request's credential once, although it is asked for before the body is read and again after."""
    if not hasattr(request.state, "admitted"):
        request.state.admitted = await checking
    checking.close()
    admitted: Admitted = request.state.admitted
    return admitted


async def _check_admin(context: ApiContext, request: Request) -> None:
    refused = unauthorised("Give the platform's admin token in X-Admin-Token.")
    token = request.headers.get("x-admin-token", "")
    if not token or len(token) > CREDENTIAL_MAX_CHARS:
        raise refused
    async with counted(context, request, "admin"):
        # Hashed first, so that even the length takes no part in the comparison.
        if not hmac.compare_digest(digest(token), digest(context.admin_token.reveal())):
            raise refused


async def _check_key(context: ApiContext, request: Request, *, is_ending: bool = False) -> Principal:
    refused = unauthorised("Give a valid API key as a bearer token or in X-API-Key.")
    given = request.headers.get("x-api-key", "") or _bearer_token(request)
    if not given or len(given) > CREDENTIAL_MAX_CHARS:
        raise refused
    parts = given.split("_", 3)
    is_formed = len(parts) == 4 and parts[0] == "cnt"
    tenant, key_id = (_uuid_hex(part) for part in parts[1:3]) if is_formed else (None, None)
    async with counted(
        context, request, f"key:{key_id.hex}" if key_id is not None else "", is_ending=is_ending
    ):
        if tenant is None or key_id is None:
            raise refused
        record = await context.registry.find_api_key(TenantId(tenant), key_id)
        stored = record.hash if record is not None else bytes(32)
        matches = hmac.compare_digest(digest(parts[3]), stored)
        if record is None or not matches or not record.is_valid(context.now()):
            raise refused
    return Principal(
        tenant=record.tenant, key_id=record.id, role=KeyRole(record.role), scopes=frozenset(record.scopes)
    )


def _require_scope(principal: Principal, scope: Scope) -> Principal:
    if scope not in principal.scopes:
        raise ProblemError(403, "scope-missing", f"This key does not have the scope {scope}.")
    return principal


async def _check_join_token(context: ApiContext, request: Request) -> SessionContext:
    token = _bearer_token(request)
    if not token or len(token) > CREDENTIAL_MAX_CHARS:
        raise _not_invited()
    invited = _read_join_token(token)
    async with counted(context, request, _prefix(invited)):
        if invited is None:
            raise _not_invited()
        found = await context.registry.find_session_by_join_token(
            invited.tenant, invited.session, digest(token)
        )
        if found is None:
            raise _not_invited()
    return found


async def _check_join_token_to_end(context: ApiContext, request: Request) -> Invited:
    token = _bearer_token(request)
    if not token or len(token) > CREDENTIAL_MAX_CHARS:
        raise _not_invited()
    invited = _read_join_token(token)
    async with counted(context, request, _prefix(invited), is_ending=True):
        if invited is None:
            raise _not_invited()
        if not is_genuine(token, invited.tenant, invited.session, context.signing_key):
            found = await context.registry.find_session_by_join_token(
                invited.tenant, invited.session, digest(token)
            )
            if found is None:
                raise _not_invited()
    return invited


def _not_invited() -> ProblemError:
    return unauthorised("Give the invitation's token as a bearer token.")


def _read_join_token(token: str) -> Invited | None:
    parts = token.split(".", 2)
    tenant, session = (_uuid_hex(part) for part in parts[:2]) if len(parts) == 3 else (None, None)
    if tenant is None or session is None:
        return None
    return Invited(tenant=TenantId(tenant), session=SessionId(session))


def _prefix(invited: Invited | None) -> str:
    return f"join:{invited.session.hex}" if invited is not None else ""


def _bearer_token(request: Request) -> str:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _uuid_hex(text: str) -> UUID | None:
    if len(text) != 32:
        return None
    try:
        return UUID(hex=text)
    except ValueError:
        return None
