"""The audit log on a real PostgreSQL: one tree without forks, and whoever rewrites it is found out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.audit.repository import PostgresAuditLog, append_entry
from cloud.consents.registry import Registry
from cloud.database.connection import Pool, tenant_transaction
from privacy.errors import AuditError
from privacy.governance.audit.checkpoint import verify_checkpoint
from privacy.governance.audit.log import verify_log
from privacy.governance.audit.tree import tree_root
from privacy.protocol.ids import TenantId
from tests.fixtures_postgres import NOW, Database

KEY = Ed25519PrivateKey.from_private_bytes(bytes(31) + b"\2")


@pytest.fixture
async def tenant(registry: Registry) -> TenantId:
    return await registry.create_tenant(name="Studio", now=NOW)


async def append(pool: Pool, tenant: TenantId, number: int) -> int:
    async with tenant_transaction(pool, tenant) as connection:
        return await append_entry(
            connection,
            tenant,
            actor="api_key:1",
            action="study.read",
            subject=f"study:{number}",
            detail={},
            now=NOW,
        )


async def verified(pool: Pool, tenant: TenantId) -> bytes:
    log = await PostgresAuditLog(pool).read(tenant)
    return verify_log(
        tenant=tenant,
        leaves=log.leaves,
        entries=log.entries,
        checkpoints=log.checkpoints,
        public_key=KEY.public_key(),
        first=log.first,
    )


async def test_appends_at_once_make_one_log_without_a_fork(pool: Pool, tenant: TenantId) -> None:
    numbers = await asyncio.gather(*(append(pool, tenant, number) for number in range(20)))
    assert sorted(numbers) == list(range(20))
    assert await verified(pool, tenant) == tree_root((await PostgresAuditLog(pool).read(tenant)).leaves)


async def test_a_head_is_signed_once_for_what_was_appended(pool: Pool, tenant: TenantId) -> None:
    log = PostgresAuditLog(pool)
    assert await log.sign_head(tenant, KEY, now=NOW) is None
    for number in range(3):
        await append(pool, tenant, number)
    signed = await log.sign_head(tenant, KEY, now=NOW)
    assert signed is not None
    head = verify_checkpoint(signed, KEY.public_key())
    assert (head.size, head.root, head.tenant) == (3, tree_root((await log.read(tenant)).leaves), tenant)
    assert await log.sign_head(tenant, KEY, now=NOW) is None
    await append(pool, tenant, 3)
    assert await log.sign_head(tenant, KEY, now=NOW) is not None
    assert await verified(pool, tenant)


async def test_an_entry_that_is_rolled_back_leaves_no_trace(pool: Pool, tenant: TenantId) -> None:
    with pytest.raises(RuntimeError):
        async with tenant_transaction(pool, tenant) as connection:
            await append_entry(connection, tenant, actor="a", action="b.c", subject="d", detail={}, now=NOW)
            raise RuntimeError
    assert await append(pool, tenant, 0) == 0
    assert await verified(pool, tenant)


def rewritten_text(admin: psycopg.Connection) -> None:
    admin.execute("UPDATE audit_entry SET actor = 'nobody' WHERE seq = 1")


def dropped_entry(admin: psycopg.Connection) -> None:
    admin.execute("DELETE FROM audit_entry WHERE seq = 1")


def cut_end(admin: psycopg.Connection) -> None:
    admin.execute("DELETE FROM audit_entry WHERE seq = 3")
    admin.execute("DELETE FROM audit_leaf WHERE seq = 3")


def swapped(admin: psycopg.Connection) -> None:
    admin.execute("UPDATE audit_entry SET seq = 99 WHERE seq = 1")
    admin.execute("UPDATE audit_entry SET seq = 1 WHERE seq = 2")
    admin.execute("UPDATE audit_entry SET seq = 2 WHERE seq = 99")


def changed_leaf(admin: psycopg.Connection) -> None:
    admin.execute("DELETE FROM audit_entry WHERE seq < 3")
    admin.execute("UPDATE audit_leaf SET leaf = sha256('other') WHERE seq = 1")


@pytest.mark.parametrize("tamper", [rewritten_text, dropped_entry, cut_end, swapped, changed_leaf])
async def test_a_superuser_who_rewrites_the_log_is_found_out(
    pool: Pool, tenant: TenantId, database: Database, tamper: Callable[[psycopg.Connection], None]
) -> None:
    for number in range(4):
        await append(pool, tenant, number)
    await PostgresAuditLog(pool).sign_head(tenant, KEY, now=NOW)
    assert await verified(pool, tenant)

    with psycopg.connect(database.admin_url) as admin:
        admin.execute("SET session_replication_role = replica")  # no trigger fires
        tamper(admin)
    with pytest.raises(AuditError):
        await verified(pool, tenant)
