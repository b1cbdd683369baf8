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
        self._log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._log.exists() and self._log.stat().st_size > LOG_MAX_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._running = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                # An interrupt at the keyboard is the supervisor's; children get their own signal.
                start_new_session=sys.platform != "win32",
            )
        finally:
            os.close(descriptor)
        return self._running

    def last_words(self) -> str:
        """Give the last line of its log, for the person who started the platform."""
        try:
            lines = self._log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1][:300] if lines else ""


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
