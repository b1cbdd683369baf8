"""Who may sit at signalling: silence makes room, and one viewer does not fill the house."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import ClientConnection, connect

from cloud.ingest import live_sessions as ingest_sessions
from cloud.ingest.server import CONNECTIONS_SPARE
from cloud.ingest.sockets import OFFERS_BURST, SOCKETS_PER_SESSION
from privacy.protocol.codec import decode_signalling, encode_message
from privacy.protocol.messages import Answer, Offer, Refused
from tests.fixtures_street import Viewer, eventually, seal
from tests.integration.ingest_street import MakeStreet, Street, join
from tests.integration.test_ingest_offers import offer_sdp

SEATS = 5 + CONNECTIONS_SPARE
"""Of the ingest process that the `street` fixture starts."""


async def open_silent(
    stack: contextlib.AsyncExitStack, port: int, *, source: str, count: int
) -> list[asyncio.Task]:
    """Open TCP connections that say nothing; give what becomes done when one of them is closed."""
    closed = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        stack.callback(writer.close)
        closed.append(asyncio.create_task(until_closed(reader)))
    return closed


async def until_closed(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(1_024):
            pass


@pytest.fixture
async def stack() -> AsyncIterator[contextlib.AsyncExitStack]:
    async with contextlib.AsyncExitStack() as opened:
        yield opened


@pytest.mark.parametrize("sources", [["127.0.0.1"], ["127.0.0.2"], ["127.0.0.2", "127.0.0.3", "127.0.0.4"]])
async def test_any_number_of_silent_sockets_keeps_no_viewer_out(
    street, peers, stack, sources: list[str]
) -> None:
    """From the viewer's own address, from another one, or from several."""
    closed = []
    for source in sources:
        closed += await open_silent(stack, street.port, source=source, count=2 * SEATS)
    peer, viewer = peers(street), Viewer(street.platform)
    peer.send(seal(await join(peer, viewer), 0))
    await street.until(lambda: len(street.crops_read) == 1)
    assert sum(task.done() for task in closed) >= 2 * SEATS * len(sources) - SEATS
    # and the viewer's own socket is not what a further flood costs
    await open_silent(stack, street.port, source="127.0.0.1", count=2 * SEATS)
    assert peer.websocket is not None
    await asyncio.wait_for(await peer.websocket.ping(), 5)


async def test_websockets_that_only_shook_hands_make_room_as_well(street, peers, stack) -> None:
    for _ in range(SEATS + 3):
        await stack.enter_async_context(connect(f"ws://127.0.0.1:{street.port}", proxy=None))
    await join(peers(street), Viewer(street.platform))


async def test_a_viewer_who_offers_again_and_again_holds_three_seats_and_is_slowed_down(
    street, peers, stack, monkeypatch
) -> None:
    viewer, sockets, codes = Viewer(street.platform), [], []
    ticket = viewer.ticket()
    for epoch in range(1, OFFERS_BURST + 4):
        sockets.append(await stack.enter_async_context(connect(f"ws://127.0.0.1:{street.port}", proxy=None)))
        reply = await say_offer(sockets[-1], viewer, ticket, epoch=epoch)
        codes.append(reply.code if isinstance(reply, Refused) else 200)
    assert codes[:OFFERS_BURST] == [200] * OFFERS_BURST
    assert codes[-1] == 429
    await eventually(lambda: sum(is_open(socket) for socket in sockets) <= SOCKETS_PER_SESSION)
    await join(peers(street), Viewer(street.platform))


async def test_the_socket_of_an_epoch_that_was_taken_over_is_closed(street, peers) -> None:
    viewer, first, second = Viewer(street.platform), peers(street), peers(street)
    old = await join(first, viewer, epoch=1)
    first.send(seal(old, 0))
    await street.until(lambda: len(street.crops_read) == 1)
    new = await join(second, viewer, epoch=2)
    assert is_open(first.websocket), "the earlier peer still carries frames"
    second.send(seal(new, 1))
    await street.until(lambda: len(street.crops_read) == 2)
    await eventually(lambda: not is_open(first.websocket))
    assert is_open(second.websocket)


async def test_a_later_epoch_over_the_same_socket_keeps_it(street: Street, peers) -> None:
    viewer, first, second = Viewer(street.platform), peers(street), peers(street)
    first.send(seal(await join(first, viewer, epoch=1), 0))
    await street.until(lambda: len(street.crops_read) == 1)
    second.websocket = first.websocket
    second.send(seal(await join(second, viewer, epoch=2), 1))
    await street.until(lambda: len(street.crops_read) == 2)
    assert first.websocket is not None
    await asyncio.wait_for(await first.websocket.ping(), 5)


async def test_the_socket_of_a_session_that_fell_silent_is_closed(street, peers, monkeypatch) -> None:
    viewer, peer = Viewer(street.platform), peers(street)
    await join(peer, viewer)
    monkeypatch.setattr(ingest_sessions, "LOST_AFTER_S", 0.2)
    await eventually(lambda: not is_open(peer.websocket))


async def test_a_socket_whose_offer_is_never_followed_by_a_connection_is_closed(
    serving: MakeStreet, stack, monkeypatch
) -> None:
    monkeypatch.setattr(ingest_sessions, "LOST_AFTER_S", 0.5)
    street = await serving()
    viewer = Viewer(street.platform)
    socket = await stack.enter_async_context(connect(f"ws://127.0.0.1:{street.port}", proxy=None))
    assert isinstance(await say_offer(socket, viewer, viewer.ticket(), epoch=1), Answer)
    await eventually(lambda: not is_open(socket))


async def say_offer(socket: ClientConnection, viewer: Viewer, ticket: str, *, epoch: int) -> Answer | Refused:
    setup = viewer.sealer(epoch=epoch).setup
    offer = Offer(ticket=ticket, sdp=await offer_sdp(), setup=setup)
    await socket.send(encode_message(offer), text=True)
    reply = await asyncio.wait_for(socket.recv(), 10)
    assert isinstance(reply, str)
    decoded = decode_signalling(reply.encode())
    assert isinstance(decoded, Answer | Refused)
    return decoded


def is_open(socket: ClientConnection | None) -> bool:
    return socket is not None and socket.state.name == "OPEN"
