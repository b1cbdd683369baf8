"""What an installation brings, resolved as for a machine that has nothing yet."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.architecture.source_tree import ROOT

NO_INDEX = re.compile(
    r"No matching distribution found for (?!countenance)|Could not find a version|ConnectionError"
)


def packages_of(extra: str) -> set[str]:
    """Names of everything that `countenance[extra]` installs into an empty environment."""
    command = [
        sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet",
        "--disable-pip-version-check", "--report", "-", "--constraint", "constraints.txt", f".[{extra}]",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the package index did not answer in time")
    if done.returncode and NO_INDEX.search(done.stderr):
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr[-2000:]
    return {item["metadata"]["name"].lower().replace("_", "-") for item in json.loads(done.stdout)["install"]}


@pytest.mark.slow
def test_installing_the_agent_brings_no_server() -> None:
    packages = packages_of("edge")
    assert {"countenance", "aiortc", "ai-edge-litert", "opencv-python-headless"} <= packages
    unwanted = ("tensorflow", "keras", "fastapi", "redis", "psycopg", "uvicorn", "scikit", "pixeltable")
    assert [name for name in packages if name.startswith(unwanted)] == []
