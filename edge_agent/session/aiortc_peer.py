"""The agent's WebRTC peer: one data channel for crops, one for control."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import aioice.ice
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidAccessError, InvalidStateError

from edge_agent.consent.api_client import IceServer
from edge_agent.errors import PlatformAwayError, PlatformError
from edge_agent.session.sctp_bounds import bound_association

CROPS_LABEL = "crops"
CTL_LABEL = "ctl"
CTL_BUFFER_MAX_BYTES = 65_536
OPEN_TIMEOUT_S = 10.0


class AiortcPeer:
    """Offers a connection; both channels are the agent's (protocol: crops unordered, never repeated)."""

    def __init__(
        self,
        *,
        ice_servers: Sequence[str | IceServer] = (),
        on_control: Callable[[bytes], None],
        on_closed: Callable[[], None],
    ) -> None:
        """Prepare a connection; nothing is sent yet.

        Args:
            ice_servers: STUN or TURN URLs, or servers that came with the ticket; none contacts nobody.
            on_control: called on the event loop with each message on `ctl`.
            on_closed: called once if the connection fails or the other side ends it.
        """
        _offer_loopback_when_alone()
        servers = [_rtc_server(server) for server in ice_servers]
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._on_closed: Callable[[], None] | None = on_closed
        self._open = asyncio.Event()
        self._crops = self._connection.createDataChannel(CROPS_LABEL, ordered=False, maxRetransmits=0)
        self._ctl = self._connection.createDataChannel(CTL_LABEL, ordered=True)
        if self._connection.sctp is not None:
            bound_association(self._connection.sctp, on_breach=lambda _breach: self._lost())
        for channel in (self._crops, self._ctl):
            channel.on("open", self._on_channel_open)
            channel.on("close", self._lost)
        self._ctl.on("message", lambda m: on_control(m if isinstance(m, bytes) else m.encode()))
        self._connection.on("connectionstatechange", self._on_state)

    async def offer(self) -> str:
        """Return the complete offer, candidates included."""
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return str(self._connection.localDescription.sdp)

    async def accept(self, answer_sdp: str) -> None:
        """Take the answer and wait until both channels are open.

        Raises:
            PlatformError: the answer makes no sense.
            PlatformAwayError: no connection within ten seconds.
        """
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(sdp=answer_sdp, type="answer"))
        except (InvalidAccessError, InvalidStateError, ValueError, LookupError, AssertionError, TypeError):
            raise PlatformError("the platform's answer makes no sense") from None
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await self._open.wait()
        except TimeoutError:
            raise PlatformAwayError("no direct connection to the platform could be made") from None

    @property
    def is_open(self) -> bool:
        """Whether both channels can send."""
        return bool(self._crops.readyState == "open" and self._ctl.readyState == "open")

    @property
    def buffered_bytes(self) -> int:
        """What waits on `crops` because the network has not taken it yet."""
        return int(self._crops.bufferedAmount)

    def send_crop(self, datagram: bytes) -> bool:
        """Send a datagram on `crops`; False if the channel is gone."""
        try:
            self._crops.send(datagram)
        except (InvalidStateError, ConnectionError):
            return False
        return True

    def send_control(self, message: bytes) -> bool:
        """Send a message on `ctl`; False if the channel is gone or has too much waiting."""
        if self._ctl.readyState != "open" or self._ctl.bufferedAmount > CTL_BUFFER_MAX_BYTES:
            return False
        try:
            self._ctl.send(message.decode("utf-8"))
        except (InvalidStateError, ConnectionError):
            return False
        return True

    async def close(self) -> None:
        """Close; `on_closed` is not called for it."""
        self._on_closed = None
        with contextlib.suppress(ConnectionError, InvalidStateError):
            await self._connection.close()

    def _on_channel_open(self) -> None:
        if self.is_open:
            self._open.set()

    def _on_state(self) -> None:
        if self._connection.connectionState in ("failed", "closed"):
            self._lost()

    def _lost(self) -> None:
        callback, self._on_closed = self._on_closed, None
        if callback is not None:
            callback()


def _rtc_server(server: str | IceServer) -> RTCIceServer:
    if isinstance(server, str):
        return RTCIceServer(urls=server)
    return RTCIceServer(
        urls=server.url, username=server.username or None, credential=server.credential or None
    )


def _offer_loopback_when_alone() -> None:
    """Let ICE use 127.0.0.1 on a machine without any other address; aioice always leaves it out."""
    found = aioice.ice.get_host_addresses
    if getattr(found, "falls_back", False):
        return

    def with_fallback(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return found(use_ipv4, use_ipv6) or (["127.0.0.1"] if use_ipv4 else ["::1"])

    with_fallback.falls_back = True  # type: ignore[attr-defined]
    aioice.ice.get_host_addresses = with_fallback
