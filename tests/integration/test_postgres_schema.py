"""The schema itself: migrations, row-level security on every table, evidence that only grows."""

from __future__ import annotations

import itertools
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest

from cloud.consents.registry import Registry
from cloud.database import migrate as migrations
from cloud.database.connection import Pool, platform_transaction, tenant_transaction
from cloud.database.queries import load_queries
from cloud.errors import StoreError
from privacy.protocol.ids import TenantId
from tests.fixtures_postgres import NOW, Consented, Database, consented_session

_TABLES = """
SELECT n.nspname, c.relname, c.relrowsecurity, c.relforcerowsecurity, pg_get_userbyid(c.relowner),
    EXISTS (SELECT 1 FROM pg_attribute a
            WHERE a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attnotnull),
    (SELECT array_agg(pg_get_expr(p.polqual, c.oid) || ' / ' || pg_get_expr(p.polwithcheck, c.oid))
     FROM pg_policy p WHERE p.polrelid = c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'platform')
    AND n.nspname NOT LIKE 'pg_%'
ORDER BY 1, 2
"""
_BOUND = "(tenant_id = platform.current_tenant())"
_EVIDENCE = (
    "notice_event",
    "consent_event",
    "audit_entry",
    "audit_leaf",
    "audit_checkpoint",
    "deletion_receipt",
)


def test_every_table_outside_platform_is_bound_to_a_tenant_for_its_owner_as_well(database: Database) -> None:
    with psycopg.connect(database.owner_url) as connection:
        tables = connection.execute(_TABLES).fetchall()

    assert len(tables) >= 19
    for schema, name, enabled, forced, owner, has_tenant, policies in tables:
        where = f"{schema}.{name}"
        assert (enabled, forced, has_tenant) == (True, True, True), where
        assert policies == [f"{_BOUND} / {_BOUND}"], where
        assert owner == "countenance_owner", where


def test_platform_holds_no_column_of_a_tenant_beside_its_id(database: Database) -> None:
    with psycopg.connect(database.owner_url) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'platform'"
        ).fetchall()

    assert {table for table, _ in columns} == {
        "aggregate_worker",
        "lifecycle_clock",
        "schema_migration",
        "shard_lease",
        "tenant_directory",
    }
    assert {column for table, column in columns if table == "tenant_directory"} == {"tenant_id", "created_at"}


def test_the_application_role_cannot_pass_row_level_security(database: Database) -> None:
    with psycopg.connect(database.admin_url) as connection:
        roles = connection.execute(
            "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles "
            "WHERE rolname LIKE 'countenance%' ORDER BY 1"
        ).fetchall()

    assert [tuple(row) for row in roles] == [
        ("countenance_app", False, False, False, False),
        ("countenance_owner", False, False, False, False),
    ]


async def test_without_a_tenant_the_application_sees_no_row_of_any_table(
    pool: Pool, database: Database, consented: Consented
) -> None:
    with psycopg.connect(database.owner_url) as owner:
        tables = [f"{row[0]}.{row[1]}" for row in owner.execute(_TABLES).fetchall()]
    async with platform_transaction(pool) as connection:
        for table in tables:
            row = await (await connection.execute(f"SELECT count(*) FROM {table}")).fetchone()
            assert row == (0,), table
    async with tenant_transaction(pool, consented.tenant) as connection:
        row = await (await connection.execute("SELECT count(*) FROM session")).fetchone()
        assert row == (1,)


async def test_one_tenant_neither_sees_nor_writes_rows_of_another(
    pool: Pool, registry: Registry, consented: Consented
) -> None:
    other = await registry.create_tenant(name="Other", now=NOW)
    theirs = await consented_session(registry, other)

    async with tenant_transaction(pool, consented.tenant) as connection:
        seen = await (await connection.execute("SELECT id FROM session")).fetchall()
        assert [row[0] for row in seen] == [consented.session]
        changed = await connection.execute("UPDATE session SET locale = 'x' WHERE id = %s", (theirs.session,))
        assert changed.rowcount == 0
    with pytest.raises(StoreError, match="InsufficientPrivilege"):
        async with tenant_transaction(pool, consented.tenant) as connection:
            await connection.execute(
                "INSERT INTO title (tenant_id, id, name, duration_ms, created_at) VALUES (%s, %s, 'x', 1, now())",
                (other, uuid4()),
            )


def test_whatever_is_kept_of_a_session_is_erased_with_it_or_is_evidence(database: Database) -> None:
    erased = "\n".join(load_queries("erasures").values())
    evidence = {*_EVIDENCE, "erasure_job"}
    with psycopg.connect(database.owner_url) as owner:
        tables = owner.execute(
            "SELECT table_schema, table_name FROM information_schema.columns "
            "WHERE column_name = 'session_id' AND table_schema IN ('public', 'custody')"
        ).fetchall()
    assert len(tables) > 10
    for schema, name in tables:
        if name not in evidence:
            full = name if schema == "public" else f"{schema}.{name}"
            assert f"DELETE FROM {full} WHERE" in erased, full
            assert f"FROM {full} WHERE" in load_queries("erasures")["count_left"], full


