from __future__ import annotations

import asyncio
import json
import logging
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cloud.config import Bind, Role, load_settings
from cloud.errors import ConfigError
from cloud.observability import OK, configure_logging, serve_ops
from cloud.web.http_server import serve_app


def ask(bind: Bind, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{bind}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


async def test_health_readiness_and_metrics_are_served_in_the_same_loop() -> None:
    checks = {"redis": OK, "postgres": OK}

    async def readiness() -> dict[str, str]:
        return checks

    async with serve_ops(Bind(host="127.0.0.1", port=0), readiness=readiness) as ops:
        assert ops.bind.port != 0
        assert await asyncio.to_thread(ask, ops.bind, "/healthz") == (200, '{"status":"ok"}')
        status, body = await asyncio.to_thread(ask, ops.bind, "/readyz")
        assert (status, json.loads(body)) == (200, {"ready": True, "checks": checks})
        checks["redis"] = "cannot be reached"
        status, body = await asyncio.to_thread(ask, ops.bind, "/readyz")
        assert status == 503 and json.loads(body)["checks"]["redis"] == "cannot be reached"
        assert "python_info" in (await asyncio.to_thread(ask, ops.bind, "/metrics"))[1]


async def test_everybody_who_asks_at_one_time_shares_one_check() -> None:
    asked, begun, released = 0, asyncio.Event(), asyncio.Event()

    async def readiness() -> dict[str, str]:
        nonlocal asked
        asked += 1
        begun.set()
        await released.wait()
        return {"postgres": OK}

    async with serve_ops(Bind(host="127.0.0.1", port=0), readiness=readiness) as ops:
        asking = [asyncio.create_task(asyncio.to_thread(ask, ops.bind, "/readyz")) for _ in range(4)]
        await begun.wait()
        released.set()
        assert {status for status, _ in await asyncio.gather(*asking)} == {200}
        assert asked < len(asking)


@pytest.mark.parametrize(("trusted", "source"), [("127.0.0.1", "203.0.113.7"), ("192.0.2.1", "127.0.0.1")])
async def test_a_proxy_that_is_trusted_names_the_source_and_no_other_does(
    monkeypatch: pytest.MonkeyPatch, trusted: str, source: str
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", trusted)

    async def who(request: Request) -> Response:
        return Response(request.client.host if request.client else "")

    def forwarded(bind: Bind) -> str:
        asked = urllib.request.Request(f"http://{bind}/", headers={"X-Forwarded-For": "203.0.113.7"})
        with urllib.request.urlopen(asked, timeout=5) as answer:
            return str(answer.read().decode())

    app = Starlette(routes=[Route("/", who)])
    async with serve_app(app, Bind(host="127.0.0.1", port=0), name="API_BIND") as bind:
        assert await asyncio.to_thread(forwarded, bind) == source


async def test_a_taken_address_is_said_with_its_setting() -> None:
    async def readiness() -> dict[str, str]:
        return {}

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        bind = Bind(host="127.0.0.1", port=other.getsockname()[1])
        with pytest.raises(ConfigError, match="METRICS_BIND"):
            async with serve_ops(bind, readiness=readiness):
                pass


@pytest.fixture
def logging_left_alone() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = before
    root.setLevel(level)


def lines_of(capsys: pytest.CaptureFixture[str], write: Callable[[], None]) -> list[dict[str, str]]:
    flags = {"STATE_DIR": "/s", "REDIS_URL": "redis://x", "LOG_FORMAT": "json"}
    configure_logging(load_settings(Role.INGEST, environ={}, flags=flags))
    write()
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


@pytest.mark.usefixtures("logging_left_alone")
def test_a_log_line_names_process_and_facts_but_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    def write() -> None:
        structlog.get_logger().info("joined", session_id="abc", ticket="eyJ0.eyJ1.sig", crop=b"\xff\xd8face")

    (line,) = lines_of(capsys, write)
    assert (line["event"], line["process"], line["session_id"]) == ("joined", "ingest", "abc")
    assert "face" not in json.dumps(line) and "eyJ0" not in json.dumps(line)


@pytest.mark.usefixtures("logging_left_alone")
def test_an_exception_is_named_and_placed_but_not_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    def write() -> None:
        try:
            raise ValueError("the payload was SECRET")
        except ValueError:
            structlog.get_logger().exception("it failed")

    (line,) = lines_of(capsys, write)
    assert line["error"] == "ValueError" and ".write:" in line["where"]
    assert "SECRET" not in json.dumps(line)


@pytest.mark.usefixtures("logging_left_alone")
def test_a_librarys_message_keeps_its_template_and_loses_its_arguments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def write() -> None:
        logging.getLogger("some.library").warning("candidate %s failed", "192.0.2.7")
        logging.getLogger("some.library").warning("candidate 192.0.2.8 failed")

    first, second = lines_of(capsys, write)
    assert first["event"] == "candidate %s failed" and first["logger"] == "some.library"
    assert second["event"] == "library message"
    assert "192.0.2" not in json.dumps([first, second])
