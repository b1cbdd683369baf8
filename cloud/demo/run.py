"""The demonstration from nothing to a drawn timeline: films, platform, viewers, results."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from cloud.demo.agents import Agent, Viewer, give_consent, is_device, start_agent
from cloud.demo.cast import CAST, TRAILER_MS, Footage, film_footage
from cloud.demo.results import Viewing, write_results
from cloud.demo.schedule import Schedule
from cloud.demo.studio import Seat, Studio
from cloud.errors import DemoError
from cloud.supervisor import PlatformOptions, running_platform

TITLE = "Harbour Lights (trailer)"
FPS = 30
STARTUP_ALLOWANCE_S = 60.0
SETTLE_TIMEOUT_S = 15.0
SETTLE_POLL_S = 0.25
OWN_FOLDERS = ("films", "state", "viewers")
"""What a demonstration makes beside its results, and clears away before it starts again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One viewer of this run: which camera, whether somebody must be asked, and what is known to be shown."""

    pseudonym: str
    camera: str
    asks_at_terminal: bool = False
    loop: bool = False
    duration_s: float | None = None
    schedule: Schedule | None = None


async def run_demo(out: Path, *, camera: str | None = None) -> None:
    """Run everything and say what was made.

    Args:
        out: folder for the results; made if absent.
        camera: a camera's number or a film; None performs two made-up viewers.

    Raises:
        CloudError: a part of it does not come up, or a viewer's agent fails.
    """
    started = time.monotonic()
    if camera is not None and is_device(camera) and not sys.stdin.isatty():
        raise DemoError("a camera shows somebody, who must be asked for consent: run this at a terminal")
    films = _clear(out)
    options = PlatformOptions(state_dir=out / "state", log_level="warning")
    roles = CAST if camera is None else ()
    async with AsyncExitStack() as stack:
        filming = asyncio.create_task(film_footage(films, roles))
        _say(
            "filming the trailer" + (" and two made-up viewers" if roles else "") + ", starting the platform"
        )
        platform = await stack.enter_async_context(running_platform(options))
        footage = await filming
        studio = await Studio.register(
            platform.api_url, admin_token=platform.admin_token, name="Demonstration"
        )
        stack.push_async_callback(studio.close)
        trailer = footage.trailer
        study_id = await studio.launch_study(
            title=TITLE, duration_ms=trailer.duration_ms, media_sha256=trailer.sha256
        )
        parts = _parts(camera, footage)
        seats = [await studio.seat(study_id, pseudonym=part.pseudonym) for part in parts]
        viewers = [_viewer(part, seat, out) for part, seat in zip(parts, seats, strict=True)]
        await asyncio.gather(
            *(give_consent(v, at_terminal=p.asks_at_terminal) for p, v in zip(parts, viewers, strict=True))
        )
        agents = [await start_agent(viewer) for viewer in viewers]
        for agent in agents:
            stack.push_async_callback(agent.stop)
        frames = trailer.duration_ms * FPS // 1000 * len(agents)
        await _watch(studio, agents, frames=frames)
        viewings = [await _collect(studio, agent, part) for agent, part in zip(agents, parts, strict=True)]
    made = write_results(out, viewings, title=TITLE, duration_ms=trailer.duration_ms)
    _say(f"done in {time.monotonic() - started:.0f} s; made:")
    for path, what in made:
        print(f"  {path}  {what}", flush=True)


def _clear(out: Path) -> Path:
    """Make the folder, clear what an earlier run left, and return the folder for films."""
    try:
        for name in OWN_FOLDERS:
            shutil.rmtree(out / name, ignore_errors=True)
        films = out / "films"
        films.mkdir(parents=True)
    except OSError as error:
        raise DemoError(f"cannot write to {out}: {error.strerror}") from None
    return films


def _parts(camera: str | None, footage: Footage) -> list[Part]:
    if camera is not None:
        is_camera = is_device(camera)
        return [
            Part(
                pseudonym="viewer-you" if is_camera else "viewer-film",
                camera=camera,
                asks_at_terminal=is_camera,
                loop=not is_camera,
                duration_s=TRAILER_MS / 1000,
            )
        ]
    return [
        Part(pseudonym=role.pseudonym, camera=str(film), schedule=role.schedule)
        for role, film in zip(CAST, footage.films, strict=True)
    ]


def _viewer(part: Part, seat: Seat, out: Path) -> Viewer:
    home = out / "viewers" / part.pseudonym
    return Viewer(seat=seat, home=home, camera=part.camera, loop=part.loop, duration_s=part.duration_s)


async def _watch(studio: Studio, agents: Sequence[Agent], *, frames: int) -> None:
    """Show the frames that reached the store until every agent has ended."""
    print(f"{len(agents)} viewers watch {TITLE}" if len(agents) > 1 else f"watching {TITLE}", flush=True)
    with tqdm(total=frames, unit=" frames stored", file=sys.stdout, smoothing=0.1) as bar:
        deadline = time.monotonic() + frames / FPS / len(agents) + STARTUP_ALLOWANCE_S
        while not all(agent.has_ended for agent in agents):
            if time.monotonic() > deadline:
                raise DemoError("the viewers' agents did not end in time; see the logs under viewers/")
            await asyncio.sleep(1.0)
            summaries = [await studio.summary(agent.viewer.seat) for agent in agents]
            bar.update(min(sum(summary["frames"]["stored"] for summary in summaries), frames) - bar.n)


async def _collect(studio: Studio, agent: Agent, part: Part) -> Viewing:
    """Wait until everything that was sent is stored or flagged, then read what the studio sees."""
    report = await agent.finish(timeout_s=1.0)
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    before: object = None
    while time.monotonic() < deadline:
        summary = await studio.summary(agent.viewer.seat)
        session = await studio.session(agent.viewer.seat)
        now = (summary["frames"]["stored"], session["closed_at"])
        if now == before and session["closed_at"] is not None:
            break
        before = now
        await asyncio.sleep(SETTLE_POLL_S)
    timeline = await studio.timeline(agent.viewer.seat, resolution="frame")
    summary = await studio.summary(agent.viewer.seat)
    return Viewing(
        seat=agent.viewer.seat, agent=report, summary=summary, timeline=timeline, schedule=part.schedule
    )


def _say(text: str) -> None:
    print(f"countenance demo: {text}", flush=True)
