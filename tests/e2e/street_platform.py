"""A whole platform with real agent processes, for tests that are ordinary functions.

Everything asynchronous runs on one loop in a thread of its own; a test calls it and waits.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import psycopg

from cloud.database.connection import open_pool
from cloud.demo.agents import Agent, Viewer, _spawn, give_consent, start_agent, withdraw_consent
from cloud.demo.studio import Seat, Studio
from cloud.keys.custody import FileKeyCustody
from cloud.results.timelines import Timelines
from cloud.supervisor import Platform, PlatformOptions, running_platform
from privacy.protocol.ids import SessionId, TenantId

T = TypeVar("T")

START_TIMEOUT_S = 120.0
TITLE_MS = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What one viewing left with the studio: its summary and its timeline's columns."""

    report: dict[str, Any]
    summary: dict[str, Any]
    columns: dict[str, list[Any]]

    @property
    def frames(self) -> dict[str, Any]:
        """Counts of frames."""
        return dict(self.summary["frames"])


class StreetPlatform:
    """The platform and one studio on it."""

    def __init__(self, folder: Path, *, environment: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._environment = dict(environment or {})
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="street", daemon=True)
        self._stack = contextlib.AsyncExitStack()
        self._numbers = itertools.count()
        self.platform: Platform
        self.studio: Studio
        self._study = ""

    def start(self) -> None:
        """Bring everything up."""
        self._thread.start()
        self.call(self._start(), timeout_s=START_TIMEOUT_S)

    def stop(self) -> None:
        """Take everything down."""
        self.call(self._stack.aclose(), timeout_s=START_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, T], *, timeout_s: float = 60.0) -> T:
        """Run something on the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def invited_viewer(self, film: Path, *, loop: bool = False, duration_s: float | None = None) -> Viewer:
        """Invite a viewer who plays this film, and has not consented."""
        pseudonym = f"viewer-{next(self._numbers)}"
        seat = self.call(self.studio.seat(self._study, pseudonym=pseudonym))
        home = self.folder / "viewers" / pseudonym
        home.mkdir(parents=True, mode=0o700)
        return Viewer(seat=seat, home=home, camera=str(film), loop=loop, duration_s=duration_s, fps=30)

    def consented_viewer(self, film: Path, **options: Any) -> Viewer:
        """Invite a viewer who plays this film and has consented."""
        viewer = self.invited_viewer(film, **options)
        self.call(give_consent(viewer))
        return viewer

    def withdraw(self, viewer: Viewer) -> None:
        """Withdraw a viewer's consent with the agent's own command."""
        self.call(withdraw_consent(viewer))

    def status_of(self, agent: Agent, *, timeout_s: float = 30.0) -> int:
        """Wait for an agent's end and return its exit status."""
        return self.call(agent.wait(timeout_s=timeout_s), timeout_s=timeout_s + 20)

    def wait_until(self, is_true: Callable[[], bool], *, timeout_s: float) -> bool:
        """Ask again and again; False if it never became true."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if is_true():
                return True
            time.sleep(0.2)
        return False

    def start_agent(self, viewer: Viewer) -> Agent:
        """Start an agent process."""
        return self.call(start_agent(viewer))

    def start_replay(
        self, viewer: Viewer, *, frames: int, fps: float, kind: str = "mixed", is_patient: bool = False
    ) -> Agent:
        """Start an agent process that sends a fixed sequence of crops (`tests.e2e.replay`)."""
        command = [
            sys.executable, "-m", "tests.e2e.replay", viewer.seat.invite, str(viewer.home),
            str(frames), str(fps), kind, "patient" if is_patient else "in_time",
        ]  # fmt: skip
        log = viewer.home / "replay.log"
        process = self.call(_spawn(command, log))
        return Agent(viewer, process, log, viewer.home / "summary.json")

    def finish(self, agent: Agent, *, timeout_s: float = 90.0) -> Watched:
        """Wait for the agent's end and for the store to settle, then read what is there."""
        report = self.call(agent.finish(timeout_s=timeout_s), timeout_s=timeout_s + 20)
        return self.read(agent.viewer.seat, report=report)

    def watch(self, film: Path, **options: Any) -> tuple[Seat, Watched]:
        """Play a film from consent to the settled timeline."""
        viewer = self.consented_viewer(film, **options)
        return viewer.seat, self.finish(self.start_agent(viewer))

    def read(self, seat: Seat, *, report: dict[str, Any], timeout_s: float = 20.0) -> Watched:
        """Read a session once it is closed and its counts stand still."""
        deadline = time.monotonic() + timeout_s
        summary = self.call(self.studio.summary(seat))
        while time.monotonic() < deadline:
            time.sleep(0.4)
            before, summary = summary, self.call(self.studio.summary(seat))
            is_closed = self.call(self.studio.session(seat))["closed_at"] is not None
            if is_closed and before["frames"] == summary["frames"]:
                break
        timeline = self.call(self.studio.timeline(seat, resolution="frame"))
        return Watched(report=report, summary=summary, columns=timeline["columns"])

    def stored_until(self, seat: Seat, frames: int, *, timeout_s: float = 40.0) -> None:
        """Wait until at least so many frames of a session are stored."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.call(self.studio.summary(seat))["frames"]["stored"] >= frames:
                return
            time.sleep(0.2)
        raise AssertionError(f"fewer than {frames} frames of {seat.pseudonym} were stored in {timeout_s} s")

    def rows(self, query: str, seat: Seat) -> list[tuple[Any, ...]]:
        """Ask PostgreSQL itself, as the application role bound to the studio's tenant."""
        tenant = seat.invite.partition("#")[2].partition(".")[0]
        with psycopg.connect(self.platform.postgres_urls.app_url) as connection:
            connection.execute("SELECT set_config('app.tenant', %s, false)", (tenant,))
            return connection.execute(query, {"session": seat.session_id}).fetchall()

    def files(self) -> Iterator[tuple[Path, bytes]]:
        """Give every file of the platform with its content: state, logs, and PostgreSQL's data, wherever it is."""
        with psycopg.connect(self.platform.postgres_urls.admin_url) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
        assert row is not None
        for path in {*files_under(self.platform.state_dir), *files_under(Path(row[0]))}:
            with contextlib.suppress(FileNotFoundError):
                yield path, path.read_bytes()

    def kept_frames(self, seat: Seat) -> Any:
        """Every frame that is kept of a session, in hot packs or sealed already, as `FRAME_DTYPE`."""
        tenant = TenantId(UUID(seat.invite.partition("#")[2].partition(".")[0]))
        return self.call(self._kept_frames(tenant, SessionId(UUID(seat.session_id))))

    async def _kept_frames(self, tenant: TenantId, session: SessionId) -> Any:
        custody = FileKeyCustody(self.platform.state_dir / "keys")
        pool = await open_pool(self.platform.postgres_urls.app_url, max_size=2)
        try:
            return await Timelines(pool, custody).read_frames(tenant, session)
        finally:
            await pool.close()

    async def _start(self) -> None:
        options = PlatformOptions(
            state_dir=self.folder / "state", durable=False, log_level="debug", environment=self._environment
        )
        self.platform = await self._stack.enter_async_context(running_platform(options))
        self.studio = await Studio.register(
            self.platform.api_url, admin_token=self.platform.admin_token, name="Lighthouse Pictures"
        )
        self._stack.push_async_callback(self.studio.close)
        self._study = await self.studio.launch_study(
            title="Harbour Lights", duration_ms=TITLE_MS, media_sha256="0" * 64
        )


