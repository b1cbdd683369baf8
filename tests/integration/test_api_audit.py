"""An act and the audit entry that tells of it are one transaction: both are there, or neither."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import psycopg
import pytest
from redis.asyncio import Redis

from cloud.api.app import create_app
from cloud.api.revoking import Revoker
from cloud.api.server import build_context, store_readiness
from cloud.config import Role, load_settings
from cloud.database.connection import Pool
from cloud.streams.redis_sessions import RedisRevocations
from tests.fixtures_postgres import Database
from tests.integration.api_client import ADMIN, Clock, Studio, state_with_admin_token


@pytest.fixture
async def client(
    database: Database, pool: Pool, redis_client: Redis, redis_url: str, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    settings = load_settings(
        Role.API,
        environ={},
        flags={
            "STATE_DIR": str(state_with_admin_token(tmp_path)),
            "DATABASE_URL": database.app_url,
            "REDIS_URL": redis_url,
            "CONTROLLER": "Lighthouse Pictures",
        },
    )
    revoker = Revoker(RedisRevocations(redis_client))
    readiness = store_readiness(pool, redis_client)
    context = build_context(settings, pool, revoker, readiness=readiness, now=Clock())
    transport = httpx.ASGITransport(app=create_app(context), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as opened:
        yield opened


@pytest.fixture
async def studio(client: httpx.AsyncClient) -> Studio:
    made = await client.post("/v1/studios", json={"name": "Lighthouse"}, headers={"X-Admin-Token": ADMIN})
    assert made.status_code == 201
    return Studio(client=client, tenant=made.json()["tenant_id"], key=made.json()["api_key"])


def count(database: Database, table: str) -> int:
    with psycopg.connect(database.admin_url) as admin:
        row = admin.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(row[0]) if row else -1


def no_more_entries(database: Database) -> None:
    with psycopg.connect(database.admin_url) as admin:
        admin.execute("REVOKE INSERT ON audit_leaf FROM countenance_app")


async def test_every_act_of_a_studio_leaves_an_entry(studio: Studio, database: Database) -> None:
    await studio.launched_study()
    key = await studio.make("/v1/keys", {"role": "analyst"})
    assert (await studio.ask("DELETE", f"/v1/keys/{key['key_id']}")).status_code == 204
    with psycopg.connect(database.admin_url) as admin:
        found = [row[0] for row in admin.execute("SELECT action FROM audit_entry ORDER BY seq").fetchall()]
    assert found == [
        "studio.registered",
        "study.planned",
        "study.dpia_approved",
        "study.launched",
        "key.made",
        "key.revoked",
    ]
    assert count(database, "audit_leaf") == len(found)


async def test_a_studio_is_not_registered_without_its_entry(
    client: httpx.AsyncClient, database: Database
) -> None:
    no_more_entries(database)
    made = await client.post("/v1/studios", json={"name": "Lighthouse"}, headers={"X-Admin-Token": ADMIN})
    assert made.status_code == 503
    assert [count(database, table) for table in ("tenant", "api_key", "audit_entry")] == [0, 0, 0]


async def test_nothing_that_a_studio_does_is_done_without_its_entry(
    studio: Studio, database: Database
) -> None:
    title = await studio.make("/v1/titles", {"name": "Harbour Lights", "duration_ms": 10_000})
    plan = {"name": "Cut", "title_id": title["title_id"], "context": "home", "jurisdictions": ["DE"]}
    study = await studio.make("/v1/studies", plan)
    at = f"/v1/studies/{study['study_id']}"
    approval = {"version": "1", "approved_by": "dpo"}
    key = await studio.make("/v1/keys", {"role": "analyst"})
    entries = count(database, "audit_entry")
    no_more_entries(database)

    assert (await studio.ask("POST", "/v1/studies", plan)).status_code == 503
    assert (await studio.ask("POST", f"{at}/dpia", approval)).status_code == 503
    assert (await studio.ask("POST", "/v1/keys", {"role": "analyst"})).status_code == 503
    assert (await studio.ask("DELETE", f"/v1/keys/{key['key_id']}")).status_code == 503

    assert (count(database, "study"), count(database, "api_key")) == (1, 2)
    assert (await studio.ask("GET", at)).json()["dpia_version"] is None
    with psycopg.connect(database.admin_url) as admin:
        revoked = admin.execute("SELECT count(*) FROM api_key WHERE revoked_at IS NOT NULL").fetchone()
    assert revoked == (0,)
    assert count(database, "audit_entry") == entries
