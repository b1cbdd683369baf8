"""The signalling websocket server by itself."""

import asyncio
import contextlib

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cloud.errors import ConfigError
from cloud.signaling.server import serve_signalling
from privacy.protocol import limits


async def echo(connection) -> None:
    while (message := await connection.receive()) is not None:
        await connection.send(message)
    await connection.send(b"nobody hears this")


async def test_messages_travel_both_ways_and_the_end_is_told() -> None:
    async with (
        serve_signalling("127.0.0.1", 0, echo, max_connections=2) as port,
        connect(f"ws://127.0.0.1:{port}", proxy=None) as client,
    ):
        await client.send(b"bytes")
        assert await client.recv() == "bytes"
        await client.send("text")
        assert await client.recv() == "text"


async def echo_kept(connection) -> None:
    connection.keep()
    await echo(connection)


async def test_where_all_have_proven_themselves_a_newcomer_is_told_when_to_come_back() -> None:
    async with serve_signalling("127.0.0.1", 0, echo_kept, max_connections=1) as port:
        url = f"ws://127.0.0.1:{port}"
        async with connect(url, proxy=None) as first:
            await first.send("kept")
            await first.recv()
            with pytest.raises(InvalidStatus) as refused:
                await connect(url, proxy=None)
        assert refused.value.response.status_code == 503
        assert 1 <= int(refused.value.response.headers["Retry-After"]) <= 10
        async with connect(url, proxy=None) as client:
            await client.send("again")
            assert await client.recv() == "again"


async def test_a_web_page_is_not_let_in() -> None:
    async with serve_signalling("127.0.0.1", 0, echo, max_connections=1) as port:
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"ws://127.0.0.1:{port}", origin="https://example.org", proxy=None)
    assert refused.value.response.status_code == 403


async def test_a_page_of_an_origin_that_was_named_is_let_in_and_no_other() -> None:
    named = "https://view.example.org"
    async with serve_signalling("127.0.0.1", 0, echo, max_connections=2, allowed_origins=[named]) as port:
        for origin in (named, None):
            async with connect(f"ws://127.0.0.1:{port}", origin=origin, proxy=None) as client:
                await client.send("hello")
                assert await client.recv() == "hello"
        for origin in ("https://example.org", named + ":8443", named + ".example", "null"):
            with pytest.raises(InvalidStatus) as refused:
                await connect(f"ws://127.0.0.1:{port}", origin=origin, proxy=None)
            assert refused.value.response.status_code == 403


async def test_a_message_over_the_limit_ends_the_connection() -> None:
    async with (
        serve_signalling("127.0.0.1", 0, echo, max_connections=1) as port,
        connect(f"ws://127.0.0.1:{port}", proxy=None) as client,
    ):
        with contextlib.suppress(ConnectionClosed):
            await client.send("x" * (limits.SIGNALLING_MESSAGE_MAX_BYTES + 1))
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_an_address_that_is_taken_is_named() -> None:
    async with serve_signalling("127.0.0.1", 0, echo, max_connections=1) as port:
        with pytest.raises(ConfigError, match=str(port)):
            async with serve_signalling("127.0.0.1", port, echo, max_connections=1):
                await asyncio.sleep(0)
