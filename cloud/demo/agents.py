"""Runs viewers' agents as what they are in the field: processes of their own with keys of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud.demo.studio import Seat
from cloud.errors import DemoError

CONSENT_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
AGENT = (sys.executable, "-m", "edge_agent.cli")


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """One viewer at one machine.

    Attributes:
        seat: the place in a study.
        home: directory of the agent's keys and receipt, of this viewer alone.
        camera: index of a camera, or a film that stands for one.
        loop: start the film again when it ends.
        duration_s: stop after this long; None plays the film to its end.
        fps: rate to ask a camera for, or frames a second to take from a film at most; None takes its own.
    """

    seat: Seat
    home: Path
    camera: str
    loop: bool = False
    duration_s: float | None = None
    fps: int | None = None


def is_device(camera: str) -> bool:
    """Tell whether a name means a camera's number, as the agent reads it: no file is called that."""
    return camera.isdecimal() and not os.path.isfile(camera)  # noqa: PTH113, a name of any length is asked for


class Agent:
    """A running agent process."""

    def __init__(self, viewer: Viewer, process: asyncio.subprocess.Process, log: Path, summary: Path) -> None:
        self.viewer = viewer
        self._process = process
        self._log = log
        self._summary = summary

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.returncode is not None

    async def wait(self, *, timeout_s: float) -> int:
        """Wait for the end and return the exit status.

        Raises:
            DemoError: it did not end in time; it is stopped then.
        """
        try:
            return await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            await self.stop()
            raise DemoError(f"{self._who} did not end within {timeout_s:.0f} s; see {self._log}") from None

    async def finish(self, *, timeout_s: float) -> dict[str, Any]:
        """Wait for the end and return the summary the agent wrote.

        Raises:
            DemoError: it failed, wrote none, or did not end in time (it is stopped then).
        """
        code = await self.wait(timeout_s=timeout_s)
        if code != 0:
            raise DemoError(f"{self._who} ended with status {code}: {last_words(self._log)}")
        return self.read_summary()

    def read_summary(self) -> dict[str, Any]:
        """Read what the agent wrote at its end.

        Raises:
            DemoError: it wrote nothing readable.
        """
        try:
            content = json.loads(self._summary.read_text())
        except (OSError, ValueError):
            raise DemoError(f"{self._who} left no summary; see {self._log}") from None
        return dict(content)

    async def stop(self) -> None:
        """Ask the process to end; kill it if it does not."""
        for wish in (signal.SIGINT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(wish)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT_S)
                return

    @property
    def _who(self) -> str:
        return f"the agent of {self.viewer.seat.pseudonym}"


async def give_consent(viewer: Viewer, *, opt_out: Sequence[str] = (), at_terminal: bool = False) -> None:
    """Let the agent show the notice and keep the receipt of the consent.

    Args:
        viewer: who consents.
        opt_out: expressions that must not be read.
        at_terminal: ask whoever sits here; otherwise answer for a made-up viewer.

    Raises:
        DemoError: the consent was not given or not accepted.
    """
    viewer.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    answers = ["--opt-out", ",".join(opt_out)] if opt_out else []
    if not at_terminal:
        answers += ["--accept", "capture,cloud_scoring", "--adult"]
    await _carry_out("consent", viewer, answers, at_terminal=at_terminal)


async def withdraw_consent(viewer: Viewer) -> None:
    """Let the agent withdraw the viewer's consent.

    Raises:
        DemoError: the withdrawal was not accepted.
    """
    await _carry_out("withdraw", viewer, [])


async def _carry_out(what: str, viewer: Viewer, options: Sequence[str], *, at_terminal: bool = False) -> None:
    command = [*AGENT, what, "--invite", viewer.seat.invite, "--home", str(viewer.home), *options]
    log = None if at_terminal else viewer.home / f"{what}.log"
    process = await _spawn(command, log)
    try:
        code = await asyncio.wait_for(process.wait(), None if at_terminal else CONSENT_TIMEOUT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise DemoError(f"{what} of {viewer.seat.pseudonym} took too long; see {log}") from None
    if code != 0:
        why = f": {last_words(log)}" if log else ""
        raise DemoError(f"{what} of {viewer.seat.pseudonym} ended with status {code}{why}")


async def start_agent(viewer: Viewer) -> Agent:
    """Start capturing and sending for one viewer, who has consented before."""
    log, summary = viewer.home / "run.log", viewer.home / "summary.json"
    command = [
        *AGENT, "run", "--invite", viewer.seat.invite, "--home", str(viewer.home), "--camera", viewer.camera,
        "--summary", str(summary),
    ]  # fmt: skip
    if viewer.loop:
        command.append("--loop")
    if viewer.duration_s is not None:
        command += ["--duration", f"{viewer.duration_s:g}"]
    if viewer.fps is not None:
        command += ["--fps", str(viewer.fps)]
    return Agent(viewer, await _spawn(command, log), log, summary)


async def _spawn(command: Sequence[str], log: Path | None) -> asyncio.subprocess.Process:
    """Start a process of its own that writes to `log`, or to this terminal if there is none."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("COUNTENANCE_")}
    # A demonstration's keys stay in its folder, out of the keyring of whoever runs it.
    settings["PYTHON_KEYRING_BACKEND"] = "keyring.backends.fail.Keyring"
    settings["PYTHONUNBUFFERED"] = "1"
    if log is None:
        return await asyncio.create_subprocess_exec(*command, env=settings)
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=settings,
            start_new_session=True,
        )


def last_words(log: Path) -> str:
    """Return the last line of a log that says something, for an error message."""
    lines = (
        [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        if log.exists()
        else []
    )
    return lines[-1][-300:] if lines else f"nothing in {log}"
