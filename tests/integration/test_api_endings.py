"""Ending a session while a store does not play along: a locked row, a full Redis, a Redis that hangs (rules C5, G2).

The street hears of it at once, the database as soon as it can, and whoever asked is told which is which.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import httpx
import psycopg
import pytest
from redis.asyncio import Redis

from cloud.api.revoking import Revoker
from cloud.config import Settings
from cloud.consents.registry import Registry
from cloud.database.connection import Pool
from cloud.embedded.redis import EmbeddedRedis
from cloud.keys.custody import FileKeyCustody
from cloud.keys.platform_keys import load_signing_key
from cloud.lifecycle.erasing import ErasingTools, SessionEraser
from cloud.lifecycle.erasures import PostgresErasures
from cloud.streams.redis_sessions import RedisRevocations, RedisSetupStore
from cloud.streams.redis_streams import RedisCropStream, RedisResultStream
from privacy.governance.erasure import verify_deletion_receipt
from privacy.governance.policy import load_policy
from privacy.protocol.ids import SessionId, TenantId
from tests.fixtures_postgres import Database
from tests.fixtures_street import eventually
from tests.integration.api_client import Studio, Viewer, problem, rows, signing_key
from tests.integration.test_api import client, clock, register, revoker, settings, studio  # noqa: F401 - fixtures

LOCKS = {
    "row": "SELECT 1 FROM session FOR UPDATE",
    "audit log": "SELECT pg_advisory_xact_lock(hashtextextended(tenant_id::text, 6962)) FROM tenant",
    "everything": "LOCK TABLE session, erasure_job IN EXCLUSIVE MODE",
}
UNFINISHED = {"stream": "stopped", "record": "queued", "deletion": "queued"}
QUEUED = {"stream": "stopped", "record": "done", "deletion": "queued"}


def session_of(viewer: Viewer) -> SessionId:
    return SessionId(UUID(viewer.session))


@contextlib.asynccontextmanager
async def held(database: Database, what: str) -> AsyncIterator[None]:
    """Somebody holds what an ending needs, until the end of the block."""
    async with await psycopg.AsyncConnection.connect(database.admin_url) as other:
        await other.execute(LOCKS[what].encode())
        yield
        await other.rollback()


@contextlib.asynccontextmanager
async def full(redis: Redis) -> AsyncIterator[None]:
    """Redis is at its memory's end until the end of the block."""
    before = (await redis.config_get("maxmemory"))["maxmemory"]
    await redis.config_set("maxmemory", "1")
    try:
        yield
    finally:
        await redis.config_set("maxmemory", before)


@contextlib.asynccontextmanager
async def heard(redis: Redis) -> AsyncIterator[list[str]]:
    """What the street hears of revocations meanwhile."""
    said: list[str] = []
    begun = asyncio.Event()

    async def listen() -> None:
        async with redis.pubsub() as subscription:
            await subscription.subscribe("revocations")
            async for message in subscription.listen():
                begun.set()
                if message["type"] == "message":
                    said.append(message["data"].decode())

    listening = asyncio.create_task(listen())
    await begun.wait()
    yield said
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def settle(studio: Studio, pool: Pool, custody: FileKeyCustody) -> None:  # noqa: F811
    """Do what the lifecycle does first with a queued deletion."""
    erasures = PostgresErasures(pool, custody)
    for job in await erasures.list_pending(TenantId(UUID(studio.tenant))):
        await erasures.settle(job, now=datetime.now(UTC))


