"""A withdrawal beside more sockets that dawdle than a process usually may open, all from the viewer's own address."""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from cloud.api.app import create_app
from cloud.api.revoking import Revoker
from cloud.api.server import build_context, store_readiness
from cloud.config import Bind, Role, load_settings
from cloud.database.connection import Pool
from cloud.observability import serve_ops
from cloud.streams.redis_sessions import RedisRevocations
from cloud.web.http_server import serve_app
from tests.fixtures_postgres import Database
from tests.integration.api_client import ADMIN, Studio, Viewer, state_with_admin_token

SOCKETS = 1_100
HOST = Bind(host="127.0.0.1", port=0)

HEAD = b"POST /v1/join/withdraw HTTP/1.1\r\nHost: api\r\n"
STARTS = {
    "silent": b"",
    "slow head": HEAD + b"X-Slow: a",
    "slow body": HEAD.replace(b"withdraw", b"consent") + b"Content-Length: 60000\r\n\r\n{",
    "slow body with a token": b"",
    "idle": b"GET /healthz HTTP/1.1\r\nHost: api\r\n\r\n",
}


@pytest.fixture(scope="module", autouse=True)
def _descriptors_for_both_ends() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * SOCKETS
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"needs {wanted} open files, and this process may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
async def api(
    database: Database, redis_url: str, redis_client: Redis, pool: Pool, tmp_path: Path
) -> AsyncIterator[Bind]:
    flags = {
        "STATE_DIR": str(state_with_admin_token(tmp_path)),
        "DATABASE_URL": database.app_url,
        "REDIS_URL": redis_url,
    }
    settings = load_settings(Role.API, environ={}, flags=flags)
    revoker = Revoker(RedisRevocations(redis_client))
    context = build_context(settings, pool, revoker, readiness=store_readiness(pool, redis_client))
    async with serve_app(create_app(context), HOST, name="API_BIND") as bound:
        yield bound


@pytest.fixture
async def viewer(api: Bind) -> AsyncIterator[Viewer]:
    async with httpx.AsyncClient(base_url=f"http://{api}", timeout=10) as client:
        answer = await client.post("/v1/studios", json={"name": "S"}, headers={"X-Admin-Token": ADMIN})
        studio = Studio(client=client, tenant=answer.json()["tenant_id"], key=answer.json()["api_key"])
        viewer = await studio.invite()
        await viewer.consent()
        yield viewer


@contextlib.asynccontextmanager
async def dawdling(bind: Bind, start: bytes) -> AsyncIterator[None]:
    """Hold `SOCKETS` connections that began so, and begin another for each that is closed."""
    writers: list[asyncio.StreamWriter] = []
    held: list[asyncio.Task[None]] = []
    all_open = asyncio.Event()

    async def hold() -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(bind.host, bind.port)
                writers.append(writer)
                writer.write(start)
                if len(writers) >= SOCKETS:
                    all_open.set()
                while await reader.read(65_536):
                    pass
            await asyncio.sleep(1)

    try:
        held += [asyncio.create_task(hold()) for _ in range(SOCKETS)]
        await all_open.wait()
        yield
    finally:
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()


@pytest.mark.parametrize("kind", STARTS)
async def test_a_withdrawal_is_answered_beside_sockets_that_dawdle(
    api: Bind, viewer: Viewer, kind: str
) -> None:
    start = STARTS[kind]
    if kind == "slow body with a token":
        start = STARTS["slow body"].replace(
            b"\r\n\r\n", f"\r\nAuthorization: Bearer {viewer.token}\r\n\r\n".encode()
        )
    async with dawdling(api, start), httpx.AsyncClient(base_url=f"http://{api}", timeout=10) as fresh:
        again = Viewer(client=fresh, session=viewer.session, token=viewer.token)
        answer = await again.ask("POST", "/withdraw")
        assert (answer.status_code, answer.json()["deletion"]) == (200, "queued")


@pytest.mark.parametrize("kind", ["silent", "slow head", "idle"])
async def test_the_operations_endpoint_answers_beside_sockets_that_dawdle(kind: str) -> None:
    async def readiness() -> dict[str, str]:
        return {}

    async with (
        serve_ops(HOST, readiness=readiness) as ops,
        dawdling(ops.bind, STARTS[kind]),
        httpx.AsyncClient(base_url=f"http://{ops.bind}", timeout=10) as client,
    ):
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await client.get(path)).status_code == 200


async def test_the_body_is_not_waited_for_where_the_credential_is_missing_or_wrong(api: Bind) -> None:
    for path in (
        "/v1/studios",
        "/v1/keys",
        "/v1/titles",
        "/v1/join/notice",
        "/v1/join/consent",
        "/v1/sessions",
    ):
        reader, writer = await asyncio.open_connection(api.host, api.port)
        writer.write(f"POST {path} HTTP/1.1\r\nHost: api\r\nContent-Length: 60000\r\n\r\n{{".encode())
        assert b" 401 " in await asyncio.wait_for(reader.readline(), 10), path
        writer.transport.abort()
