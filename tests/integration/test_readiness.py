"""Ready means that what must be written can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from redis.asyncio import Redis

from cloud.database import health
from cloud.database.connection import Pool, open_pool
from cloud.embedded import postgres
from cloud.streams.redis_connection import HEALTH_KEY, find_fault
from tests.fixtures_postgres import Database

DISK_MIB = 160


async def test_a_database_that_takes_writes_has_no_fault(pool: Pool) -> None:
    assert await health.find_fault(pool) == ""


async def test_the_check_writes_a_file_and_so_meets_what_forbids_it(database: Database) -> None:
    name = database.app_url.rpartition("/")[2]
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET temp_file_limit = 0")
    pool = await open_pool(database.app_url)
    assert "ConfigurationLimitExceeded" in await health.find_fault(pool)
    await pool.close()


async def test_a_database_that_only_reads_is_not_ready(database: Database) -> None:
    name = database.app_url.rpartition("/")[2]
    with psycopg.connect(database.admin_url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    pool = await open_pool(database.app_url)
    assert "read-only" in await health.find_fault(pool)
    await pool.close()


async def test_a_database_that_is_away_is_not_ready(pool: Pool) -> None:
    await pool.close()
    assert "cannot be reached" in await health.find_fault(pool)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own, small enough to fill."""
    mount = shutil.which("mount")
    where = Path(tempfile.mkdtemp(prefix="countenance-disk-"))
    where.chmod(0o755)
    command = [str(mount), "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=755", "tmpfs", str(where)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        where.rmdir()
        pytest.skip("no file system can be mounted here")
    yield where
    subprocess.run(["umount", str(where)], check=True)
    where.rmdir()


async def test_a_full_disk_is_not_ready_and_one_with_room_again_is(small_disk: Path) -> None:
    server = postgres.start(small_disk / "state" / "postgres")
    try:
        pool = await open_pool(server.urls.app_url)
        assert await health.find_fault(pool) == ""
        filler = small_disk / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12):
                try:
                    while file.write(os.urandom(size)) == size:
                        pass
                except OSError:
                    continue
        assert "DiskFull" in await health.find_fault(pool)
        filler.unlink()
        assert await health.find_fault(pool) == ""
        await pool.close()
    finally:
        server.stop()


async def test_a_redis_that_is_full_or_away_is_not_ready(redis_client: Redis) -> None:
    assert await find_fault(redis_client) == ""
    assert 0 < await redis_client.pttl(HEALTH_KEY) <= 1_000
    before = (await redis_client.config_get("maxmemory"))["maxmemory"]
    await redis_client.config_set("maxmemory", 1)
    try:
        assert "OutOfMemory" in await find_fault(redis_client)
    finally:
        await redis_client.config_set("maxmemory", before)
    assert await find_fault(redis_client) == ""