async def erase(
    studio: Studio,  # noqa: F811
    pool: Pool,
    redis: Redis,
    settings: Settings,  # noqa: F811
    custody: FileKeyCustody,
) -> None:
    """Carry every queued deletion out, as the lifecycle does."""

    async def at_once(_seconds: float) -> None:
        return

    tools = ErasingTools(
        erasures=PostgresErasures(pool, custody),
        crops=RedisCropStream(redis, utc_ms=lambda: time.time_ns() // 1_000_000, max_age_ms=2_000),
        results=RedisResultStream(redis),
        setups=RedisSetupStore(redis),
        revocations=RedisRevocations(redis),
        policy=load_policy(),
        signing_key=load_signing_key(settings.state_dir),
        shards=settings.shards,
        clock=lambda: datetime.now(UTC),
        sleep=at_once,
    )
    await SessionEraser(tools).erase(await tools.erasures.list_pending(TenantId(UUID(studio.tenant))))


@pytest.mark.parametrize("what", ["row", "audit log", "everything"])
async def test_a_withdrawal_does_not_wait_for_what_somebody_else_holds(
    studio: Studio,  # noqa: F811
    database: Database,
    redis_client: Redis,
    pool: Pool,
    custody: FileKeyCustody,
    what: str,
) -> None:
    viewer = await studio.invite()
    given = await viewer.consent()
    registry, tenant = Registry(pool), TenantId(UUID(studio.tenant))
    async with heard(redis_client) as said, held(database, what):
        async with asyncio.timeout(5):
            answer = await viewer.ask("POST", "/withdraw")
        assert (answer.status_code, answer.json()) == (202, UNFINISHED)
        await eventually(lambda: session_of(viewer).hex in said)
        assert await RedisRevocations(redis_client).is_revoked(session_of(viewer))
        ticket = await viewer.ask("POST", "/ticket", {"receipt_sha256": given["receipt_sha256"]})
        assert ticket.status_code == 410 and problem(ticket) == "session-over"
        if what != "everything":
            assert (await registry.get_session(tenant, session_of(viewer))).state == "withdrawn"
            gone = await studio.ask("GET", f"/v1/sessions/{viewer.session}/report")
            assert gone.status_code == 410, "a session that is being withdrawn is still shown"
            assert await rows(database, studio.tenant, "SELECT reason, owed, actor FROM erasure_job") == [
                ("withdrawal", "withdrawn", "viewer")
            ]

    async def is_recorded() -> bool:
        await settle(studio, pool, custody)
        state = await rows(database, studio.tenant, "SELECT state FROM session")
        return state == [("withdrawn",)]

    await eventually(is_recorded)
    again = await viewer.ask("POST", "/withdraw")
    assert (again.status_code, again.json()) == (200, QUEUED)
    kinds = await rows(database, studio.tenant, "SELECT kind FROM consent_event ORDER BY at")
    assert [kind for (kind,) in kinds].count("withdrawn") == 1
    assert await rows(database, studio.tenant, "SELECT owed FROM erasure_job") == [(None,)]
    logged = await rows(
        database, studio.tenant, "SELECT actor FROM audit_entry WHERE action = 'consent.withdrawn'"
    )
    assert logged == [("viewer",)]


async def test_an_erasure_by_the_studio_does_not_wait_either_and_reaches_its_own_sessions_alone(
    client: httpx.AsyncClient,  # noqa: F811
    studio: Studio,  # noqa: F811
    database: Database,
    redis_client: Redis,
) -> None:
    viewer = await studio.invite()
    await viewer.consent()
    stranger = await register(client, "Stranger")
    async with held(database, "row"):
        refused = await stranger.ask("POST", f"/v1/sessions/{viewer.session}/erase")
        assert refused.status_code == 404
        assert not await RedisRevocations(redis_client).is_revoked(session_of(viewer))
        async with asyncio.timeout(5):
            answer = await studio.ask("POST", f"/v1/sessions/{viewer.session}/erase")
        assert (answer.status_code, answer.json()["deletion"]) == (202, "queued")
        assert await RedisRevocations(redis_client).is_revoked(session_of(viewer))
        assert (await studio.ask("GET", f"/v1/sessions/{viewer.session}")).json()["state"] == "withdrawn"


async def test_a_declared_minor_is_let_go_although_the_row_is_held(
    studio: Studio,  # noqa: F811
    database: Database,
    redis_client: Redis,
    pool: Pool,
    custody: FileKeyCustody,
) -> None:
    viewer = await studio.invite()
    notice = await viewer.read_notice()
    async with held(database, "row"):
        async with asyncio.timeout(5):
            answer = await viewer.ask("POST", "/consent", viewer.consent_body(notice["sha256"], adult=False))
        assert answer.status_code == 403 and problem(answer) == "consent-minor"
        assert await RedisRevocations(redis_client).is_revoked(session_of(viewer))
        again = await viewer.ask("POST", "/consent", viewer.consent_body(notice["sha256"]))
        assert again.status_code == 410
    await settle(studio, pool, custody)
    found = await rows(database, studio.tenant, "SELECT state, close_reason FROM session")
    assert found == [("withdrawn", "declared_minor")]
    assert await rows(database, studio.tenant, "SELECT kind FROM consent_event") == [("declared_minor",)]


async def test_a_consent_on_a_held_row_is_told_to_come_back_and_holds_nobody_up(
    studio: Studio,  # noqa: F811
    database: Database,
) -> None:
    viewer = await studio.invite()
    notice = await viewer.read_notice()
    async with held(database, "row"), asyncio.timeout(5):
        answer = await viewer.ask("POST", "/consent", viewer.consent_body(notice["sha256"]))
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"


async def test_a_redis_at_its_memorys_end_carries_the_withdrawal_and_remembers_it_later(
    studio: Studio,  # noqa: F811
    revoker: Revoker,  # noqa: F811
    redis_client: Redis,
) -> None:
    viewer = await studio.invite()
    given = await viewer.consent()
    telling = asyncio.create_task(revoker.keep_telling())
    async with heard(redis_client) as said, full(redis_client):
        answer = await viewer.ask("POST", "/withdraw")
        assert (answer.status_code, answer.json()) == (200, QUEUED)
        await eventually(lambda: said.count(session_of(viewer).hex) >= 2)  # told until it is remembered
        assert not await RedisRevocations(redis_client).is_revoked(session_of(viewer))
        ticket = await viewer.ask("POST", "/ticket", {"receipt_sha256": given["receipt_sha256"]})
        assert ticket.status_code == 410
    await eventually(lambda: RedisRevocations(redis_client).is_revoked(session_of(viewer)))
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)


