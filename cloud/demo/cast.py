"""The two made-up viewers of the demonstration: what each shows, and how their cameras differ."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

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


def film_footage(folder: Path, roles: tuple[Role, ...] = CAST, *, workers: int = 2) -> Footage:
    """Make the trailer and each viewer's film, with the schedule beside it as JSON.

    Args:
        folder: an existing folder; `trailer.mp4`, `<pseudonym>.mp4` and `<pseudonym>.json` are written to it.
        roles: the viewers.
        workers: processes to spread the work over.

    Raises:
        DemoError: a film cannot be written.
    """
    films = tuple(folder / f"{role.pseudonym}.mp4" for role in roles)
    # Forking a process that runs threads is unsafe; these workers are started afresh.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        duration_ms = max([role.schedule.duration_ms for role in roles], default=TRAILER_MS)
        waiting = [
            pool.submit(film, role.schedule, role.staging, path)
            for role, path in zip(roles, films, strict=True)
        ]
        trailer = pool.submit(make_trailer, folder / "trailer.mp4", duration_ms=duration_ms)
        for role, path in zip(roles, films, strict=True):
            write_schedule(role.schedule, path.with_suffix(".json"))
        for job in waiting:
            job.result()
        return Footage(films=films, trailer=trailer.result())
