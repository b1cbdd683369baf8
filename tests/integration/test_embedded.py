"""The embedded servers: started, stopped, started again on the same data, never twice at once."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from cloud.embedded import account, postgres
from cloud.embedded import redis as embedded_redis
from cloud.embedded.account import Account, reachable_binaries, reachable_directory
from cloud.errors import StoreError


@pytest.fixture
def state() -> Iterator[Path]:
    base = Path(tempfile.mkdtemp(prefix="countenance-embedded-"))
    base.chmod(0o755)
    yield base / "state"
    shutil.rmtree(base, ignore_errors=True)


def test_data_survives_a_restart_and_an_orphan_is_replaced(state: Path) -> None:
    server = postgres.start(state / "postgres", is_durable=False)
    with psycopg.connect(server.urls.owner_url) as owner:
        owner.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with pytest.raises(StoreError, match="another supervisor uses"):
        postgres.start(state / "postgres", is_durable=False)
    # as if the supervisor had been killed: the server lives, nobody holds the lock
    server._lock.release()
    again = postgres.start(state / "postgres", is_durable=False)
    try:
        assert server._server.wait(10) is not None
        with psycopg.connect(again.urls.owner_url) as owner:
            assert owner.execute("SELECT answer FROM kept").fetchone() == (42,)
    finally:
        again.stop()
        again.stop()
    assert not again.is_running()


def test_passwords_are_needed_private_and_not_shown(state: Path) -> None:
    server = postgres.start(state / "postgres", is_durable=False)
    try:
        assert "postgresql://" not in repr(server.urls)
        assert (state / "postgres" / "passwords.json").stat().st_mode & 0o777 == 0o600
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(server.urls.app_url.replace(":", ":x", 2).replace("postgresql:x", "postgresql:"))
        with (
            psycopg.connect(server.urls.app_url) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute("CREATE TABLE mine (a int)")
    finally:
        server.stop()


def test_a_cluster_whose_passwords_are_lost_is_refused_with_what_to_do(state: Path) -> None:
    server = postgres.start(state / "postgres", is_durable=False)
    server.stop()
    (state / "postgres" / "passwords.json").unlink()
    with pytest.raises(StoreError, match="restore it, or remove"):
        postgres.start(state / "postgres", is_durable=False)


def test_redis_keeps_nothing_and_refuses_to_be_made_to(tmp_path: Path) -> None:
    server = embedded_redis.start(tmp_path / "redis", max_memory_mib=16)
    try:
        client = redis.Redis.from_url(server.url)
        client.set("canary", "face")
        for command in ("SAVE", "BGSAVE", "BGREWRITEAOF", "MONITOR"):
            with pytest.raises(redis.ResponseError):
                client.execute_command(command)
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            for n in range(64):
                client.set(f"big{n}", bytes(1_000_000))
        client.close()
        anonymous = redis.Redis(port=int(server.url.rpartition(":")[2].split("/")[0]))
        with pytest.raises(redis.AuthenticationError):
            anonymous.ping()
        anonymous.close()
    finally:
        server.stop()
    assert {path.name for path in (tmp_path / "redis").iterdir()} == {
        "pid",
        "redis.conf",
        "redis.log",
        "supervisor.lock",
    }
    assert b"face" not in (tmp_path / "redis" / "redis.log").read_bytes()


def test_a_redis_that_a_killed_supervisor_left_is_ended(tmp_path: Path) -> None:
    first = embedded_redis.start(tmp_path / "redis")
    first._lock.release()
    second = embedded_redis.start(tmp_path / "redis")
    try:
        assert first._server.wait(10) == -signal.SIGTERM or first._server.returncode == 0
        assert second.is_running()
    finally:
        second.stop()


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root hands files to another account"
)
def test_binaries_in_a_closed_directory_are_copied_for_the_account(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "bin").mkdir(parents=True)
    (closed / "bin" / "postgres").write_text("#!/bin/sh\n")
    closed.chmod(0o700)
    copied = reachable_binaries(closed, Account(user_id=65_534, group_id=65_534), copy_to=tmp_path / "server")
    assert copied == tmp_path / "server"
    assert (copied / "bin" / "postgres").stat().st_uid == 65_534
    assert reachable_binaries(closed, None, copy_to=tmp_path / "other") == closed


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root hands files to another account"
)
def test_data_kept_outside_a_closed_state_directory_goes_when_that_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "_FALLBACK_ROOT", tmp_path / "fallback")
    tmp_path.chmod(0o700)
    nobody = Account(user_id=65_534, group_id=65_534)
    first = reachable_directory(tmp_path / "one" / "state" / "postgres", nobody)
    (first / "kept").touch()
    assert first.is_relative_to(tmp_path / "fallback")
    assert (reachable_directory(tmp_path / "one" / "state" / "postgres", nobody) / "kept").exists()
    shutil.rmtree(tmp_path / "one")
    reachable_directory(tmp_path / "two" / "state" / "postgres", nobody)
    assert not first.exists()


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root hands files to another account"
)
def test_data_of_a_state_directory_that_is_not_mounted_now_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account, "_FALLBACK_ROOT", tmp_path / "fallback")
    monkeypatch.setattr(account, "_MOUNTS", tmp_path / "mountinfo")
    (tmp_path / "mountinfo").write_text(f"1 1 8:1 / {tmp_path}/disk rw - ext4 /dev/sda1 rw\n")
    tmp_path.chmod(0o700)
    nobody = Account(user_id=65_534, group_id=65_534)
    first = reachable_directory(tmp_path / "disk" / "state" / "postgres", nobody)
    (first / "kept").touch()
    # the disk is away: its mount point is an empty directory again
    (tmp_path / "disk").rename(tmp_path / "away")
    (tmp_path / "mountinfo").write_text("")
    (tmp_path / "disk").mkdir()

    reachable_directory(tmp_path / "other" / "state" / "postgres", nobody)
    assert (first / "kept").exists(), "a sweep on behalf of another state directory"
    with pytest.raises(StoreError, match="mount the disk"):
        reachable_directory(tmp_path / "disk" / "state" / "postgres", nobody)
    shutil.rmtree(tmp_path / "disk")
    (tmp_path / "away").rename(tmp_path / "disk")
    (tmp_path / "mountinfo").write_text(f"1 1 8:1 / {tmp_path}/disk rw - ext4 /dev/sda1 rw\n")
    assert (reachable_directory(tmp_path / "disk" / "state" / "postgres", nobody) / "kept").exists()
