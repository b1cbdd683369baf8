"""The signalling websocket, agent's end."""

from __future__ import annotations

import contextlib

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from edge_agent.errors import PlatformAwayError, PlatformError
from privacy.errors import MessageError
from privacy.protocol import limits
from privacy.protocol.codec import decode_signalling, encode_message
from privacy.protocol.messages import Offer, SignallingMessage

OPEN_TIMEOUT_S = 5.0


class SignallingClient:
    """One websocket to the ingest process that owns the session."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, url: str) -> SignallingClient:
        """Connect.

        Raises:
            PlatformAwayError: no answer, or the process is full.
            PlatformError: it refuses websockets.
        """
        try:
            connection = await connect(
                url,
                open_timeout=OPEN_TIMEOUT_S,
                close_timeout=1,
                max_size=limits.SIGNALLING_MESSAGE_MAX_BYTES,
                max_queue=4,
                compression=None,
                user_agent_header=None,
                proxy=None,
            )
        except InvalidStatus as error:
            status = error.response.status_code
            retry = error.response.headers.get("Retry-After", "0")
            wait_ms = int(retry) * 1000 if retry.isdecimal() else 0
            kind = PlatformAwayError if status >= 500 or status == 429 else PlatformError
            raise kind(f"signalling answered {status}", status=status, retry_after_ms=wait_ms) from None
        except (OSError, TimeoutError, WebSocketException) as error:
            raise PlatformAwayError(f"signalling does not answer ({type(error).__name__})") from None
        return cls(connection)

    async def send_offer(self, offer: Offer) -> None:
        """Send the offer.

        Raises:
            PlatformAwayError: the connection is gone.
        """
        try:
            await self._connection.send(encode_message(offer).decode("utf-8"))
        except ConnectionClosed:
            raise PlatformAwayError("signalling went away") from None

    async def receive(self) -> SignallingMessage:
        """Return the next message.

        Raises:
            PlatformAwayError: the connection is gone.
            PlatformError: the message is malformed.
        """
        try:
            message = await self._connection.recv()
        except ConnectionClosed:
            raise PlatformAwayError("signalling went away") from None
        try:
            return decode_signalling(message.encode("utf-8") if isinstance(message, str) else message)
        except MessageError:
            raise PlatformError("signalling sent a malformed message") from None

    async def close(self) -> None:
        """Close in order; harmless when closed."""
        with contextlib.suppress(WebSocketException, OSError):
            await self._connection.close()
