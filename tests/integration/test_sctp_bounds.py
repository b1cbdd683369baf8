"""Real aiortc peers that take more than their share of the other end, and honest ones on a bad network."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aioice.ice
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcsctptransport import DataChunk, HeartbeatChunk, RTCSctpTransport, SackChunk, tsn_plus_one

from cloud.ingest.aiortc_peer import AiortcPeer, AiortcPeerEngine
from edge_agent.session.aiortc_peer import AiortcPeer as AgentPeer
from privacy.protocol.sctp import STREAMS_MAX, UNFINISHED_BYTES_MAX, UNFINISHED_CHUNKS_MAX, Breach
from tests.fixtures_street import eventually

FIRST, LAST, UNORDERED = 2, 1, 4


@dataclass
class Sink:
    datagrams: list[bytes] = field(default_factory=list)
    controls: list[bytes] = field(default_factory=list)
    closed: int = 0

    def on_datagram(self, datagram: bytes) -> None:
        self.datagrams.append(datagram)

    def on_control(self, message: bytes) -> None:
        self.controls.append(message)

    def on_closed(self) -> None:
        self.closed += 1


@dataclass
class Pair:
    """An attacker and the answering peer of ingest."""

    attacker: RTCSctpTransport
    ours: RTCSctpTransport
    peer: AiortcPeer
    sink: Sink
    breaches: list[Breach]
    crops: Any
    ctl: Any

    async def data(
        self, *, tsn_step: int = 1, stream: int, flags: int, content: bytes = b"x" * 1_000
    ) -> None:
        """Send one chunk of a message, past the association's own bookkeeping."""
        chunk = DataChunk(flags=flags)
        chunk.tsn, chunk.stream_id, chunk.protocol, chunk.user_data = (
            self.attacker._local_tsn,
            stream,
            53,
            content,
        )
        for _ in range(tsn_step):
            self.attacker._local_tsn = tsn_plus_one(self.attacker._local_tsn)
        await self.attacker._send_chunk(chunk)

    async def until_hung_up(self, attack: Callable[[int], Any], *, tries: int) -> int:
        """Attack until the other end hangs up; give how often that took."""
        for count in range(tries):
            await attack(count)
            if count % 20 == 0:
                await asyncio.sleep(0.001)
            if self.sink.closed:
                return count
        await eventually(lambda: self.sink.closed == 1)
        return tries


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    offering = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    crops = offering.createDataChannel("crops", ordered=False, maxRetransmits=0)
    ctl = offering.createDataChannel("ctl")
    await offering.setLocalDescription(await offering.createOffer())
    sink, breaches = Sink(), []
    peer = await AiortcPeerEngine(on_breach=breaches.append).answer(offering.localDescription.sdp, sink)
    await offering.setRemoteDescription(RTCSessionDescription(sdp=peer.answer_sdp, type="answer"))
    await eventually(lambda: crops.readyState == ctl.readyState == "open", within_s=10)
    ours = peer._connection.sctp
    assert offering.sctp is not None and ours is not None
    yield Pair(offering.sctp, ours, peer, sink, breaches, crops, ctl)
    await peer.close()
    await offering.close()


@pytest.mark.parametrize("flags", [0, UNORDERED])
async def test_a_message_without_end_is_cut_off(pair: Pair, flags: int) -> None:
    stream = pair.ctl.id if not flags else pair.crops.id
    await pair.until_hung_up(
        lambda n: pair.data(stream=stream, flags=flags | (0 if n else FIRST), content=b"x" * 100), tries=1_500
    )
    assert pair.breaches == [Breach.UNFINISHED]
    held = sum(len(stream.reassembly) for stream in pair.ours._inbound_streams.values())
    assert held <= UNFINISHED_CHUNKS_MAX + 1


async def test_large_fragments_without_end_are_cut_off_by_their_bytes(pair: Pair) -> None:
    await pair.until_hung_up(
        lambda n: pair.data(stream=pair.crops.id, flags=UNORDERED | (0 if n else FIRST)), tries=1_000
    )
    assert pair.breaches == [Breach.UNFINISHED]
    held = sum(len(chunk.user_data) for chunk in pair.ours._inbound_streams[pair.crops.id].reassembly)
    assert UNFINISHED_BYTES_MAX < held <= UNFINISHED_BYTES_MAX + 1_000


