"""What every benchmark's JSON begins with: machine, versions, date."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from cloud.bench.instruction_sets import cpu_flags, named_flags
from cloud.errors import DemoError

VERSIONS_OF = ("countenance", "aiortc", "ai-edge-litert", "tensorflow-cpu", "tensorflow", "keras", "numpy",
               "opencv-python-headless", "psycopg", "redis", "uvloop")  # fmt: skip

BUSY_LOAD_PER_CORE = 0.25


def describe_machine() -> dict[str, Any]:
    """Return what figures depend on: processor with its instruction sets, cores, memory, system, load."""
    return {
        "processor": _processor_name(),
        "cores": os.cpu_count(),
        "instruction_sets": named_flags(cpu_flags()),
        "memory_mb": psutil.virtual_memory().total // 2**20,
        "system": platform.platform(),
        "load_before": round(psutil.getloadavg()[0], 2),
    }


def busy_note(before: Mapping[str, Any]) -> str:
    """Say whether the machine was quiet enough for absolute times to be believed."""
    load, cores = float(before["load_before"]), int(before["cores"] or 1)
    if load > BUSY_LOAD_PER_CORE * cores:
        return f"the machine was busy (load {load:.1f} on {cores} cores): believe ratios, not absolute times"
    return f"the machine was quiet (load {load:.1f} on {cores} cores)"


def describe_versions() -> dict[str, str]:
    """Return the versions of Python and of the parts that do the work."""
    found = {"python": sys.version.split()[0]}
    for name in VERSIONS_OF:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def write_benchmark(
    path: Path,
    *,
    name: str,
    headline: Mapping[str, float | str | None],
    details: Mapping[str, Any],
    before: Mapping[str, Any],
) -> None:
    """Write a benchmark's JSON.

    Args:
        path: the file; its folder is made if absent.
        name: of the benchmark.
        headline: the flat figures.
        details: everything else.
        before: the machine as `describe_machine` found it before the measurement.

    Raises:
        DemoError: the file cannot be written.
    """
    content = {
        "benchmark": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": dict(before),
        "versions": describe_versions(),
        "headline": dict(headline),
        **details,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DemoError(f"cannot write {path}: {error.strerror}") from None


def _processor_name() -> str:
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
