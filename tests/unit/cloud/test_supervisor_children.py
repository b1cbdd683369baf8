from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from cloud.bootstrap import PROCESS_MODULES, SUPERVISED
from cloud.children import Child, RotatingLog, cut_log
from cloud.config import KEY_ROLES, PREFIX, SETTINGS_OF, Role, load_settings
from cloud.supervisor import PlatformOptions, child_environment

SLEEPER = "import time; print('started', flush=True); time.sleep(60)"
QUITTER = "import sys; print('cannot go on', flush=True); sys.exit(3)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"


def make_child(tmp_path: Path, program: str) -> Child:
    return Child(
        name="part",
        command=[sys.executable, "-S", "-c", program],
        environment={},
        log=tmp_path / "logs" / "part.log",
        ops_url="http://127.0.0.1:9",
    )


async def until(claim: object, *, timeout_s: float = 10.0) -> None:
    assert callable(claim)
    deadline = time.monotonic() + timeout_s
    while not claim():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.01)


async def test_a_killed_child_is_started_again_and_stopped_at_the_end(tmp_path: Path) -> None:
    child, stop, said = make_child(tmp_path, SLEEPER), asyncio.Event(), []
    keeper = asyncio.create_task(child.keep_running(stop=stop, echo=said.append))
    await until(lambda: child.pid)
    first = child.pid
    child.kill()
    await until(lambda: child.restarts == 1 and child.pid)
    second = child.pid
    assert second != first
    assert said and "SIGKILL" in said[0] and "part.log" in said[0]
    stop.set()
    await keeper
    assert child.pid == 0
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


async def test_a_child_that_keeps_failing_is_started_less_and_less_often(tmp_path: Path) -> None:
    child, stop = make_child(tmp_path, QUITTER), asyncio.Event()
    keeper = asyncio.create_task(child.keep_running(stop=stop, echo=lambda line: None))
    await until(lambda: child.restarts == 3)
    began = time.monotonic()
    await until(lambda: child.restarts == 4)
    assert time.monotonic() - began > 0.35
    assert child.last_words() == "cannot go on"
    stop.set()
    await keeper


async def test_a_child_that_does_not_listen_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloud.children.STOP_TIMEOUT_S", 0.2)
    child, stop = make_child(tmp_path, STUBBORN), asyncio.Event()
    keeper = asyncio.create_task(child.keep_running(stop=stop, echo=lambda line: None))
    await until(lambda: child.last_words() == "deaf")
    stop.set()
    await asyncio.wait_for(keeper, 5)
    assert child.pid == 0


async def test_a_child_is_not_ready_while_nothing_answers(tmp_path: Path) -> None:
    assert not await make_child(tmp_path, SLEEPER).wait_ready(timeout_s=0.2)


def test_logs_are_closed_to_others(tmp_path: Path) -> None:
    async def once() -> None:
        child, stop = make_child(tmp_path, SLEEPER), asyncio.Event()
        keeper = asyncio.create_task(child.keep_running(stop=stop, echo=lambda line: None))
        await until(lambda: child.pid)
        stop.set()
        await keeper

    asyncio.run(once())
    assert (tmp_path / "logs" / "part.log").stat().st_mode & 0o077 == 0
    assert (tmp_path / "logs").stat().st_mode & 0o077 == 0


SHARED = {
    "STATE_DIR": "/state",
    "KEYS_DIR": "/state/keys",
    "DATABASE_URL": "postgresql://app:geheim@127.0.0.1/x",
    "REDIS_URL": "redis://:geheim@127.0.0.1:1/0",
    "API_BIND": "127.0.0.1:1000",
    "PUBLIC_URL": "http://127.0.0.1:1000",
    "INGEST_BIND": "127.0.0.1:1001",
    "INGEST_URL": "ws://127.0.0.1:1001",
    "SHARDS": "8",
    "CLASSIFIER": "auto",
    "MAX_SESSIONS": "40",
    "LOG_LEVEL": "info",
}


