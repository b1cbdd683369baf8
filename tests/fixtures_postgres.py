"""One embedded PostgreSQL for the run; each test gets a database of its own, already migrated."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from cloud.consents.registry import Registry
from cloud.database.connection import Pool, open_pool
from cloud.database.migrate import migrate
from cloud.embedded import postgres
from privacy.protocol.ids import SessionId, TenantId

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """URLs of one test's database."""

    app_url: str
    owner_url: str
    admin_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Consented:
    """A tenant with one session that may connect."""

    tenant: TenantId
    session: SessionId
    receipt_sha256: bytes


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.EmbeddedPostgres]:
    """Start a server without fsync; its first database is the migrated template."""
    base = Path(tempfile.mkdtemp(prefix="countenance-pg-"))
    base.chmod(0o755)
    server = postgres.start(base / "state" / "postgres", is_durable=False)
    try:
        migrate(server.urls.owner_url)
        yield server
    finally:
        server.stop()
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def empty_database(postgres_server: postgres.EmbeddedPostgres) -> Iterator[Database]:
    """Give a database without any table."""
    yield from _database(postgres_server, template="template0")


@pytest.fixture
def database(postgres_server: postgres.EmbeddedPostgres) -> Iterator[Database]:
    """Give a migrated database without rows."""
    yield from _database(postgres_server, template=postgres.DATABASE)


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[Pool]:
    """Give a pool as the application role."""
    opened = await open_pool(database.app_url, max_size=6)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
def registry(pool: Pool) -> Registry:
    """Give the registry on the test's database."""
    return Registry(pool)


@pytest.fixture
async def consented(registry: Registry) -> Consented:
    """Give a tenant with a launched study and a session whose viewer consented."""
    return await consented_session(registry, await registry.create_tenant(name="Studio", now=NOW))


async def consented_session(
    registry: Registry, tenant: TenantId, *, viewer: str = "viewer-1", opted_out: tuple[str, ...] = ()
) -> Consented:
    """Make everything a consented session stands on."""
    title = await registry.create_title(
        tenant, name="Trailer", duration_ms=60_000, media_sha256=None, now=NOW
    )
    study = await registry.create_study(
        tenant, title_id=title.id, name="Spring", context="home", jurisdictions=["DE", "US-CA"], now=NOW
    )
    await registry.approve_dpia(tenant, study.id, version="1", approved_by="key:1", now=NOW)
    await registry.launch_study(tenant, study.id)
    person = await registry.create_viewer(tenant, pseudonym=viewer, now=NOW)
    session = SessionId(uuid4())
    await registry.create_session(
        tenant,
        session=session,
        study_id=study.id,
        viewer_id=person.id,
        jurisdiction="DE",
        locale="en",
        join_token_sha256=sha256(session.bytes).digest(),
        now=NOW,
    )
    notice = sha256(b"notice").digest()
    receipt = sha256(session.bytes + b"receipt").digest()
    await registry.record_notice(tenant, session, notice_sha256=notice, locale="en", now=NOW)
    await registry.record_consent(
        tenant,
        session,
        receipt_jws="header.claims.signature",
        receipt_sha256=receipt,
        receipt_expires_at=NOW + timedelta(days=1),
        notice_sha256=notice,
        purposes=["capture", "cloud_scoring"],
        opted_out=list(opted_out),
        now=NOW,
    )
    return Consented(tenant=tenant, session=session, receipt_sha256=receipt)


def _database(server: postgres.EmbeddedPostgres, *, template: str) -> Iterator[Database]:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server.urls.admin_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {postgres.OWNER_ROLE}")
        yield Database(
            app_url=_renamed(server.urls.app_url, name),
            owner_url=_renamed(server.urls.owner_url, name),
            admin_url=_renamed(server.urls.admin_url, name),
        )
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _renamed(url: str, database: str) -> str:
    return url.rpartition("/")[0] + "/" + database
