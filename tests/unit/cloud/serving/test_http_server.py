"""Sockets that dawdle, against a real server with little patience."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from cloud.config import Bind
from cloud.web.connections import ConnectionLimits
from cloud.web.guarded_http import Patience
from cloud.web.http_server import serve_app

LIMITS = ConnectionLimits(total=6, per_source=4, reserved=2)
PATIENCE = Patience(head_s=0.3, body_s=0.3, idle_s=1, write_s=0.3, linger_s=0.3)
ENDLESS_BYTES = 64 << 20

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(request: Request) -> Response:
    return PlainTextResponse(await request.body())


async def refuse(_request: Request) -> Response:
    return PlainTextResponse("no", status_code=401)


async def much(_request: Request) -> Response:
    return PlainTextResponse(b"x" * ENDLESS_BYTES)


async def place(request: Request) -> Response:
    return PlainTextResponse(str(request.state.is_reserved))


@pytest.fixture
async def bind() -> AsyncIterator[Bind]:
    routes = [
        Route("/echo", echo, methods=["POST"]),
        Route("/refuse", refuse, methods=["POST"]),
        Route("/much", much),
        Route("/place", place),
    ]
    where = Bind(host="127.0.0.1", port=0)
    async with serve_app(
        Starlette(routes=routes), where, name="API_BIND", limits=LIMITS, patience=PATIENCE
    ) as bound:
        yield bound


@pytest.fixture
async def opened() -> AsyncIterator[list[Ends]]:
    ends: list[Ends] = []
    yield ends
    for _, writer in ends:
        writer.transport.abort()


async def send(bind: Bind, opened: list[Ends], data: bytes, *, limit: int = 2**16) -> asyncio.StreamReader:
    opened.append(await asyncio.open_connection(bind.host, bind.port, limit=limit))
    reader, writer = opened[-1]
    writer.write(data)
    await writer.drain()
    return reader


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """Read until the server closes, however it does that."""
    got = b""
    try:
        while chunk := await asyncio.wait_for(reader.read(65_536), 10):
            got += chunk
    except ConnectionResetError:
        pass
    return got


async def trickle(bind: Bind, opened: list[Ends], start: bytes) -> bytes:
    """Send one byte more, again and again, until the server has enough of it."""
    reader = await send(bind, opened, start)
    reading = asyncio.ensure_future(read_to_end(reader))
    while not reading.done():
        opened[-1][1].write(b"a")
        await asyncio.sleep(0.02)
    return await reading


GET_PLACE = b"GET /place HTTP/1.1\r\nHost: a\r\n\r\n"
POST_ECHO = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n"


async def test_a_head_that_trickles_in_is_refused_in_time(bind: Bind, opened: list[Ends]) -> None:
    answer = await trickle(bind, opened, b"GET / HTTP/1.1\r\nX-Slow: ")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"408" in head and b"application/problem+json" in head
    assert json.loads(body)["type"] == "urn:countenance:problem:too-slow"


async def test_who_says_nothing_is_closed_without_a_word(bind: Bind, opened: list[Ends]) -> None:
    assert await read_to_end(await send(bind, opened, b"")) == b""


async def test_a_body_that_trickles_in_ends_the_connection(bind: Bind, opened: list[Ends]) -> None:
    assert b"200" not in await trickle(bind, opened, POST_ECHO)


async def test_a_connection_kept_open_ends_when_idle_and_serves_until_then(
    bind: Bind, opened: list[Ends]
) -> None:
    reader = await send(bind, opened, GET_PLACE + GET_PLACE)
    assert (await read_to_end(reader)).count(b"200 OK") == 2


async def test_who_does_not_read_an_answer_loses_the_connection(bind: Bind, opened: list[Ends]) -> None:
    reader = await send(bind, opened, b"GET /much HTTP/1.1\r\nHost: a\r\n\r\n", limit=1_024)
    await asyncio.sleep(1)
    assert len(await read_to_end(reader)) < ENDLESS_BYTES


async def test_the_rest_of_a_refused_body_is_not_waited_for(bind: Bind, opened: list[Ends]) -> None:
    answer = await trickle(bind, opened, POST_ECHO.replace(b"/echo", b"/refuse"))
    assert b"401" in answer


async def test_what_is_no_http_is_refused_as_a_problem(bind: Bind, opened: list[Ends]) -> None:
    answer = await read_to_end(await send(bind, opened, b"\x16\x03\x01nonsense\r\n\r\n"))
    assert answer.startswith(b"HTTP/1.1 400") and b"application/problem+json" in answer


@pytest.mark.parametrize("start", [b"", b"GET /pl", POST_ECHO + b"half"])
async def test_however_many_sockets_dawdle_a_newcomer_is_served(
    bind: Bind, opened: list[Ends], start: bytes
) -> None:
    for _ in range(3 * LIMITS.total):
        await send(bind, opened, start)
    reader = await send(bind, opened, GET_PLACE)
    assert b"200 OK" in await asyncio.wait_for(reader.read(1_000), 10)