async def test_a_redis_that_hangs_keeps_the_withdrawal_out_of_nothing_else(
    studio: Studio,  # noqa: F811
    database: Database,
    redis_server: EmbeddedRedis,
    redis_client: Redis,
) -> None:
    viewer = await studio.invite()
    await viewer.consent()
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(4):
            answer = await viewer.ask("POST", "/withdraw")
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    assert (answer.status_code, answer.json()) == (202, {**QUEUED, "stream": "stopping"})
    assert await rows(database, studio.tenant, "SELECT state FROM session") == [("withdrawn",)]
    await eventually(lambda: RedisRevocations(redis_client).is_revoked(session_of(viewer)))


async def test_the_viewer_gets_the_deletion_receipt_and_may_withdraw_again_after_the_erasure(
    studio: Studio,  # noqa: F811
    settings: Settings,  # noqa: F811
    pool: Pool,
    redis_client: Redis,
    custody: FileKeyCustody,
) -> None:
    viewer = await studio.invite()
    joined = (await viewer.ask("GET")).json()
    none = await viewer.ask("GET", "/deletion-receipt")
    assert none.status_code == 404 and problem(none) == "no-deletion"
    await viewer.consent()
    assert (await viewer.ask("GET", "/deletion-receipt")).status_code == 404
    await viewer.ask("POST", "/withdraw")
    waiting = await viewer.ask("GET", "/deletion-receipt")
    assert (waiting.status_code, waiting.json()["deletion"]) == (202, "queued")
    assert waiting.headers["retry-after"] == "1"

    await erase(studio, pool, redis_client, settings, custody)

    got = await viewer.ask("GET", "/deletion-receipt")
    assert got.status_code == 200
    claims = verify_deletion_receipt(got.json()["receipt"], signing_key(joined))
    assert claims.session == session_of(viewer)
    again = await viewer.ask("POST", "/withdraw")
    assert (again.status_code, again.json()["deletion"]) == (200, "done")
    assert (await viewer.ask("GET")).status_code == 401, "an erased session cannot be joined"
    other = await studio.invite(viewer="viewer-2")
    tenant_hex, session_hex, secret = viewer.token.split(".")
    for forged in (
        f"{tenant_hex}.{session_hex}.{secret[:-1]}{'A' if secret[-1] != 'A' else 'Q'}",
        f"{tenant_hex}.{session_hex}.{'A' if secret[0] != 'A' else 'B'}{secret[1:]}",
        f"{tenant_hex}.{session_hex}.{other.token.split('.')[2]}",
        f"{tenant_hex}.{session_of(other).hex}.{secret}",
    ):
        liar = Viewer(client=viewer.client, session=viewer.session, token=forged)
        assert (await liar.ask("GET", "/deletion-receipt")).status_code == 401
        assert (await liar.ask("POST", "/withdraw")).status_code == 401
    assert (await studio.ask("GET", f"/v1/sessions/{other.session}")).json()["state"] == "created"
