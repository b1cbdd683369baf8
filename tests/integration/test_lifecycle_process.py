"""The lifecycle process: one leader, crops trimmed, a withdrawal carried out within seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from redis.asyncio import Redis

from cloud.config import Role, load_settings
from cloud.consents.registry import Registry
from cloud.embedded.ports import free_port
from cloud.keys.platform_keys import init_state, load_signing_public_key
from cloud.lifecycle import worker as lifecycle
from cloud.sessions.records import SessionState
from cloud.streams.redis_streams import RedisCropStream
from privacy.governance.erasure import verify_deletion_receipt
from tests.fixtures_postgres import Consented, Database


async def eventually(holds: Callable[[], Awaitable[bool]], *, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not await holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        await asyncio.sleep(0.05)


async def test_two_processes_have_one_leader_who_erases_and_is_replaced(
    database: Database,
    registry: Registry,
    consented: Consented,
    redis_client: Redis,
    redis_url: str,
    tmp_path: Path,
) -> None:
    init_state(tmp_path)
    with psycopg.connect(database.admin_url) as admin:
        # the processes read the real clock, by which the fixture's invitation ran out long ago
        admin.execute("UPDATE session SET created_at = now()")
    stops = [asyncio.Event(), asyncio.Event()]

    def start(stop: asyncio.Event) -> asyncio.Task[None]:
        environ = {
            "COUNTENANCE_DATABASE_URL": database.app_url,
            "COUNTENANCE_REDIS_URL": redis_url,
            "COUNTENANCE_STATE_DIR": str(tmp_path),
            "COUNTENANCE_METRICS_BIND": f"127.0.0.1:{free_port()}",
            "COUNTENANCE_SHARDS": "2",
        }
        settings = load_settings(Role.LIFECYCLE, environ=environ, flags={})
        return asyncio.create_task(lifecycle.run(settings, stop=stop))

    async def has_one_leader() -> bool:
        with psycopg.connect(database.admin_url) as admin:
            row = admin.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND mode = 'ExclusiveLock' "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            ).fetchone()
        return row == (1,)

    async def is_erased() -> bool:
        found = await registry.get_session(consented.tenant, consented.session)
        return found.state is SessionState.ERASED

    running = [start(stop) for stop in stops]
    try:
        await eventually(has_one_leader)
        await redis_client.xadd("crops:{0}", {"b": b"old"}, id="1-1")
        stops[0].set()
        await running[0]
        await registry.withdraw(consented.tenant, consented.session, actor="viewer", now=datetime.now(UTC))
        await eventually(is_erased)
        assert await redis_client.exists(f"revoked:{consented.session}") or await redis_client.keys(
            "revoked*"
        )
        assert await redis_client.xlen("crops:{0}") == 0
    finally:
        for stop in stops:
            stop.set()
        await asyncio.gather(*running)
    receipts = await registry.list_deletion_receipts(consented.tenant, consented.session)
    claims = verify_deletion_receipt(receipts[0].receipt_jws, load_signing_public_key(tmp_path))
    assert claims.reason == "withdrawal"


async def test_a_defect_in_keeping_streams_short_ends_the_process_and_hides_nowhere(
    database: Database, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def defect(*_arguments: object, **_options: object) -> int:
        raise LookupError("a defect")

    monkeypatch.setattr(RedisCropStream, "trim", defect)
    init_state(tmp_path)
    environ = {
        "COUNTENANCE_DATABASE_URL": database.app_url,
        "COUNTENANCE_REDIS_URL": redis_url,
        "COUNTENANCE_STATE_DIR": str(tmp_path),
        "COUNTENANCE_METRICS_BIND": f"127.0.0.1:{free_port()}",
        "COUNTENANCE_SHARDS": "2",
    }
    settings = load_settings(Role.LIFECYCLE, environ=environ, flags={})
    with pytest.raises(LookupError):
        async with asyncio.timeout(60):
            await lifecycle.run(settings, stop=asyncio.Event())
