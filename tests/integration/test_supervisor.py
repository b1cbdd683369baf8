"""The whole platform as `countenance up` runs it: real processes, real servers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cloud.errors import StoreError
from cloud.keys.platform_keys import load_signing_public_key
from cloud.streams.redis_connection import connect
from cloud.streams.redis_sessions import RedisRevocations
from cloud.supervisor import Platform, PlatformOptions, running_platform
from privacy.governance.erasure import verify_deletion_receipt
from privacy.protocol.ids import SessionId
from tests.integration.api_client import Studio

pytestmark = pytest.mark.timeout(120)
on_one_loop = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    yield from _state_directory()


def _state_directory() -> Iterator[Path]:
    # Where another account may pass through, as the embedded PostgreSQL needs when this is root.
    base = Path(tempfile.mkdtemp(prefix="countenance-up-"))
    base.chmod(0o755)
    yield base / "state"
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def own_state() -> Iterator[Path]:
    yield from _state_directory()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platform(state: Path) -> AsyncIterator[Platform]:
    async with running_platform(PlatformOptions(state_dir=state, durable=False)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def studio(platform: Platform) -> AsyncIterator[Studio]:
    async with httpx.AsyncClient(base_url=platform.api_url, timeout=30) as client:
        answer = await client.post(
            "/v1/studios", json={"name": "S"}, headers={"X-Admin-Token": platform.admin_token}
        )
        assert answer.status_code == 201, answer.text
        yield Studio(client=client, tenant=answer.json()["tenant_id"], key=answer.json()["api_key"])


@on_one_loop
async def test_the_platform_comes_up_survives_crashes_and_erases(
    platform: Platform, studio: Studio, state: Path
) -> None:
    assert all(platform.pids.values()), platform.pids

    # A killed process is started again and becomes ready.
    before = platform.pids["classify"]
    platform.children["classify"].kill()
    await until(lambda: platform.restarts["classify"] == 1)
    await platform.wait_ready()
    assert platform.pids["classify"] not in (0, before)

    # An erasure goes all the way: queued by the API, carried out by the lifecycle process, signed.
    viewer = await studio.invite()
    await viewer.consent()
    erased = (await studio.ask("POST", f"/v1/sessions/{viewer.session}/erase")).json()
    assert erased["deletion"] == "done"
    key: Ed25519PublicKey = load_signing_public_key(state)
    assert str(verify_deletion_receipt(erased["receipt"], key).session) == viewer.session
    assert (await studio.ask("GET", f"/v1/sessions/{viewer.session}")).json()["state"] == "erased"
    assert (await viewer.ask("GET")).status_code == 401

    # What is kept of the platform is closed to others, and the logs name no token.
    logs = "".join(path.read_text() for path in (state / "logs").glob("*.log"))
    assert studio.key not in logs and viewer.token not in logs and platform.admin_token not in logs


async def readiness(platform: Platform) -> dict[str, tuple[int, int, list[str]]]:
    """Ask every process for its health and readiness: both status codes, and which checks are not well."""
    found = {}
    async with httpx.AsyncClient(timeout=15) as asking:
        for name, child in platform.children.items():
            health = await asking.get(f"{child.ops_url}/healthz")
            ready = await asking.get(f"{child.ops_url}/readyz")
            unwell = [check for check, state in ready.json()["checks"].items() if state != "ok"]
            found[name] = (health.status_code, ready.status_code, sorted(unwell))
    return found


@on_one_loop
async def test_every_process_serves_health_readiness_and_metrics_of_its_own(platform: Platform) -> None:
    assert set(platform.children) == {"api", "ingest", "classify", "aggregate", "lifecycle"}
    assert await readiness(platform) == dict.fromkeys(platform.children, (200, 200, []))
    async with httpx.AsyncClient(timeout=15) as asking:
        for name, child in platform.children.items():
            page = await asking.get(f"{child.ops_url}/metrics")
            assert page.headers["content-type"].startswith("text/plain"), name
            own = {line.split("{")[0].split(" ")[0] for line in page.text.splitlines() if line[0] != "#"}
            assert any(series.startswith(f"countenance_{name}_") for series in own), name
            others = {series for series in own if series.startswith("countenance_")}
            known = (f"countenance_{name}_", "countenance_retention_")
            assert not {series for series in others if not series.startswith(known)}, name


@on_one_loop
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
async def test_no_process_of_the_platform_may_leave_a_core_file(platform: Platform) -> None:
    for name, pid in platform.pids.items():
        assert _core_limits_of(pid) == ["0", "0"], name


@on_one_loop
async def test_a_store_that_is_away_is_said_by_every_process_that_needs_it_and_none_dies(
    platform: Platform,
) -> None:
    restarts = dict(platform.restarts)
    await platform.stop_server("redis")
    try:
        assert await readiness(platform) == dict.fromkeys(platform.children, (200, 503, ["redis"]))
    finally:
        await platform.start_server("redis")
    await platform.wait_ready(timeout_s=30)
    await platform.stop_server("postgres")
    try:
        found = await readiness(platform)
        for name in ("ingest", "classify"):
            assert found.pop(name) == (200, 200, [])
        assert {health for health, _, _ in found.values()} == {200}
        assert {ready for _, ready, _ in found.values()} == {503}
        assert all("postgres" in unwell for _, _, unwell in found.values())
    finally:
        await platform.start_server("postgres")
    await platform.wait_ready(timeout_s=30)
    assert dict(platform.restarts) == restarts


@on_one_loop
async def test_the_api_says_that_a_store_is_away_and_recovers(platform: Platform, studio: Studio) -> None:
    viewer = await studio.invite()
    await platform.stop_server("redis")
    withdrawn = await viewer.ask("POST", "/withdraw")
    assert (withdrawn.status_code, withdrawn.json()["stream"]) == (202, "stopping")
    await platform.stop_server("postgres")
    away = await studio.ask("GET", "/v1/titles")
    assert away.status_code == 503 and away.headers["retry-after"] == "1"
    assert (await studio.client.get("/healthz")).status_code == 200
    await platform.start_server("postgres")
    await platform.start_server("redis")
    await platform.wait_ready(timeout_s=30)
    assert (await studio.ask("GET", "/v1/titles")).status_code == 200
    assert platform.restarts["api"] == 0
    # What could not be told while Redis was away is told now.
    redis = connect(platform.redis_url)
    deadline = time.monotonic() + 10
    while not await RedisRevocations(redis).is_revoked(SessionId(UUID(viewer.session))):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    await redis.aclose()


@on_one_loop
async def test_a_server_that_dies_is_started_again_on_its_port(platform: Platform, studio: Studio) -> None:
    before = platform.pids["redis"]
    os.kill(before, signal.SIGKILL)
    await until(lambda: platform.pids["redis"] not in (0, before))
    await platform.wait_ready(timeout_s=30)


@on_one_loop
async def test_two_supervisors_do_not_share_a_state_directory(platform: Platform, state: Path) -> None:
    with pytest.raises(StoreError, match="another supervisor"):
        async with running_platform(PlatformOptions(state_dir=state)):
            pass
    assert all(platform.pids.values())


def test_up_prints_where_things_are_and_stops_cleanly_on_sigterm(own_state: Path) -> None:
    command = [sys.executable, "-m", "cloud.cli", "up", "--state", str(own_state)]
    flags = ["--port", "0", "--ingest-port", "0", "--json"]
    with subprocess.Popen(
        [*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as up:
        assert up.stdout is not None
        try:
            facts = json.loads(up.stdout.readline())
            assert httpx.get(f"{facts['api']}/readyz").json()["ready"] is True
            assert httpx.get(facts["dashboard"]).status_code == 200
            children = _children_of(up.pid)
            assert len(children) >= 7
            up.send_signal(signal.SIGTERM)
            _, said = up.communicate(timeout=30)
        finally:
            up.kill()
    assert up.returncode == 0, said
    assert "Traceback" not in said
    for pid in children:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def until(claim: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.02)


def _core_limits_of(pid: int) -> list[str]:
    limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
    (core,) = [line.split() for line in limits if line.startswith("Max core file size")]
    return core[4:6]


def _children_of(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children()]
