"""Answering WebRTC peers on aiortc.

The agent makes both channels: `crops` (unordered, no retransmission) and `ctl` (reliable, ordered, text).
Anything else in an offer is refused: a peer that could carry audio or video is a peer we do not want.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

import aioice.ice
from aiortc import RTCConfiguration, RTCDataChannel, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidAccessError, InvalidStateError

from cloud.errors import AdmissionError
from cloud.ingest.peers import PeerSink
from cloud.ingest.sctp_bounds import bound_association
from cloud.signaling.ice_servers import IceServer
from cloud.signaling.offer_sdp import check_offer_sdp, is_alone_with
from privacy.protocol.sctp import Breach

CROPS_LABEL = "crops"
CTL_LABEL = "ctl"
CTL_BUFFER_MAX_BYTES = 65_536
"""An agent that does not read its acks for this long is told nothing more."""

ANSWER_TIMEOUT_S = 10.0


class AiortcPeer:
    """One answering connection; made by `AiortcPeerEngine`."""

    def __init__(self, connection: RTCPeerConnection, sink: PeerSink) -> None:
        self._connection = connection
        self._sink: PeerSink | None = sink
        self._ctl: RTCDataChannel | None = None
        self._labels: set[str] = set()
        connection.on("datachannel", self._on_channel)
        connection.on("connectionstatechange", self._on_state)

    @property
    def answer_sdp(self) -> str:
        """The complete answer, candidates included."""
        return str(self._connection.localDescription.sdp)

    def send_control(self, message: bytes) -> bool:
        """Queue a message on `ctl`; False if the channel is not open or has too much waiting."""
        channel = self._ctl
        if channel is None or channel.readyState != "open" or channel.bufferedAmount > CTL_BUFFER_MAX_BYTES:
            return False
        try:
            channel.send(message.decode("utf-8"))
        except (InvalidStateError, ConnectionError):
            return False
        return True

    def hang_up(self) -> None:
        """Tell the owner that the connection is over, who closes it; nothing it brings is heard any more."""
        if self._sink is not None:
            sink, self._sink = self._sink, None
            sink.on_closed()

    async def close(self) -> None:
        """Close the connection; harmless when it is closed already."""
        self._sink = None
        # aiortc may find a transport that went away under it; it is closed either way
        with contextlib.suppress(ConnectionError, InvalidStateError):
            await self._connection.close()

    def _on_channel(self, channel: RTCDataChannel) -> None:
        if channel.label in self._labels or channel.label not in (CROPS_LABEL, CTL_LABEL):
            channel.close()
            return
        self._labels.add(channel.label)
        if channel.label == CTL_LABEL:
            self._ctl = channel
            channel.on("message", self._on_control)
        else:
            channel.on("message", self._on_datagram)

    def _on_datagram(self, message: bytes | str) -> None:
        if self._sink is not None:
            self._sink.on_datagram(message if isinstance(message, bytes) else message.encode())

    def _on_control(self, message: bytes | str) -> None:
        if self._sink is not None:
            self._sink.on_control(message if isinstance(message, bytes) else message.encode())

    def _on_state(self) -> None:
        if self._connection.connectionState in ("failed", "closed"):
            self.hang_up()


class AiortcPeerEngine:
    """Makes answering peers; contacts no server but those it is given.

    Args:
        ice_servers: gives the STUN and TURN servers of one connection, with credentials that last as long;
            none on one machine.
        on_breach: told why a peer is hung up on that takes more than its share (`privacy.protocol.sctp`).
    """

    def __init__(
        self,
        ice_servers: Callable[[], Sequence[IceServer]] = tuple,
        *,
        on_breach: Callable[[Breach], None] = lambda breach: None,
    ) -> None:
        self._ice_servers = ice_servers
        self._on_breach = on_breach
        _offer_loopback_when_alone()

    async def answer(self, offer_sdp: str, sink: PeerSink) -> AiortcPeer:
        """Answer an offer; no trickle.

        Raises:
            AdmissionError: the offer is malformed, or asks for more than data channels (code 422).
        """
        own_addresses = aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True)
        checked_sdp = check_offer_sdp(offer_sdp, is_alone=is_alone_with(own_addresses))
        servers = [
            RTCIceServer(urls=one.url, username=one.username or None, credential=one.credential or None)
            for one in self._ice_servers()
        ]
        connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        peer = AiortcPeer(connection, sink)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                await connection.setRemoteDescription(RTCSessionDescription(sdp=checked_sdp, type="offer"))
                self._bound(connection, peer)
                await connection.setLocalDescription(await connection.createAnswer())
        except BaseException as error:
            await peer.close()
            if isinstance(error, _SDP_ERRORS):
                raise AdmissionError(422, "the offer cannot be answered") from None
            raise
        return peer

    def _bound(self, connection: RTCPeerConnection, peer: AiortcPeer) -> None:
        if connection.sctp is None:
            raise ValueError("the offer has no data channels")

        def breached(breach: Breach) -> None:
            self._on_breach(breach)
            peer.hang_up()

        bound_association(connection.sctp, on_breach=breached)


_SDP_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    InvalidAccessError,
    InvalidStateError,
    LookupError,
    OSError,
    TimeoutError,
    TypeError,
    ValueError,
)
"""What aiortc's SDP parser and transports raise on an offer that makes no sense."""


def _offer_loopback_when_alone() -> None:
    """Let ICE use 127.0.0.1 on a machine without any other address; aioice always leaves it out."""
    found = aioice.ice.get_host_addresses
    if getattr(found, "falls_back", False):
        return

    def with_fallback(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return found(use_ipv4, use_ipv6) or (["127.0.0.1"] if use_ipv4 else ["::1"])

    with_fallback.falls_back = True  # type: ignore[attr-defined]
    aioice.ice.get_host_addresses = with_fallback
