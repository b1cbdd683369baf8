"""What the API reads and writes about tenants, studies, viewers, sessions and their consent.

Each method is one transaction bound to one tenant, or a part of the unit of work around it. Every row is looked up with its tenant, on top of
the row-level policies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg

from cloud.consents.repository import Consents
from cloud.database.connection import platform_transaction, tenant_transaction, unit_of_work
from cloud.database.queries import load_queries
from cloud.errors import ConflictError, NotFoundError
from cloud.sessions.records import (
    ApiKeyRecord,
    DeletionReceiptRecord,
    SessionContext,
    SessionRecord,
    StudyRecord,
    TitleRecord,
    ViewerRecord,
)
from cloud.sessions.rows import Record, fetch_records
from privacy.protocol.ids import SessionId, TenantId

LIST_MAX = 1_000
CONTEXT_REFUSED = "reading expressions is refused in this context"

_Q = load_queries("registry")


class Registry(Consents):
    """The registry on PostgreSQL, with all that `Consents` does.

    Every method raises `StoreError` where PostgreSQL cannot be reached.
    """

    def unit_of_work(self, tenant: TenantId) -> AbstractAsyncContextManager[None]:
        """Make one transaction of everything that is done to a tenant's rows inside; see `unit_of_work`."""
        return unit_of_work(self._pool, tenant)

    async def create_tenant(self, *, name: str, now: datetime, tenant: TenantId | None = None) -> TenantId:
        """Register a studio and return its id."""
        tenant = tenant or TenantId(uuid4())
        async with tenant_transaction(self._pool, tenant) as connection:
            values = {"tenant": tenant, "name": name, "now": now}
            await connection.execute(_Q["insert_tenant"], values)
            await connection.execute(_Q["insert_tenant_directory"], values)
        return tenant

    async def list_tenants(self) -> list[TenantId]:
        """List every tenant's id, oldest first."""
        async with platform_transaction(self._pool) as connection:
            rows = await (await connection.execute(_Q["list_tenants"])).fetchall()
        return [TenantId(row[0]) for row in rows]

    async def create_api_key(
        self,
        tenant: TenantId,
        *,
        key_id: UUID,
        secret_sha256: bytes,
        role: str,
        scopes: Sequence[str],
        now: datetime,
        expires_at: datetime | None = None,
    ) -> None:
        """Store a key by the SHA-256 of its secret part; `role` is analyst, admin or compliance."""
        async with tenant_transaction(self._pool, tenant) as connection:
            await connection.execute(
                _Q["insert_api_key"],
                {
                    "tenant": tenant,
                    "id": key_id,
                    "hash": secret_sha256,
                    "role": role,
                    "scopes": list(scopes),
                    "now": now,
                    "expires_at": expires_at,
                },
            )

    async def find_api_key(self, tenant: TenantId, key_id: UUID) -> ApiKeyRecord | None:
        """Look a key up, revoked and expired ones included; the caller compares the hash."""
        found = await self._fetch(tenant, ApiKeyRecord, "find_api_key", {"id": key_id})
        return found[0] if found else None

    async def revoke_api_key(self, tenant: TenantId, key_id: UUID, *, now: datetime) -> None:
        """Revoke a key; nothing happens to one that is revoked or unknown."""
        async with tenant_transaction(self._pool, tenant) as connection:
            await connection.execute(_Q["revoke_api_key"], {"tenant": tenant, "id": key_id, "now": now})

    async def create_title(
        self, tenant: TenantId, *, name: str, duration_ms: int, media_sha256: bytes | None, now: datetime
    ) -> TitleRecord:
        """Add what will be shown."""
        values = {
            "id": uuid4(),
            "name": name,
            "duration_ms": duration_ms,
            "media_sha256": media_sha256,
            "now": now,
        }
        return (await self._fetch(tenant, TitleRecord, "insert_title", values))[0]

    async def get_title(self, tenant: TenantId, title_id: UUID) -> TitleRecord:
        """Read a title.

        Raises:
            NotFoundError: no such title.
        """
        return await self._one(tenant, TitleRecord, "list_titles", {"id": title_id, "limit": 1})

    async def list_titles(self, tenant: TenantId, *, limit: int = 100) -> list[TitleRecord]:
        """List titles, newest first."""
        return await self._fetch(tenant, TitleRecord, "list_titles", {"id": None, "limit": _bounded(limit)})

    async def create_study(
        self,
        tenant: TenantId,
        *,
        title_id: UUID,
        name: str,
        context: str,
        jurisdictions: Sequence[str],
        now: datetime,
    ) -> StudyRecord:
        """Add a study as a draft.

        Raises:
            NotFoundError: no such title.
            ConflictError: the context is not on the list (rule A2).
        """
        values = {
            "tenant": tenant,
            "id": uuid4(),
            "title_id": title_id,
            "name": name,
            "context": context,
            "jurisdictions": list(jurisdictions),
            "now": now,
        }
        async with tenant_transaction(self._pool, tenant) as connection:
            try:
                return (await fetch_records(connection, StudyRecord, _Q["insert_study"], values))[0]
            except psycopg.errors.ForeignKeyViolation:
                raise NotFoundError("no such title") from None
            except psycopg.errors.CheckViolation:
                raise ConflictError(CONTEXT_REFUSED) from None

    async def get_study(self, tenant: TenantId, study_id: UUID) -> StudyRecord:
        """Read a study.

        Raises:
            NotFoundError: no such study.
        """
        return await self._one(tenant, StudyRecord, "list_studies", {"id": study_id, "limit": 1})

    async def list_studies(self, tenant: TenantId, *, limit: int = 100) -> list[StudyRecord]:
        """List studies, newest first."""
        return await self._fetch(tenant, StudyRecord, "list_studies", {"id": None, "limit": _bounded(limit)})

    async def approve_dpia(
        self, tenant: TenantId, study_id: UUID, *, version: str, approved_by: str, now: datetime
    ) -> StudyRecord:
        """Note that a version of the impact assessment was approved.

        Raises:
            NotFoundError: no such study.
            ConflictError: the study is of an earlier version and its context is refused today (rule A2).
        """
        values = {
            "tenant": tenant,
            "id": study_id,
            "version": version,
            "approved_by": approved_by,
            "now": now,
        }
        async with tenant_transaction(self._pool, tenant) as connection:
            try:
                found = await fetch_records(connection, StudyRecord, _Q["approve_dpia"], values)
            except psycopg.errors.CheckViolation:
                raise ConflictError(CONTEXT_REFUSED) from None
        return _only(found)

    async def launch_study(self, tenant: TenantId, study_id: UUID) -> StudyRecord:
        """Open a study for sessions.

        Raises:
            NotFoundError: no such study, or it is closed.
            ConflictError: no impact assessment is approved (rule G7), or its context is refused today (rule A2).
        """
        async with tenant_transaction(self._pool, tenant) as connection:
            try:
                found = await fetch_records(
                    connection, StudyRecord, _Q["launch_study"], {"tenant": tenant, "id": study_id}
                )
            except psycopg.errors.CheckViolation as error:
                is_context = error.diag.constraint_name == "study_context_allowed"
                missing = "no impact assessment is approved for this study"
                raise ConflictError(CONTEXT_REFUSED if is_context else missing) from None
        return _only(found)

    async def create_viewer(self, tenant: TenantId, *, pseudonym: str, now: datetime) -> ViewerRecord:
        """Add a viewer, or return the one who has this pseudonym already."""
        values = {"tenant": tenant, "id": uuid4(), "pseudonym": pseudonym, "now": now}
        async with tenant_transaction(self._pool, tenant) as connection:
            await connection.execute(_Q["insert_viewer"], values)
            return (await fetch_records(connection, ViewerRecord, _Q["find_viewer"], values))[0]

    async def get_viewer(self, tenant: TenantId, viewer_id: UUID) -> ViewerRecord:
        """Read a viewer.

        Raises:
            NotFoundError: no such viewer.
        """
        return await self._one(tenant, ViewerRecord, "get_viewer", {"id": viewer_id})

    async def list_viewers(self, tenant: TenantId, *, limit: int = 100) -> list[ViewerRecord]:
        """List viewers, newest first."""
        return await self._fetch(tenant, ViewerRecord, "list_viewers", {"limit": _bounded(limit)})

    async def create_session(
        self,
        tenant: TenantId,
        *,
        session: SessionId,
        study_id: UUID,
        viewer_id: UUID,
        jurisdiction: str,
        locale: str,
        join_token_sha256: bytes,
        now: datetime,
    ) -> SessionRecord:
        """Add a session of a launched study; its title is the study's.

        Raises:
            NotFoundError: no such study or viewer.
            ConflictError: the study is not launched, or not for this jurisdiction (rule A3).
        """
        values = {
            "tenant": tenant,
            "id": session,
            "study_id": study_id,
            "viewer_id": viewer_id,
            "jurisdiction": jurisdiction,
            "locale": locale,
            "join_token_hash": join_token_sha256,
            "now": now,
        }
        await self.get_study(tenant, study_id)
        async with tenant_transaction(self._pool, tenant) as connection:
            try:
                cursor = await connection.execute(_Q["insert_session"], values)
            except psycopg.errors.ForeignKeyViolation:
                raise NotFoundError("no such viewer") from None
            except psycopg.errors.UniqueViolation:
                raise ConflictError("a session of this id exists") from None
            if cursor.rowcount != 1:
                raise ConflictError("the study is not launched, or not for this jurisdiction")
        return await self.get_session(tenant, session)

    async def get_session(self, tenant: TenantId, session: SessionId) -> SessionRecord:
        """Read a session.

        Raises:
            NotFoundError: no such session.
        """
        values = {"id": session, "study_id": None, "before": None, "limit": 1}
        return await self._one(tenant, SessionRecord, "list_sessions", values)

    async def list_sessions(
        self,
        tenant: TenantId,
        *,
        study_id: UUID | None = None,
        before: datetime | None = None,
        limit: int = 100,
    ) -> list[SessionRecord]:
        """List sessions, newest first; `before` (a creation time) pages on."""
        values = {"id": None, "study_id": study_id, "before": before, "limit": _bounded(limit)}
        return await self._fetch(tenant, SessionRecord, "list_sessions", values)

    async def get_session_context(self, tenant: TenantId, session: SessionId) -> SessionContext:
        """Read a session with its study, title and viewer.

        Raises:
            NotFoundError: no such session.
        """
        found = await self.get_session(tenant, session)
        return SessionContext(
            session=found,
            study=await self.get_study(tenant, found.study_id),
            title=await self.get_title(tenant, found.title_id),
            viewer=await self.get_viewer(tenant, found.viewer_id),
        )

    async def find_session_by_join_token(
        self, tenant: TenantId, session: SessionId, join_token_sha256: bytes
    ) -> SessionContext | None:
        """Look up the session that a join token opens; None unless the token's hash is the stored one."""
        values = {"tenant": tenant, "id": session, "join_token_hash": join_token_sha256}
        async with tenant_transaction(self._pool, tenant) as connection:
            row = await (await connection.execute(_Q["has_join_token"], values)).fetchone()
        return None if row is None else await self.get_session_context(tenant, session)

    async def list_deletion_receipts(
        self, tenant: TenantId, session: SessionId
    ) -> list[DeletionReceiptRecord]:
        """List the signed receipts of a session's deletions, oldest first."""
        return await self._fetch(
            tenant, DeletionReceiptRecord, "list_deletion_receipts", {"session": session}
        )

    async def _fetch(
        self, tenant: TenantId, kind: type[Record], name: str, values: Mapping[str, Any]
    ) -> list[Record]:
        async with tenant_transaction(self._pool, tenant) as connection:
            return await fetch_records(connection, kind, _Q[name], {"tenant": tenant, **values})

    async def _one(
        self, tenant: TenantId, kind: type[Record], name: str, values: Mapping[str, Any]
    ) -> Record:
        return _only(await self._fetch(tenant, kind, name, values))


def _only(found: list[Record]) -> Record:
    if not found:
        raise NotFoundError("no such row for this tenant")
    return found[0]


def _bounded(limit: int) -> int:
    return max(1, min(limit, LIST_MAX))
