"""The two made-up viewers of the demonstration: what each shows, and how their cameras differ."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

from cloud.demo.performer import Staging, film
from cloud.demo.schedule import Schedule, make_schedule, write_schedule
from cloud.demo.trailer import Trailer, make_trailer

MOMENT_MS = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One made-up viewer: a pseudonym, what is shown and when, and how it is filmed."""

    pseudonym: str
    schedule: Schedule
    staging: Staging


CAST: tuple[Role, ...] = (
    Role(
        pseudonym="viewer-a",
        schedule=make_schedule(
            ["neutral", "happy", "surprised", "neutral", "surprised", "happy"], each_ms=MOMENT_MS
        ),
        staging=Staging(seed=1),
    ),
    Role(
        pseudonym="viewer-b",
        schedule=make_schedule(
            ["happy", "neutral", "happy", "surprised", "neutral", "surprised"], each_ms=MOMENT_MS
        ),
        staging=Staging(
            seed=2, mirrored=True, picture_px_per_px=0.5, centre=(235.0, 135.0), gain=0.82, warmth=0.05
        ),
    ),
)

TRAILER_MS = max(role.schedule.duration_ms for role in CAST)


@dataclass(frozen=True, slots=True, kw_only=True)
class Footage:
    """The files a demonstration plays: one film for each viewer, and the trailer they watch."""

    films: tuple[Path, ...]
    trailer: Trailer


async def film_footage(folder: Path, roles: tuple[Role, ...] = CAST, *, workers: int = 2) -> Footage:
    """Make the trailer and each viewer's film, with the schedule beside it as JSON; cancelling stops the work.

    Args:
        folder: an existing folder; `trailer.mp4`, `<pseudonym>.mp4` and `<pseudonym>.json` are written to it.
        roles: the viewers.
        workers: processes to spread the work over.

    Raises:
        DemoError: a film cannot be written.
    """
    films = tuple(folder / f"{role.pseudonym}.mp4" for role in roles)
    duration_ms = max([role.schedule.duration_ms for role in roles], default=TRAILER_MS)
    # Forking a process that runs threads is unsafe; these workers are started afresh, and end with the block.
    with get_context("spawn").Pool(workers, initializer=_begin_worker) as pool:
        jobs = [
            _done(pool, film, role.schedule, role.staging, path)
            for role, path in zip(roles, films, strict=True)
        ]
        for role, path in zip(roles, films, strict=True):
            write_schedule(role.schedule, path.with_suffix(".json"))
        trailer, *_ = await asyncio.gather(_done(pool, _trailer, folder / "trailer.mp4", duration_ms), *jobs)
    return Footage(films=films, trailer=trailer)


def _trailer(path: Path, duration_ms: int) -> Trailer:
    return make_trailer(path, duration_ms=duration_ms)


def _begin_worker() -> None:
    """Leave interrupts to the parent, and end with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _done(pool: Pool, function: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
    """Hand a call to the pool; the future takes its result on this loop."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(how: Callable[[Any], None], outcome: Any) -> None:
        if not future.done():
            how(outcome)

    pool.apply_async(
        function,
        arguments,
        callback=lambda result: loop.call_soon_threadsafe(settle, future.set_result, result),
        error_callback=lambda error: loop.call_soon_threadsafe(settle, future.set_exception, error),
    )
    return future
