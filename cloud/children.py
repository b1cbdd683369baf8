"""Child processes that are kept running: crash-only, with back-off."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

BACKOFF_FIRST_S = 0.1
BACKOFF_LAST_S = 8.0
STEADY_S = 20.0
"""A child that lived this long is forgiven its earlier crashes."""

STOP_TIMEOUT_S = 8.0
LOG_MAX_BYTES = 8_000_000
CHUNK_BYTES = 65_536
LAST_WORDS_S = 1.0
_PROBE_TIMEOUT_S = 2.0
_PROBE_EVERY_S = 0.1

Echo = Callable[[str], None]


class Child:
    """One process of the platform, started again whenever it ends.

    Attributes:
        name: as in `countenance NAME`.
        ops_url: where its /readyz is.
        restarts: how often it was started after its first start.
    """

    def __init__(
        self, *, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, ops_url: str
    ) -> None:
        self.name = name
        self.ops_url = ops_url
        self.restarts = 0
        self._command = list(command)
        self._environment = dict(environment)
        self._log = log
        self._running: asyncio.subprocess.Process | None = None
        self._copying: asyncio.Task[None] | None = None
        self._started = asyncio.Event()

    @property
    def pid(self) -> int:
        """Process id of the current incarnation, 0 between two."""
        return self._running.pid if self._running is not None and self._running.returncode is None else 0

    def kill(self) -> None:
        """Kill the current incarnation at once; it is started again."""
        if self.pid:
            os.kill(self.pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    async def keep_running(self, *, stop: asyncio.Event, echo: Echo) -> None:
        """Start the process, start it again when it ends, stop it once `stop` is set."""
        backoff_s = BACKOFF_FIRST_S
        while not stop.is_set():
            began = time.monotonic()
            process = await self._spawn()
            ended = await _first(process.wait(), stop.wait())
            if not ended:
                await _end(process)
            await self._finish_log()
            if not ended:
                return
            if time.monotonic() - began > STEADY_S:
                backoff_s = BACKOFF_FIRST_S
            echo(f"{self.name} ended ({_say_exit(process.returncode)}); starting it again; see {self._log}")
            self.restarts += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_LAST_S)

    async def is_ready(self) -> bool:
        """Ask /readyz once."""
        return self.pid != 0 and await asyncio.to_thread(_answers_ok, f"{self.ops_url}/readyz")

    async def wait_ready(self, *, timeout_s: float) -> bool:
        """Wait until /readyz says yes; False after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if await self.is_ready():
                return True
            await asyncio.sleep(_PROBE_EVERY_S)
        return False

    async def _spawn(self) -> asyncio.subprocess.Process:
        self._running = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # An interrupt at the keyboard is the supervisor's; children get their own signal.
            start_new_session=sys.platform != "win32",
        )
        assert self._running.stdout is not None
        log = RotatingLog(self._log)
        log.write(b"")
        self._copying = asyncio.create_task(_copy(self._running.stdout, log))
        return self._running

    async def _finish_log(self) -> None:
        """Take what a process that ended said last; not for ever, as one that it started may hold its end open."""
        if self._copying is not None:
            await asyncio.wait([self._copying], timeout=LAST_WORDS_S)
            self._copying.cancel()
            await asyncio.gather(self._copying, return_exceptions=True)

    def last_words(self) -> str:
        """Give the last line of its log, for the person who started the platform."""
        try:
            lines = self._log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1][:300] if lines else ""


class RotatingLog:
    """A log of bounded size: when it is full it becomes `.log.1`, and another begins. Readable by its owner alone.

    What cannot be written, on a full disk, is dropped: a process must not fail, nor wait, for the sake of its log.
    """

    def __init__(self, path: Path, *, max_bytes: int = LOG_MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes

    def write(self, data: bytes) -> None:
        """Append; a line is divided between two files only where it is itself too long for one."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._size() + len(data) > self._max_bytes:
                head, newline, data = data.rpartition(b"\n")
                self._append(head + newline)
                self._path.replace(self._path.with_suffix(".log.1"))
            self._append(data)

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0

    def _append(self, data: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)


def cut_log(path: Path, *, max_bytes: int = LOG_MAX_BYTES) -> None:
    """Bound a log that its process itself appends to: once it is too long, it begins anew."""
    with contextlib.suppress(OSError):
        if path.stat().st_size > max_bytes:
            os.truncate(path, 0)


async def _copy(pipe: asyncio.StreamReader, log: RotatingLog) -> None:
    while chunk := await pipe.read(CHUNK_BYTES):
        log.write(chunk)


async def _first(process_end: Coroutine[Any, Any, int], stop: Coroutine[Any, Any, object]) -> bool:
    """Wait for either; say whether the process ended by itself."""
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(process_end), asyncio.create_task(stop)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].done() and not tasks[1].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _say_exit(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit status {code}"


def _answers_ok(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=_PROBE_TIMEOUT_S) as answer:  # noqa: S310 - our own loopback
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