async def test_asking_what_is_due_leaves_a_transaction_bound_to_its_own_tenant(
    pool: Pool, registry: Registry, consented: Consented
) -> None:
    await consented_session(registry, await registry.create_tenant(name="Other", now=NOW))
    async with tenant_transaction(pool, consented.tenant) as connection:
        far = NOW + timedelta(days=400)
        values = {"overdue": True, "silent_before": far, "timeline": far, "session_facts": far}
        rows = await (await connection.execute(load_queries("due_work")["tenants_due"], values)).fetchall()
        assert len(rows) == 2
        seen = await (await connection.execute("SELECT id FROM session")).fetchall()
        assert [row[0] for row in seen] == [consented.session]


async def test_a_pooled_connection_forgets_its_tenant_after_the_transaction(
    pool: Pool, consented: Consented
) -> None:
    async with pool.connection() as connection:
        async with connection.transaction():
            await connection.execute("SELECT set_config('app.tenant', %s, true)", (str(consented.tenant),))
            assert await (await connection.execute("SELECT count(*) FROM session")).fetchone() == (1,)
        assert await (await connection.execute("SELECT count(*) FROM session")).fetchone() == (0,)


@pytest.mark.parametrize(
    ("table", "statement"),
    list(
        itertools.product(_EVIDENCE, ("UPDATE {} SET tenant_id = tenant_id", "DELETE FROM {}", "TRUNCATE {}"))
    ),
)
async def test_evidence_is_never_changed_or_deleted_even_by_its_owner(
    pool: Pool, database: Database, consented: Consented, table: str, statement: str
) -> None:
    async with tenant_transaction(pool, consented.tenant) as connection:
        await connection.execute(
            "INSERT INTO deletion_receipt VALUES (%s, %s, %s, 'x', now())",
            (consented.tenant, uuid4(), consented.session),
        )
        await connection.execute(
            "INSERT INTO audit_checkpoint VALUES (%s, 1, %s, 'x', now())", (consented.tenant, bytes(32))
        )
    with pytest.raises(StoreError, match="InsufficientPrivilege"):
        async with tenant_transaction(pool, consented.tenant) as connection:
            await connection.execute(statement.format(table))
    with psycopg.connect(database.owner_url) as owner:
        owner.execute("SELECT set_config('app.tenant', %s, false)", (str(consented.tenant),))
        with pytest.raises(psycopg.errors.RestrictViolation):
            owner.execute(statement.format(table))


async def test_evidence_older_than_its_period_can_be_purged_and_younger_cannot(
    pool: Pool, consented: Consented
) -> None:
    async with tenant_transaction(pool, consented.tenant) as connection:
        await connection.execute(
            "INSERT INTO consent_event (tenant_id, id, session_id, kind, purposes, opted_out, at) "
            "VALUES (%s, %s, %s, 'refused', '{}', '{}', now() - interval '4 years')",
            (consented.tenant, uuid4(), consented.session),
        )
        purged = await connection.execute("SELECT platform.purge_evidence(now() - interval '3 years')")
        assert await purged.fetchone() == (1,)
    with pytest.raises(StoreError, match="RestrictViolation"):
        async with tenant_transaction(pool, consented.tenant) as connection:
            await connection.execute("SELECT platform.purge_evidence(now())")


def test_migrating_twice_applies_nothing_the_second_time(empty_database: Database) -> None:
    shipped = len(migrations.shipped_migrations())

    assert migrations.is_current(empty_database.owner_url) is False
    assert migrations.migrate(empty_database.owner_url) == shipped
    assert migrations.is_current(empty_database.owner_url) is True
    assert migrations.migrate(empty_database.owner_url) == 0


def test_a_changed_migration_is_refused(empty_database: Database) -> None:
    migrations.migrate(empty_database.owner_url)
    with psycopg.connect(empty_database.owner_url) as connection:
        connection.execute("UPDATE platform.schema_migration SET sha256 = '\\x00' WHERE version = 1")

    with pytest.raises(StoreError, match="migration 0001 was applied from another text"):
        migrations.migrate(empty_database.owner_url)


def test_a_failing_migration_leaves_nothing_behind(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = migrations.Migration(version=1, name="broken", text="CREATE TABLE half (a int); SELECT nothing")
    monkeypatch.setattr(migrations, "shipped_migrations", lambda: (broken,))

    with pytest.raises(StoreError, match="0001_broken failed and was rolled back"):
        migrations.migrate(empty_database.owner_url)
    with psycopg.connect(empty_database.owner_url) as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)


async def test_an_unknown_tenant_reads_nothing(registry: Registry, consented: Consented) -> None:
    assert await registry.list_sessions(TenantId(uuid4())) == []
