"""The API does what its description says, for requests that nobody thought of; the description says all it does."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from cloud.api.app import create_app
from cloud.api.revoking import Revoker
from cloud.api.server import build_context, store_readiness
from cloud.config import Bind, Role, load_settings
from cloud.database.connection import Pool
from cloud.streams.redis_sessions import RedisRevocations
from cloud.web.attempts import Allowance
from cloud.web.http_server import serve_app
from models.runtime.manifest import ARTIFACTS_DIR, load_manifest
from tests.fixtures_postgres import Database
from tests.integration.api_client import ADMIN, Studio, Viewer, state_with_admin_token

CONFIG = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = os.environ.get("COUNTENANCE_SCHEMATHESIS_EXAMPLES", "6")
RUN_S = 150


@pytest.fixture
async def api(
    database: Database,
    redis_url: str,
    redis_client: Redis,
    pool: Pool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Bind]:
    # No lifecycle process erases anything here.
    monkeypatch.setattr("cloud.api.routes.sessions.ERASURE_WAIT_S", 0.0)
    # Wrong credentials by the hundred are what is tried; how they are slowed down has tests of its own.
    monkeypatch.setattr("cloud.web.attempts.PER_ADDRESS", Allowance(burst=1_000_000, every_s=1.0))
    monkeypatch.setattr("cloud.web.attempts.PER_PREFIX", Allowance(burst=1_000_000, every_s=1.0))
    flags = {
        "STATE_DIR": str(state_with_admin_token(tmp_path)),
        "DATABASE_URL": database.app_url,
        "REDIS_URL": redis_url,
    }
    settings = load_settings(Role.API, environ={}, flags=flags)
    revoker = Revoker(RedisRevocations(redis_client))
    context = build_context(settings, pool, revoker, readiness=store_readiness(pool, redis_client))
    async with serve_app(create_app(context), Bind(host="127.0.0.1", port=0), name="API_BIND") as bound:
        yield bound


@pytest.fixture
async def viewer(api: Bind) -> AsyncIterator[tuple[Studio, Viewer]]:
    async with httpx.AsyncClient(base_url=f"http://{api}", timeout=10) as client:
        answer = await client.post("/v1/studios", json={"name": "S"}, headers={"X-Admin-Token": ADMIN})
        studio = Studio(client=client, tenant=answer.json()["tenant_id"], key=answer.json()["api_key"])
        viewer = await studio.invite()
        await viewer.consent()
        yield studio, viewer


@pytest.mark.timeout(RUN_S + 30)
async def test_no_request_gets_an_answer_that_is_not_described(
    api: Bind, viewer: tuple[Studio, Viewer], tmp_path: Path
) -> None:
    studio, invited = viewer
    facts = {
        "API_KEY": studio.key,
        "JOIN_TOKEN": invited.token,
        "ADMIN_TOKEN": ADMIN,
        "MODEL_SHA256": load_manifest(ARTIFACTS_DIR / "expression").variant().sha256,
    }
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run"]
    flags = ["--max-examples", EXAMPLES, "--generation-deterministic", "--checks", "all", "--no-color"]
    running = await asyncio.create_subprocess_exec(
        *command,
        *flags,
        f"http://{api}/v1/openapi.json",
        cwd=tmp_path,
        env={**os.environ, **facts},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(running.communicate(), RUN_S)
    finally:
        if running.returncode is None:
            running.kill()
    assert running.returncode == 0, said.decode()


async def test_every_refusal_is_described_as_a_problem_and_every_answer_has_a_form(api: Bind) -> None:
    async with httpx.AsyncClient(base_url=f"http://{api}") as client:
        document = (await client.get("/v1/openapi.json")).json()
    public = {"/v1/privacy/governance/policy", "/.well-known/countenance/keys"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert bool(operation.get("security")) is (path not in public), (method, path)
            for status, response in operation["responses"].items():
                forms = {kind: media.get("schema") for kind, media in response.get("content", {}).items()}
                if int(status) >= 400:
                    assert forms == {"application/problem+json": {"$ref": "#/components/schemas/Problem"}}, (
                        method,
                        path,
                    )
                elif status != "204":
                    assert forms and all(forms.values()), (method, path, status)
