"""The signalling websocket server.

Its seats are those of `cloud.web.connections`: whoever has not proven itself yet (`SignallingConnection.keep`), from
the TCP connection on, is *waiting* there and gives its seat up for a newcomer; a websocket that speaks for a session is
being *answered* and keeps it. A newcomer for whom there is no seat, since all speak for sessions, gets 503.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, cast

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Origin

from cloud.errors import ConfigError
from cloud.signaling.ports import SignallingHandler
from cloud.web.connections import ConnectionLimits, ConnectionTable, Standing, source_of
from privacy.protocol import limits

OPEN_TIMEOUT_S = 10
PING_S = 20
RETRY_AFTER_MAX_S = 10

OTHERS_SEATS = 8
"""Of all seats, those that one source (an address, an IPv6 /64) cannot take; behind a NAT or a proxy it has the rest."""

REFUSED_SEATS = 8
"""Beyond the seats, for those who are told that there is none."""


class SeatedConnection(ServerConnection):
    """A websocket that has a seat from its first moment, or is told that there is none."""

    def __init__(
        self, *arguments: Any, seats: ConnectionTable, on_given_up: Callable[[], None], **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self.is_refused = False
        self._seats = seats
        self._on_given_up = on_given_up

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a seat, at the cost of one that has not proven itself if need be."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        admission = self._seats.admit(self, source_of(peer[0] if peer else None))
        self.is_refused = admission.is_reserved
        if isinstance(admission.closed, SeatedConnection):
            admission.closed.transport.abort()
            self._on_given_up()
        if not admission.is_admitted:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the seat."""
        self._seats.forget(self)
        super().connection_lost(exc)

    def keep(self) -> None:
        """Keep the seat for as long as the connection lasts."""
        self._seats.stands(self, Standing.ANSWERING)


class WebsocketConnection:
    """A `SignallingConnection` on one websocket."""

    def __init__(self, websocket: SeatedConnection) -> None:
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

    def keep(self) -> None:
        """Keep the seat from now on."""
        self._websocket.keep()

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
    on_given_up: Callable[[], None] = lambda: None,
) -> AsyncIterator[int]:
    """Serve signalling for as long as the context is open; yields the port it listens on.

    Over `max_connections`, those that have proven nothing yet give up their seats (`on_given_up`), oldest first; where
    all have, a newcomer gets HTTP 503 with a jittered Retry-After. A request that names an
    origin comes from a web page: unless that origin is one of `allowed_origins`, it gets 403 (protocol rule W17).

    Raises:
        ConfigError: the address cannot be bound.
    """

    def refuse_without_seat(connection: ServerConnection, _request: Request) -> Response | None:
        if not cast(SeatedConnection, connection).is_refused:
            return None
        response = connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "full\n")
        response.headers["Retry-After"] = str(random.randint(1, RETRY_AFTER_MAX_S))
        return response

    async def handle(websocket: ServerConnection) -> None:
        await handler(WebsocketConnection(cast(SeatedConnection, websocket)))

    seats = ConnectionTable(
        ConnectionLimits(
            total=max_connections,
            per_source=max(max_connections - OTHERS_SEATS, 1),
            reserved=REFUSED_SEATS,
        )
    )

    def connection(*arguments: Any, **options: Any) -> SeatedConnection:
        return SeatedConnection(*arguments, seats=seats, on_given_up=on_given_up, **options)

    server = await _bind(
        host,
        port,
        handle,
        process_request=refuse_without_seat,
        create_connection=connection,
        origins=[None, *(Origin(origin) for origin in allowed_origins)],
    )
    async with server:
        yield next(iter(server.sockets)).getsockname()[1]


async def _bind(host: str, port: int, handle: Any, **options: Any) -> Server:
    try:
        return await serve(
            handle,
            host,
            port,
            compression=None,
            server_header=None,
            open_timeout=OPEN_TIMEOUT_S,
            ping_interval=PING_S,
            ping_timeout=PING_S,
            close_timeout=2,
            max_size=limits.SIGNALLING_MESSAGE_MAX_BYTES,
            max_queue=4,
            **options,
        )
    except OSError as error:
        raise ConfigError(
            f"INGEST_BIND {host}:{port} cannot be listened on ({error.strerror}): free it or choose another"
        ) from None
