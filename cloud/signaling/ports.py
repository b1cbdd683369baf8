"""The signalling end of a session: one websocket per agent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol


class SignallingConnection(Protocol):
    """One agent's websocket; carries whole messages within `SIGNALLING_MESSAGE_MAX_BYTES`."""

    async def receive(self) -> bytes | None:
        """Return the next message, None once the connection is over."""
        ...

    async def send(self, message: bytes) -> None:
        """Send a message; does nothing once the connection is over."""
        ...

    def keep(self) -> None:
        """Note that whoever speaks here has proven itself; until then the connection makes room for others."""
        ...

    async def close(self) -> None:
        """Close the connection in order."""
        ...


SignallingHandler = Callable[[SignallingConnection], Awaitable[None]]
