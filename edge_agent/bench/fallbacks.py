"""`countenance-agent bench-fallbacks`: what each way of looking again recovers, and what it costs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edge_agent.bench.films import measure_films
from edge_agent.bench.labelled import read_stills
from edge_agent.bench.stills import measure_stills
from edge_agent.camera.source import quiet_opencv
from edge_agent.errors import SettingError
from edge_agent.tracking.detector_selection import detector_manifest
from edge_agent.tracking.litert_detector import load_network
from models.errors import ModelsError

SOURCES = ("fairface", "wider")
_LIBRARIES = ("ai-edge-litert", "numpy", "opencv-python-headless")
_PART_OF = {"dark": "lifting", "tilted": "turned", "far": "tiles"}


def measure_fallbacks(
    data: Path, *, variant: str, every: int, progress: Callable[[], object] = lambda: None
) -> dict[str, Any]:
    """Measure every strategy on the labelled pictures and on the films.

    Args:
        data: folder with the data sets.
        variant: id of the detector variant.
        every: takes one picture of so many; 1 takes all.
        progress: called once a picture.

    Returns:
        Machine, versions and date; `stills` by source, degradation and strategy; `films`; the flat `headline`.

    Raises:
        SettingError: the data set is missing, or there is no such variant.
    """
    quiet_opencv()
    try:
        network = load_network(detector_manifest(), variant)
        stills = {
            source: measure_stills(network, read_stills(data, source, every=every), progress=progress)
            for source in SOURCES
        }
        films = measure_films(network, data / "videos")
    except ModelsError as error:
        raise SettingError(str(error)) from None
    return {
        "benchmark": "fallbacks",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "system": platform.system()},
        "versions": {name: version(name) for name in _LIBRARIES},
        "detector": variant,
        "every": every,
        "headline": _headline(stills, films),
        "stills": stills,
        "films": films,
    }


def write_figures(path: Path, figures: dict[str, Any]) -> None:
    """Write figures as indented JSON.

    Raises:
        SettingError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise SettingError(f"the figures cannot be written: {error.strerror}") from None


def _headline(stills: dict[str, Any], films: dict[str, Any]) -> dict[str, float]:
    headline: dict[str, float] = {}
    for kind, strategy in _PART_OF.items():
        row = stills["fairface"][kind]
        without = "none" if strategy == "lifting" else "lifting"
        headline[f"recall_{kind}_without"] = row[without]["recall"]
        headline[f"recall_{kind}_with_{strategy}"] = row[strategy]["recall"]
    empty = films["no_face"].values()
    headline["false_face_frames"] = sum(film["with"]["frames_with_a_false_face"] for film in empty)
    headline["crops_without_a_face"] = sum(film["with"]["crops"] for film in empty)
    return headline
