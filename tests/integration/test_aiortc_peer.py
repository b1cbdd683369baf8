"""The answering peer by itself, over this machine's own addresses."""

import asyncio
import socket

import aioice.ice
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from cloud.errors import AdmissionError
from cloud.ingest.aiortc_peer import AiortcPeerEngine
from tests.fixtures_street import eventually


class Sink:
    def __init__(self) -> None:
        self.datagrams: list[bytes] = []
        self.controls: list[bytes] = []
        self.closed = 0

    def on_datagram(self, datagram: bytes) -> None:
        self.datagrams.append(datagram)

    def on_control(self, message: bytes) -> None:
        self.controls.append(message)

    def on_closed(self) -> None:
        self.closed += 1


async def connected(labels: list[str]):
    offering = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    channels = [offering.createDataChannel(label) for label in labels]
    await offering.setLocalDescription(await offering.createOffer())
    sink = Sink()
    peer = await AiortcPeerEngine().answer(offering.localDescription.sdp, sink)
    await offering.setRemoteDescription(RTCSessionDescription(sdp=peer.answer_sdp, type="answer"))
    await eventually(lambda: channels[0].readyState == "open", within_s=10)
    return offering, channels, peer, sink


async def test_the_two_channels_reach_their_own_ends_and_any_other_is_closed() -> None:
    offering, (crops, ctl, stranger, again), peer, sink = await connected(["crops", "ctl", "files", "ctl"])
    try:
        await eventually(lambda: stranger.readyState == "closed" and again.readyState == "closed")
        crops.send(b"\x01\x02")
        crops.send("text")
        ctl.send("{}")
        await eventually(lambda: len(sink.datagrams) == 2 and len(sink.controls) == 1)
        assert sink.datagrams == [b"\x01\x02", b"text"]
        heard = []
        ctl.on("message", heard.append)
        assert peer.send_control(b'{"a":1}')
        await eventually(lambda: heard == ['{"a":1}'])
    finally:
        await peer.close()
        await offering.close()
    assert sink.closed == 0


async def test_a_peer_that_the_other_side_closes_says_so_once() -> None:
    offering, _, peer, sink = await connected(["crops", "ctl"])
    await offering.close()
    await eventually(lambda: sink.closed == 1)
    await peer.close()
    await peer.close()
    assert sink.closed == 1
    assert not peer.send_control(b"{}")


async def test_an_offer_with_a_camera_in_it_is_refused() -> None:
    offering = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    offering.createDataChannel("crops")
    offering.addTransceiver("video")
    await offering.setLocalDescription(await offering.createOffer())
    with pytest.raises(AdmissionError) as refused:
        await AiortcPeerEngine().answer(offering.localDescription.sdp, Sink())
    await offering.close()
    assert refused.value.code == 422


async def test_a_machine_without_a_network_still_talks_to_itself(monkeypatch) -> None:
    AiortcPeerEngine()
    AiortcPeerEngine()
    monkeypatch.setattr(aioice.ice.ifaddr, "get_adapters", list)
    assert aioice.ice.get_host_addresses(True, False) == ["127.0.0.1"]
    offering, (channel,), peer, sink = await connected(["crops"])
    channel.send(b"x")
    await eventually(lambda: sink.datagrams == [b"x"])
    await peer.close()
    await offering.close()
    await asyncio.sleep(0)


def only(candidates: list[str], sdp: str) -> str:
    """Give the offer with these candidates instead of its own."""
    lines = [line for line in sdp.splitlines() if not line.startswith(("a=candidate", "a=end-of-candidates"))]
    return "\r\n".join([*lines, *candidates, "a=end-of-candidates", ""])


async def test_a_browser_that_offers_names_of_its_own_link_only_is_found_by_its_checks() -> None:
    offering = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    channel = offering.createDataChannel("crops")
    await offering.setLocalDescription(await offering.createOffer())
    sdp = only(
        ["a=candidate:1 1 udp 2113937151 5f0c2f6a-3f0e-4f0a-9a52-0c1d3b6e7a11.local 54321 typ host"],
        offering.localDescription.sdp,
    )
    sink = Sink()
    peer = await AiortcPeerEngine().answer(sdp, sink)
    try:
        await offering.setRemoteDescription(RTCSessionDescription(sdp=peer.answer_sdp, type="answer"))
        await eventually(lambda: channel.readyState == "open", within_s=10)
        channel.send(b"x")
        await eventually(lambda: sink.datagrams == [b"x"])
    finally:
        await peer.close()
        await offering.close()


async def test_no_packet_goes_to_a_loopback_candidate() -> None:
    door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    door.bind(("127.0.0.1", 0))
    door.settimeout(0)
    offering = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    offering.createDataChannel("crops")
    await offering.setLocalDescription(await offering.createOffer())
    port = door.getsockname()[1]
    sdp = only([f"a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host"], offering.localDescription.sdp)
    peer = await AiortcPeerEngine().answer(sdp, Sink())
    try:
        await asyncio.sleep(0.5)
        with pytest.raises(BlockingIOError):
            door.recvfrom(2_048)
    finally:
        door.close()
        await peer.close()
        await offering.close()