JPEG_FRAME = re.compile(rb"\xff\xc0\x00(?:\x11\x08\x00(.)\x00(.)\x03|\x0b\x08\x00(.)\x00(.)\x01)", re.DOTALL)
"""The frame header of a baseline JPEG, three components or one, whose sides fit one byte."""

CROP_SIDES_PX = range(16, 129)


def count_plain_crops(content: bytes) -> int:
    """Count headers of JPEG pictures of a crop's size: every plaintext crop begins with one."""
    found = 0
    for match in JPEG_FRAME.finditer(content):
        sides = [side[0] for side in match.groups() if side is not None]
        found += all(side in CROP_SIDES_PX for side in sides)
    return found


def count_marks(content: bytes, mark: bytes) -> int:
    """Count places that hold any third of a 48-byte mark, plain or as a log or a dump would spell it."""
    thirds = [mark[at : at + 16] for at in range(0, len(mark), 16)]
    return sum(content.count(spelling) for third in thirds for spelling in spellings(third))


def spellings(secret: bytes) -> list[bytes]:
    """Give bytes as they are, in hexadecimal, as Python shows them, and in base64 at any alignment."""
    shown = repr(secret)[2:-1].encode()
    aligned = [base64.b64encode(bytes(shift) + secret)[4 if shift else 0 : -4] for shift in range(3)]
    return [secret, secret.hex().encode(), shown, *aligned]


def read_memory(pid: int, *, is_shared_left_out: bool = False) -> bytes:
    """Read everything a process may write to: where its data would be.

    Raises:
        PermissionError: this user may not look.
    """
    parts = []
    tables = Path("/proc") / str(pid)
    with (tables / "maps").open() as maps, (tables / "mem").open("rb", buffering=0) as memory:
        for line in maps:
            where, rights, *_ = line.split()
            if is_shared_left_out and rights.endswith("s"):
                continue
            if not rights.startswith("rw") or line.rstrip().endswith(("[vvar]", "[vsyscall]")):
                continue
            low, high = (int(edge, 16) for edge in where.split("-"))
            with contextlib.suppress(OSError, ValueError, OverflowError):
                memory.seek(low)
                parts.append(memory.read(high - low))
    return b"\0".join(parts)


def files_under(folder: Path) -> list[Path]:
    """Every plain file below a folder, those that vanish meanwhile left out."""
    return [
        Path(root) / name
        for root, _, names in os.walk(folder)
        for name in names
        if (Path(root) / name).is_file()
    ]
