"""The agent's WebRTC peer against the one that ingest uses, over loopback."""

from __future__ import annotations

import asyncio

import pytest

from cloud.ingest.aiortc_peer import AiortcPeerEngine
from edge_agent.errors import PlatformError
from edge_agent.session.aiortc_peer import AiortcPeer


class Sink:
    def __init__(self):
        self.datagrams, self.control, self.is_closed = [], [], asyncio.Event()

    def on_datagram(self, datagram):
        self.datagrams.append(datagram)

    def on_control(self, message):
        self.control.append(message)

    def on_closed(self):
        self.is_closed.set()


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
async def pair():
    """Yield (agent's peer, ingest's peer, what ingest saw, what the agent saw)."""
    sink, heard, lost = Sink(), [], asyncio.Event()
    peer = AiortcPeer(on_control=heard.append, on_closed=lost.set)
    answering = await AiortcPeerEngine().answer(await peer.offer(), sink)
    await peer.accept(answering.answer_sdp)
    yield peer, answering, sink, heard, lost
    await peer.close()
    await answering.close()


async def test_both_channels_open_and_carry_whole_messages_both_ways(pair):
    peer, answering, sink, heard, _ = pair
    assert peer.is_open
    datagram = bytes(range(256)) * 13
    assert peer.send_crop(datagram)
    assert peer.send_control(b'{"type":"x"}')
    await until(lambda: sink.datagrams and sink.control)
    assert sink.datagrams == [datagram]
    assert sink.control == [b'{"type":"x"}']
    assert answering.send_control(b'{"type":"y"}')
    await until(lambda: heard)
    assert heard == [b'{"type":"y"}']


async def test_thirty_envelopes_a_second_do_not_pile_up(pair):
    peer, _, sink, _, _ = pair
    waiting = 0
    for _ in range(60):
        waiting += peer.buffered_bytes > 0
        peer.send_crop(b"x" * 2641)
        await asyncio.sleep(1 / 30)
    await until(lambda: len(sink.datagrams) >= 55)
    assert waiting <= 15


async def test_the_other_side_hanging_up_is_noticed_once(pair):
    peer, answering, _, _, lost = pair
    await answering.close()
    async with asyncio.timeout(20):
        await lost.wait()
    assert not peer.send_control(b"{}")


async def test_an_answer_that_makes_no_sense_is_one_documented_error():
    peer = AiortcPeer(on_control=lambda _: None, on_closed=lambda: None)
    await peer.offer()
    with pytest.raises(PlatformError):
        await peer.accept("nonsense")
    await peer.close()
