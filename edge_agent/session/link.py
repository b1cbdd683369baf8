"""One connection to ingest: ticket, offer, answer, two open channels."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from edge_agent.errors import PlatformAwayError, PlatformError, RevokedError
from privacy.crypto.sealing import SessionSealer
from privacy.protocol.messages import Answer, Offer, Refused, Revoked, SignallingMessage

ANSWER_TIMEOUT_S = 15.0


class Peer(Protocol):
    """A WebRTC connection with both channels."""

    async def offer(self) -> str:
        """Return the complete offer."""

    async def accept(self, answer_sdp: str) -> None:
        """Take the answer; return once both channels are open."""

    @property
    def is_open(self) -> bool:
        """Whether both channels can send."""

    @property
    def buffered_bytes(self) -> int:
        """What waits on `crops`."""

    def send_crop(self, datagram: bytes) -> bool:
        """Send on `crops`."""

    def send_control(self, message: bytes) -> bool:
        """Send on `ctl`."""

    async def close(self) -> None:
        """Close."""


class Signalling(Protocol):
    """A signalling connection."""

    async def send_offer(self, offer: Offer) -> None:
        """Send the offer."""

    async def receive(self) -> SignallingMessage:
        """Wait for the next message."""

    async def close(self) -> None:
        """Close."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkFactories:
    """How a link gets its parts.

    Attributes:
        ticket: returns (ticket, ingest URL).
        signalling: connects to an ingest URL.
        peer: makes a peer from two callbacks: control message, connection lost.
        minor: minor version to offer with the latest ticket (protocol rule S14).
    """

    ticket: Callable[[], Awaitable[tuple[str, str]]]
    signalling: Callable[[str], Awaitable[Signalling]]
    peer: Callable[[Callable[[bytes], None], Callable[[], None]], Peer]
    minor: Callable[[], int] = lambda: 0


class Link:
    """A live connection and the epoch that is sealed for it.

    Attributes:
        peer: its channels.
        sealer: seals for this epoch only.
        lost: set when the connection is gone, or ingest ended the session.
        revoked: why ingest ended the session, empty otherwise.
    """

    def __init__(
        self, peer: Peer, sealer: SessionSealer, signalling: Signalling, lost: asyncio.Event
    ) -> None:
        """Take over open parts; use `open_link`."""
        self.peer = peer
        self.sealer = sealer
        self.lost = lost
        self.revoked = ""
        self._signalling = signalling
        self._watch = asyncio.create_task(self._watch_signalling())

    async def close(self) -> None:
        """Hang up; harmless when the connection is gone."""
        self._watch.cancel()
        await asyncio.gather(self._watch, return_exceptions=True)
        await self._signalling.close()
        await self.peer.close()

    async def _watch_signalling(self) -> None:
        try:
            while True:
                message = await self._signalling.receive()
                if isinstance(message, Revoked):
                    self.revoked = message.reason
                    break
        except PlatformError:
            # The owner of the session is gone; a new connection finds the next one.
            pass
        self.lost.set()


async def open_link(
    factories: LinkFactories, sealer: SessionSealer, *, on_control: Callable[[bytes], None]
) -> Link:
    """Make one connection attempt.

    Args:
        factories: see there.
        sealer: of the new epoch; its setup travels with the offer.
        on_control: called with each message on `ctl`.

    Raises:
        PlatformAwayError: trying again makes sense.
        RevokedError: the session is over: consent withdrawn, or closed.
        PlatformError: refused otherwise.
    """
    lost = asyncio.Event()
    ticket, url = await factories.ticket()
    peer = factories.peer(on_control, lost.set)
    signalling: Signalling | None = None
    try:
        # Gathering takes a while with STUN and TURN, and ingest does not keep a silent websocket for long.
        sdp = await peer.offer()
        signalling = await factories.signalling(url)
        await signalling.send_offer(
            Offer(ticket=ticket, sdp=sdp, setup=sealer.setup, minor=factories.minor())
        )
        await peer.accept(await _await_answer(signalling))
    except BaseException:
        if signalling is not None:
            await signalling.close()
        await peer.close()
        raise
    return Link(peer, sealer, signalling, lost)


async def _await_answer(signalling: Signalling) -> str:
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            message = await signalling.receive()
    except TimeoutError:
        raise PlatformAwayError("ingest does not answer the offer") from None
    if isinstance(message, Answer):
        return message.sdp
    if isinstance(message, Revoked):
        raise RevokedError(f"the session is over: {message.reason}")
    if isinstance(message, Refused):
        text = f"ingest refuses the session ({message.code}): {message.reason}"
        if message.code in (403, 410):
            raise RevokedError(text)
        kind = PlatformAwayError if message.code in (409, 429, 503) else PlatformError
        raise kind(text, status=message.code, retry_after_ms=message.retry_after_ms)
    raise PlatformError("ingest answered with another message")
