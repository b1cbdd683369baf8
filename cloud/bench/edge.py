"""Compares our face detector with its peers, alone and with tracking: the figures of `countenance bench edge`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloud.bench.detector_accuracy import compare_recall
from cloud.bench.detector_engines import (
    MEDIAPIPE,
    MEDIAPIPE_FILE,
    detector_manifest,
    our_variants,
    read_weights,
)
from cloud.bench.edge_cells import compare_at_level, compare_detectors
from cloud.bench.edge_report import detector_lines, film_lines, level_lines, recall_lines
from cloud.bench.instruction_sets import cpu_flags, levels_below, name_best
from cloud.bench.isolated import in_fresh_process
from cloud.bench.report import busy_note, describe_machine, write_benchmark
from cloud.errors import DemoError

FRAME_FILM = "videos/liveportrait_d9.mp4"
FILMS = (
    "videos/single_face.mp4",
    "videos/liveportrait_d9.mp4",
    "videos/intel_asl/book.mkv",
    "videos/WolfgangLanger_Pexels.mp4",
)
"""Films under `--data` of one person each, near the camera and far from it."""

AGENT_TIMEOUT_S = 900.0


def run_edge(
    *,
    data: Path,
    out: Path,
    artifact: Path | None = None,
    seconds: float = 6.0,
    frames: int = 300,
    with_recall: bool = True,
) -> None:
    """Measure, print the tables as they grow, write the JSON.

    Args:
        data: folder with the peers' files, the films and the evaluation sets.
        out: the JSON file.
        artifact: folder of a detector's artifact; None takes the shipped one. The films are always seen by the
            shipped one, as the agent would.
        seconds: how long each comparison takes.
        frames: most frames of each film.
        with_recall: also find the recall on every evaluation set.

    Raises:
        CloudError: a peer's file or a film is missing, the agent fails, or the JSON cannot be written.
        ModelsError: the artifact or a data set is damaged.
    """
    before = describe_machine()
    films = _films(data)
    read_weights(data, MEDIAPIPE_FILE)
    manifest = detector_manifest(artifact)
    film = data / FRAME_FILM
    print(
        f"{manifest.name} {manifest.version}, one thread, {name_best(cpu_flags())}, one 640 x 480 frame",
        flush=True,
    )
    detectors = in_fresh_process(compare_detectors, film, data, artifact, seconds=seconds)
    print("\n".join(detector_lines(detectors)), flush=True)
    best = fastest(detectors, our_variants(manifest))
    levels = [
        in_fresh_process(compare_at_level, film, data, artifact, level=level, seconds=seconds / 2)
        for level in levels_below(cpu_flags())
    ]
    print("\n".join(level_lines(levels)), flush=True)
    tracked = _ask_agent(films, best if artifact is None else None, frames=frames)
    print("\n".join(film_lines(tracked)), flush=True)
    recall = in_fresh_process(compare_recall, data, artifact) if with_recall else None
    print("\n".join(recall_lines(recall)))
    print(busy_note(before))
    details = {
        "compared_with": f"{MEDIAPIPE}: {MEDIAPIPE_FILE}, same process, in turns, by CPU time on one thread; a single full inference, no tracking",
        "fastest_variant": best,
        "detectors": detectors,
        "instruction_sets": levels,
        "with_tracking": tracked,
        "accuracy": recall,
    }
    flat = headline(detectors, tracked, recall, best=best)
    write_benchmark(out, name="edge", headline=flat, details=details, before=before)
    print(f"wrote {out}")


def fastest(detectors: Mapping[str, Any], ours: tuple[str, ...]) -> str:
    """Return which of our variants has the shortest inference here."""
    return min(ours, key=lambda name: float(detectors[name]["inference"]["cpu_ms"]))


def headline(
    detectors: Mapping[str, Any], tracked: Mapping[str, Any], recall: Mapping[str, Any] | None, *, best: str
) -> dict[str, float | str | None]:
    """Return the flat figures of our fastest variant."""
    found = detectors[best]["inference"]
    difference = recall["minus_mediapipe"][best] if recall is not None else None
    films = tracked["films"]
    every = sum(film["frames"] for film in films)
    return {
        "detector_speedup_mediapipe": found["times_as_fast"]["ratio"],
        "detector_ms": found["cpu_ms"],
        "detector_wall_ms": found["median_ms"],
        "detector_recall_delta_points": difference["points"] if difference else None,
        "detector_recall_delta_lower95_points": difference["lower95_points"] if difference else None,
        "detection_ms_per_frame_tracked": round(
            sum(film["frames"] * film["detection_ms"] for film in films) / every, 3
        ),
        "tracking_ms_per_frame": round(
            sum(film["frames"] * film["tracking_ms"] for film in films) / every, 3
        ),
        "variant": best,
        "artifact_digest": detectors[best]["sha256"],
    }


def agent_arguments(films: list[Path], variant: str | None, *, frames: int) -> list[str]:
    """Return what `countenance-agent` is asked: its own figures on films, as JSON."""
    chosen = ["--detector", variant] if variant else []
    return ["bench-films", *map(str, films), "--json", "--frames", str(frames), *chosen]


def _films(data: Path) -> list[Path]:
    films = [data / name for name in FILMS]
    missing = [film.name for film in films if not film.is_file()]
    if missing:
        raise DemoError(f"{data} lacks the films {', '.join(missing)}")
    return films


def _ask_agent(films: list[Path], variant: str | None, *, frames: int) -> dict[str, Any]:
    """Let the agent time its own pipeline: the cloud's side may not look into the agent's."""
    command = [sys.executable, "-m", "edge_agent.cli", *agent_arguments(films, variant, frames=frames)]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed argument list, no shell
            command, capture_output=True, text=True, timeout=AGENT_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise DemoError(f"the agent did not get through the films in {AGENT_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise DemoError(f"the agent could not look at the films: {said}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
