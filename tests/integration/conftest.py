"""Ingest processes and peers that end with the test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from cloud.config import Bind
from cloud.ingest.aiortc_peer import AiortcPeerEngine
from cloud.ingest.server import IngestParts, serve
from tests.fixtures_peers import OfferingPeer
from tests.integration.ingest_street import SHARDS, MakeStreet, Street


@pytest.fixture
async def serving() -> AsyncIterator[MakeStreet]:
    async with contextlib.AsyncExitStack() as stack:

        async def make(*, max_sessions: int = 5, **parts) -> Street:
            street = Street()
            stop = asyncio.Event()
            listening = asyncio.Event()

            def note(port: int) -> None:
                street.port = port
                listening.set()

            made = IngestParts(
                engine=AiortcPeerEngine(),
                crops=parts.get("crops", street.crops),
                events=street.results,
                setups=street.setups,
                revocations=street.revocations,
                acks=street.feed,
                platform_key=street.platform.public_key,
            )
            bind = Bind(host="127.0.0.1", port=0)
            working = asyncio.create_task(
                serve(made, bind=bind, shards=SHARDS, max_sessions=max_sessions, stop=stop, on_listening=note)
            )

            async def finish() -> None:
                stop.set()
                await working

            stack.push_async_callback(finish)
            await listening.wait()
            return street

        yield make


@pytest.fixture
async def street(serving: MakeStreet) -> Street:
    return await serving()


@pytest.fixture
async def peers(serving: MakeStreet) -> AsyncIterator[Callable[[Street], OfferingPeer]]:
    """Makes peers; depends on `serving` so that peers close before the server does."""
    made: list[OfferingPeer] = []

    def make(street: Street) -> OfferingPeer:
        made.append(OfferingPeer(street.port))
        return made[-1]

    yield make
    for peer in made:
        await peer.close()