async def test_a_hole_that_is_never_filled_is_cut_off(pair: Pair) -> None:
    await pair.until_hung_up(
        lambda _: pair.data(tsn_step=2, stream=pair.crops.id, flags=UNORDERED | FIRST | LAST, content=b"x"),
        tries=2_000,
    )
    assert pair.breaches == [Breach.MISORDERED]


async def test_streams_without_number_are_cut_off(pair: Pair) -> None:
    tries = await pair.until_hung_up(
        lambda n: pair.data(stream=100 + n, flags=FIRST, content=b"x"), tries=100
    )
    assert pair.breaches == [Breach.STREAMS]
    assert tries <= 100
    assert len(pair.ours._inbound_streams) <= STREAMS_MAX + 1


async def test_an_acknowledgement_of_millions_costs_no_time(pair: Pair) -> None:
    chunk = SackChunk()
    chunk.cumulative_tsn, chunk.advertised_rwnd = pair.attacker._last_received_tsn, 1_000
    chunk.gaps = [(1, 65_535)] * 250
    began = time.process_time()
    await pair.attacker._send_chunk(chunk)
    await eventually(lambda: pair.sink.closed == 1)
    assert pair.breaches == [Breach.GAPS]
    assert time.process_time() - began < 1.0


async def test_a_parameter_without_a_length_does_not_keep_the_parser_for_ever(pair: Pair) -> None:
    class Endless(HeartbeatChunk):
        body = b"\0\1\0\0"  # type: ignore[assignment]

    await pair.attacker._send_chunk(Endless())
    await eventually(lambda: pair.sink.closed == 1)
    assert pair.breaches == [Breach.MALFORMED]


async def test_an_agent_that_acknowledges_nothing_is_told_no_more_than_a_buffer(pair: Pair) -> None:
    async def mute() -> None:
        """Instead of an acknowledgement."""
        pair.attacker._sack_needed = False

    pair.attacker._send_sack = mute  # type: ignore[method-assign]
    told = 0
    for _ in range(3_000):
        told += pair.peer.send_control(
            b'{"type":"ack","bucket":1,"mask":1,"committed_utc_us":1790000000000000}'
        )
        await asyncio.sleep(0)
    ours = pair.ours
    assert told < 1_500
    assert len(ours._data_channel_queue) + len(ours._outbound_queue) + len(ours._sent_queue) < 1_500
    pair.ctl.send("{}")
    await eventually(lambda: pair.sink.controls == [b"{}"])


async def test_chunks_that_come_too_fast_are_dropped_and_the_connection_goes_on(pair: Pair) -> None:
    for _ in range(6_000):
        await pair.attacker._send_chunk(HeartbeatChunk())
    assert not pair.sink.closed
    await asyncio.sleep(0.3)
    pair.ctl.send("{}")
    await eventually(lambda: pair.sink.controls == [b"{}"], within_s=15)
    assert pair.breaches == []


async def test_thirty_percent_of_loss_is_no_breach_at_either_end(monkeypatch: pytest.MonkeyPatch) -> None:
    chance, is_lossy = random.Random(5), False
    receive = aioice.ice.StunProtocol.datagram_received

    def sometimes(self: Any, data: bytes, addr: Any) -> None:
        if not is_lossy or chance.random() > 0.3:
            receive(self, data, addr)

    monkeypatch.setattr(aioice.ice.StunProtocol, "datagram_received", sometimes)
    sink, breaches, lost = Sink(), [], asyncio.Event()
    agent = AgentPeer(on_control=lambda message: None, on_closed=lost.set)
    engine = AiortcPeerEngine(on_breach=breaches.append)
    peer = await engine.answer(await agent.offer(), sink)
    await agent.accept(peer.answer_sdp)
    is_lossy = True
    for frame in range(180):
        agent.send_crop(bytes(3_400))
        for _ in range(20 if frame < 15 else 2):
            agent.send_control(b"g" * 110)
        peer.send_control(b"a" * 70)
        await asyncio.sleep(1 / 60)
    is_lossy = False
    await eventually(lambda: len(sink.controls) == 15 * 20 + 165 * 2, within_s=30)
    assert (breaches, sink.closed, lost.is_set()) == ([], 0, False)
    await agent.close()
    await peer.close()
