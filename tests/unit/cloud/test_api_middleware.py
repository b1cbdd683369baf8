from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message

from cloud.web.middleware import BodyLimit, ReservedPlaces
from cloud.web.problems import ProblemError, problem_response


async def answer(app: Any, scope: dict[str, Any], receive: Callable[[], Any]) -> tuple[int, dict[str, Any]]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "http", "query_string": b"", "headers": [], "method": "POST", **scope}, receive, send)
    body = b"".join(message.get("body", b"") for message in sent)
    return sent[0]["status"], json.loads(body) if body.startswith(b"{") else {}


def reading_app() -> Starlette:
    async def read(request: Request) -> Response:
        await request.body()
        return PlainTextResponse("read")

    async def unread(_request: Request) -> Response:
        return PlainTextResponse("unread")

    async def on_problem(_request: Request, error: Exception) -> Response:
        assert isinstance(error, ProblemError)
        return problem_response(error)

    routes = [Route("/read", read, methods=["POST"]), Route("/unread", unread, methods=["POST"])]
    return Starlette(routes=routes, exception_handlers={ProblemError: on_problem})


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def endless() -> Message:
    return {"type": "http.request", "body": b"x" * 100, "more_body": True}


@pytest.mark.parametrize(
    ("length", "status"),
    [
        (b"-1", 400),
        (b"", 400),
        (b"1e3", 400),
        ("²".encode("latin-1"), 400),
        (b"1001", 413),
        (b"9" * 5_000, 413),
    ],
)
async def test_a_declared_length_that_is_none_or_too_much_is_refused_unread(
    length: bytes, status: int
) -> None:
    app = BodyLimit(reading_app(), limit_bytes=1_000)
    scope = {"path": "/read", "headers": [(b"content-length", length)]}
    assert (await answer(app, scope, never))[0] == status


async def test_a_body_that_grows_beyond_the_limit_is_refused() -> None:
    status, problem = await answer(BodyLimit(reading_app(), limit_bytes=1_000), {"path": "/read"}, endless)
    assert (status, problem["type"]) == (413, "urn:countenance:problem:too-large")


async def test_a_body_that_does_not_arrive_in_time_is_refused() -> None:
    status, problem = await answer(BodyLimit(reading_app(), limit_s=0.01), {"path": "/read"}, never)
    assert (status, problem["type"]) == (408, "urn:countenance:problem:too-slow")


async def test_a_body_that_nobody_asks_for_is_not_read() -> None:
    assert (await answer(BodyLimit(reading_app()), {"path": "/unread"}, never))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/join/withdraw", 404),
        ("POST", "/v1/sessions/2b9e/erase", 404),
        ("POST", "/v1/join/consent", 503),
        ("GET", "/v1/join/withdraw", 503),
        ("POST", "/v1/sessions/a/b/erase", 503),
    ],
)
@pytest.mark.parametrize("is_reserved", [True, False])
async def test_reserved_places_serve_what_ends_something_alone(
    method: str, path: str, status: int, is_reserved: bool
) -> None:
    scope = {"method": method, "path": path, "state": {"is_reserved": is_reserved}}
    assert (await answer(ReservedPlaces(reading_app()), scope, never))[0] == (status if is_reserved else 404)
