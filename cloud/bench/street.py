"""Measures the whole street on this machine: N agents, every process, one level of N after the other."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from cloud.bench.bounds import ViewerFigures, as_details, headline, table, viewers_held
from cloud.bench.report import describe_machine, write_benchmark
from cloud.demo.agents import Agent, Viewer, give_consent, start_agent
from cloud.demo.cast import CAST, film_footage
from cloud.demo.studio import Studio
from cloud.errors import DemoError
from cloud.supervisor import Platform, PlatformOptions, running_platform

CLIPS = (
    "videos/liveportrait_d9.mp4",
    "videos/liveportrait_d10.mp4",
    "videos/intel_asl/book.mkv",
    "videos/single_face.mp4",
)
"""Films under `--data` that show one face throughout, 480 to 640 pixels wide as a webcam gives them."""

FPS = 30
START_ALLOWANCE_S = 60.0
SETTLE_TIMEOUT_S = 15.0
SETTLE_POLL_S = 0.25
PAUSE_BETWEEN_LEVELS_S = 2.0


async def run_street(levels: Sequence[int], *, seconds: float, data: Path | None, out: Path) -> None:
    """Measure every level, print the table, write the JSON.

    Args:
        levels: numbers of viewers, each at least 1.
        seconds: length of a level.
        data: folder with films of real people; None performs viewers.
        out: the JSON file.

    Raises:
        CloudError: a film is missing, or a part of the platform does not come up.
    """
    before = describe_machine()
    with tempfile.TemporaryDirectory(prefix="countenance-bench-") as name:
        folder = Path(name)
        clips = _clips(data) if data is not None else (await film_footage(folder, CAST)).films
        measured: dict[int, list[ViewerFigures]] = {}
        async with running_platform(
            PlatformOptions(state_dir=folder / "state", log_level="warning")
        ) as platform:
            for count in sorted(set(levels)):
                print(f"{count} viewers, {seconds:.0f} s ...", flush=True)
                measured[count] = await measure_level(platform, folder, clips, viewers=count, seconds=seconds)
                await asyncio.sleep(PAUSE_BETWEEN_LEVELS_S)
    print(table(measured))
    held = viewers_held(measured)
    print(f"held: {held} viewers" + (" (every level tried)" if held == max(measured) else ""))
    details = {
        "seconds": seconds,
        "clips": [clip.name for clip in clips],
        "made_up_viewers": data is None,
        "levels": as_details(measured),
    }
    write_benchmark(out, name="street", headline=headline(measured), details=details, before=before)
    print(f"wrote {out}")


async def measure_level(
    platform: Platform, folder: Path, clips: Sequence[Path], *, viewers: int, seconds: float
) -> list[ViewerFigures]:
    """Let N agents play their films at once and read what the studio sees of each."""
    async with AsyncExitStack() as stack:
        studio = await Studio.register(
            platform.api_url, admin_token=platform.admin_token, name=f"Bench {viewers}"
        )
        stack.push_async_callback(studio.close)
        study = await studio.launch_study(
            title=f"Level {viewers}", duration_ms=round(seconds * 1000), media_sha256="0" * 64
        )
        waiting = []
        for number in range(viewers):
            seat = await studio.seat(study, pseudonym=f"viewer-{viewers}-{number}")
            home = folder / "viewers" / seat.pseudonym
            film = str(clips[number % len(clips)])
            viewer = Viewer(seat=seat, home=home, camera=film, loop=True, duration_s=seconds, fps=FPS)
            await give_consent(viewer)
            waiting.append(viewer)
        agents = [await start_agent(viewer) for viewer in waiting]
        for agent in agents:
            stack.push_async_callback(agent.stop)
        reports = await asyncio.gather(
            *(agent.finish(timeout_s=seconds + START_ALLOWANCE_S) for agent in agents)
        )
        return [
            figures_of(Path(agent.viewer.camera).name, report, await _settled(studio, agent))
            for agent, report in zip(agents, reports, strict=True)
        ]


def figures_of(clip: str, report: Mapping[str, Any], summary: Mapping[str, Any]) -> ViewerFigures:
    """Take a viewer's figures from the agent's report and the studio's summary."""
    frames = summary["frames"]
    latency = summary["latency_ms"]["classified"]
    return ViewerFigures(
        clip=clip,
        fps=round(float(report["fps"]), 2),
        face_share=_share(frames["with_face"], frames["captured"]),
        stored_share=_share(frames["stored"], frames["with_face"]),
        p50_ms=latency["p50"],
        p99_ms=latency["p99"],
        agent_core_share=round(float(report["agent_core_share"]), 4),
        agent_rss_mb=round(float(report["rss_max_mb"]), 1),
        envelope_max_bytes=int(report["envelope_max_bytes"]),
        duplicates=int(summary["duplicates"]),
    )


async def _settled(studio: Studio, agent: Agent) -> Mapping[str, Any]:
    """Wait until the session is closed and its count stands still, then return its summary."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    summary = await studio.summary(agent.viewer.seat)
    while time.monotonic() < deadline:
        await asyncio.sleep(SETTLE_POLL_S)
        before, summary = summary, await studio.summary(agent.viewer.seat)
        closed = (await studio.session(agent.viewer.seat))["closed_at"] is not None
        if closed and summary["frames"] == before["frames"]:
            break
    return summary


def _clips(data: Path) -> tuple[Path, ...]:
    clips = tuple(data / name for name in CLIPS)
    missing = [clip.name for clip in clips if not clip.is_file()]
    if missing:
        raise DemoError(f"{data} lacks {', '.join(missing)}; leave --data out to perform viewers")
    return clips


def _share(part: int, whole: int) -> float:
    return round(part / whole, 5) if whole else 0.0
