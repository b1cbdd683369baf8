"""An offering peer with the agent's two channels, for tests of ingest over real WebRTC."""

from __future__ import annotations

import asyncio
import contextlib

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from websockets.asyncio.client import ClientConnection, connect

from privacy.protocol.codec import decode_control_from_ingest, decode_signalling, encode_message
from privacy.protocol.envelope import DatagramKind, wrap_datagram
from privacy.protocol.messages import Answer, Offer, Refused, SessionSetup


class OfferingPeer:
    """Connects to an ingest process as an agent does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.websocket: ClientConnection | None = None
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.crops = self.connection.createDataChannel("crops", ordered=False, maxRetransmits=0)
        self.ctl = self.connection.createDataChannel("ctl")
        self.received = []
        self.is_open = asyncio.Event()
        self.ctl.on("open", self.is_open.set)
        self.ctl.on("message", lambda text: self.received.append(decode_control_from_ingest(text.encode())))

    async def offer(
        self, ticket: str, setup: SessionSetup, *, sdp: str | None = None, minor: int = 0
    ) -> Answer | Refused:
        """Send an offer over a websocket; connect if it is answered."""
        if sdp is None:
            await self.connection.setLocalDescription(await self.connection.createOffer())
            sdp = self.connection.localDescription.sdp
        reply = await self.say(encode_message(Offer(ticket=ticket, sdp=sdp, setup=setup, minor=minor)))
        if isinstance(reply, Answer):
            await self.connection.setRemoteDescription(RTCSessionDescription(sdp=reply.sdp, type="answer"))
            async with asyncio.timeout(10):
                await self.is_open.wait()
        return reply

    async def say(self, message: bytes) -> Answer | Refused:
        if self.websocket is None:
            self.websocket = await connect(f"ws://127.0.0.1:{self._port}", proxy=None)
        await self.websocket.send(message, text=True)
        async with asyncio.timeout(10):
            reply = await self.websocket.recv()
        assert isinstance(reply, str)
        decoded = decode_signalling(reply.encode())
        assert isinstance(decoded, Answer | Refused)
        return decoded

    def send(self, envelope: bytes, *, late: bool = False) -> None:
        self.crops.send(wrap_datagram(DatagramKind.LATE if late else DatagramKind.LIVE, envelope))

    def control(self, message) -> None:
        self.ctl.send(encode_message(message).decode())

    async def heard(self, kind: type, *, within_s: float = 5.0):
        async with asyncio.timeout(within_s):
            while True:
                for message in self.received:
                    if isinstance(message, kind):
                        return message
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        with contextlib.suppress(ConnectionError):
            await self.connection.close()
        if self.websocket is not None:
            await self.websocket.close()