@pytest.mark.parametrize("role", list(PROCESS_MODULES))
def test_a_child_is_given_the_secrets_it_needs_and_no_others(
    role: Role, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(PREFIX + "DATABASE_OWNER_URL", "postgresql://owner:geheim@127.0.0.1/x")
    environment = child_environment(
        role, PlatformOptions(state_dir=tmp_path), SHARED, ops_bind="127.0.0.1:1002"
    )
    secrets = {"STATE_DIR", "DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL"}
    assert {name for name in secrets if PREFIX + name in environment} == SETTINGS_OF[role] - {"KEYS_DIR"}
    assert (PREFIX + "KEYS_DIR" in environment) == (role in KEY_ROLES)
    assert environment[SUPERVISED]
    assert load_settings(role, environ=environment).shards == 8


def test_every_process_can_be_imported_and_run() -> None:
    import importlib

    for module in PROCESS_MODULES.values():
        assert asyncio.iscoroutinefunction(importlib.import_module(module).run), module


ORPHAN = """
import asyncio, pathlib, sys
from cloud.bootstrap import stop_event

async def main():
    async with stop_event() as stop:
        pathlib.Path(sys.argv[1]).write_text("waiting")
        await stop.wait()
    pathlib.Path(sys.argv[1]).write_text("stopped")

asyncio.run(main())
"""


async def test_a_supervised_process_stops_when_its_supervisor_is_gone(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    start_and_leave = (
        "import os, subprocess, sys, time, pathlib; "
        f"subprocess.Popen([sys.executable, '-c', {ORPHAN!r}, {str(mark)!r}], env={{**os.environ, {SUPERVISED!r}: '1'}}); "
        f"mark = pathlib.Path({str(mark)!r}); "
        "[time.sleep(0.01) for _ in iter(mark.exists, True)]"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", start_and_leave)
    assert await parent.wait() == 0
    await until(lambda: mark.read_text() == "stopped")


CHATTERBOX = "import sys; [print('x' * 99) for _ in range(60_000)]; sys.exit(3)"


async def test_a_log_that_grows_while_its_process_runs_stays_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RotatingLog.__init__, "__kwdefaults__", {"max_bytes": 200_000})
    child, stop = make_child(tmp_path, CHATTERBOX), asyncio.Event()
    keeper = asyncio.create_task(child.keep_running(stop=stop, echo=lambda line: None))
    await until(lambda: child.restarts == 1)
    stop.set()
    await keeper
    logs = sorted(path for path in (tmp_path / "logs").iterdir())
    assert [path.name for path in logs] == ["part.log", "part.log.1"]
    for path in logs:
        assert path.stat().st_size <= 200_000 + 65_536 and path.stat().st_mode & 0o777 == 0o600
        assert set(path.read_text().splitlines()) == {"x" * 99}


async def test_what_a_process_says_last_is_in_its_log(tmp_path: Path) -> None:
    child, stop = make_child(tmp_path, QUITTER), asyncio.Event()
    keeper = asyncio.create_task(child.keep_running(stop=stop, echo=lambda line: None))
    await until(lambda: child.restarts == 1)
    assert child.last_words() == "cannot go on"
    stop.set()
    await keeper


def test_a_log_that_cannot_be_written_is_let_go(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where a folder should be")
    RotatingLog(tmp_path / "logs" / "part.log").write(b"line\n")
    assert (tmp_path / "logs").read_text() == "a file where a folder should be"


def test_a_log_that_its_process_appends_to_begins_anew_when_it_is_too_long(tmp_path: Path) -> None:
    log = tmp_path / "server.log"
    with log.open("ab", buffering=0) as appending:
        appending.write(b"x" * 100)
        cut_log(log, max_bytes=100)
        assert log.stat().st_size == 100
        appending.write(b"y")
        cut_log(log, max_bytes=100)
        appending.write(b"after")
    assert log.read_bytes() == b"after"
    cut_log(tmp_path / "nothing.log")
