"""Forward-only, checksummed migrations, applied by the owner role under an advisory lock."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import LiteralString

import psycopg

from cloud.errors import StoreError

_LOCK = 0x636F756E74656E61
_FILE = re.compile(r"^(\d{4})_(\w+)\.sql$")
_LEDGER: LiteralString = """
CREATE SCHEMA IF NOT EXISTS platform;
CREATE TABLE IF NOT EXISTS platform.schema_migration (
    version int PRIMARY KEY,
    name text NOT NULL,
    sha256 bytea NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One numbered SQL file."""

    version: int
    name: str
    text: LiteralString = field(repr=False)

    @property
    def sha256(self) -> bytes:
        """Digest of the text; an applied file must never change."""
        return hashlib.sha256(self.text.encode()).digest()


def shipped_migrations() -> tuple[Migration, ...]:
    """Read the migrations of this version, in order."""
    found = []
    for entry in files("cloud.database").joinpath("migrations").iterdir():
        match = _FILE.match(entry.name)
        if match is not None:
            text: LiteralString = entry.read_text("utf-8")
            found.append(Migration(version=int(match.group(1)), name=match.group(2), text=text))
    return tuple(sorted(found, key=lambda migration: migration.version))


def pending_migrations(
    shipped: Sequence[Migration], applied: Sequence[tuple[int, bytes]]
) -> tuple[Migration, ...]:
    """Compare what is shipped with what a database has.

    Args:
        shipped: in order.
        applied: version and digest of each applied one, in order.

    Returns:
        What is still to be applied, in order.

    Raises:
        StoreError: an applied migration was changed, or the database is newer than this version.
    """
    if len(applied) > len(shipped):
        raise StoreError(
            f"the database has {len(applied)} migrations, this version knows {len(shipped)}: "
            "run a version at least as new as the database"
        )
    for migration, (version, digest) in zip(shipped, applied, strict=False):
        if (migration.version, migration.sha256) != (version, digest):
            raise StoreError(
                f"migration {version:04d} was applied from another text: migrations never change"
            )
    return tuple(shipped[len(applied) :])


def migrate(owner_url: str) -> int:
    """Bring a database up to date.

    Args:
        owner_url: as the owner role; the roles countenance_owner and countenance_app must exist.

    Returns:
        How many migrations were applied now.

    Raises:
        StoreError: unreachable, refused, or `pending_migrations` says why.
    """
    try:
        with psycopg.connect(owner_url, autocommit=True, connect_timeout=10) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
            connection.execute(_LEDGER)
            applied = connection.execute(
                "SELECT version, sha256 FROM platform.schema_migration ORDER BY version"
            ).fetchall()
            pending = pending_migrations(shipped_migrations(), applied)
            for migration in pending:
                _apply(connection, migration)
            return len(pending)
    except psycopg.OperationalError:
        raise StoreError("PostgreSQL cannot be reached as the owner role") from None


def is_current(owner_url: str) -> bool:
    """Say whether nothing is left to be applied.

    Raises:
        StoreError: as `migrate`.
    """
    try:
        with psycopg.connect(owner_url, connect_timeout=10) as connection:
            known = connection.execute("SELECT to_regclass('platform.schema_migration')").fetchone()
            if known is None or known[0] is None:
                return False
            applied = connection.execute(
                "SELECT version, sha256 FROM platform.schema_migration ORDER BY version"
            ).fetchall()
            return not pending_migrations(shipped_migrations(), applied)
    except psycopg.OperationalError:
        raise StoreError("PostgreSQL cannot be reached as the owner role") from None


def _apply(connection: psycopg.Connection[tuple[int, bytes]], migration: Migration) -> None:
    try:
        with connection.transaction():
            connection.execute(migration.text)
            connection.execute(
                "INSERT INTO platform.schema_migration (version, name, sha256) VALUES (%s, %s, %s)",
                (migration.version, migration.name, migration.sha256),
            )
    except psycopg.Error as error:
        raise StoreError(
            f"migration {migration.version:04d}_{migration.name} failed and was rolled back: {error}"
        ) from error
