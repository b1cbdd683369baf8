"""The signalling websocket server."""

from __future__ import annotations

import contextlib
import http
import random
from collections.abc import AsyncIterator, Sequence

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Origin

from cloud.errors import ConfigError
from cloud.ports.signalling import SignallingHandler
from privacy.wire import limits

OPEN_TIMEOUT_S = 10
PING_S = 20
RETRY_AFTER_MAX_S = 10


class WebsocketConnection:
    """A `SignallingConnection` on one websocket."""

    def __init__(self, websocket: ServerConnection) -> None:
        self._websocket = websocket

    async def receive(self) -> bytes | None:
        """Return the next message, None once the connection is over."""
        try:
            message = await self._websocket.recv()
        except ConnectionClosed:
            return None
        return message.encode("utf-8") if isinstance(message, str) else message

    async def send(self, message: bytes) -> None:
        """Send a message as text; does nothing once the connection is over."""
        with contextlib.suppress(ConnectionClosed):
            await self._websocket.send(message, text=True)

    async def close(self) -> None:
        """Close the connection in order."""
        await self._websocket.close()


@contextlib.asynccontextmanager
async def serve_signalling(
    host: str,
    port: int,
    handler: SignallingHandler,
    *,
    max_connections: int,
    allowed_origins: Sequence[str] = (),
) -> AsyncIterator[int]:
    """Serve signalling for as long as the context is open; yields the port it listens on.

    A connection over `max_connections` gets HTTP 503 with a jittered Retry-After. A request that names an
    origin comes from a web page: unless that origin is one of `allowed_origins`, it gets 403 (protocol rule W17).

    Raises:
        ConfigError: the address cannot be bound.
    """

    def refuse_over_cap(connection: ServerConnection, _request: Request) -> Response | None:
        if len(connection.server.connections) < max_connections:
            return None
        response = connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "full\n")
        response.headers["Retry-After"] = str(random.randint(1, RETRY_AFTER_MAX_S))
        return response

    async def handle(websocket: ServerConnection) -> None:
        await handler(WebsocketConnection(websocket))

    server = await _bind(host, port, handle, refuse_over_cap, allowed_origins)
    async with server:
        yield next(iter(server.sockets)).getsockname()[1]


async def _bind(  # type: ignore[no-untyped-def]
    host: str, port: int, handle, refuse, allowed_origins: Sequence[str]
) -> Server:
    try:
        return await serve(
            handle,
            host,
            port,
            process_request=refuse,
            origins=[None, *(Origin(origin) for origin in allowed_origins)],
            compression=None,
            server_header=None,
            open_timeout=OPEN_TIMEOUT_S,
            ping_interval=PING_S,
            ping_timeout=PING_S,
            close_timeout=2,
            max_size=limits.SIGNALLING_MESSAGE_MAX_BYTES,
            max_queue=4,
        )
    except OSError as error:
        raise ConfigError(
            f"INGEST_BIND {host}:{port} cannot be listened on ({error.strerror}): free it or choose another"
        ) from None
