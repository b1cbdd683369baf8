"""An ingest process over real WebRTC on this machine, with the streams in memory."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from cloud.streams.entries import SealedCrop, SessionEvent, decode_crops, decode_event
from cloud.streams.ports import EntryKind
from privacy.protocol.messages import Answer
from tests.fakes.streams import (
    MemoryAckFeed,
    MemoryCropStream,
    MemoryResultStream,
    MemoryRevocations,
    MemorySetupStore,
)
from tests.fixtures_peers import OfferingPeer
from tests.fixtures_street import Platform, Viewer

SHARDS = 4


def utc_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Street:
    """An ingest process in this loop, with all it writes to."""

    platform: Platform = field(default_factory=Platform)
    feed: MemoryAckFeed = field(default_factory=MemoryAckFeed)
    revocations: MemoryRevocations = field(default_factory=MemoryRevocations)
    crops_read: list[SealedCrop] = field(default_factory=list)
    events_read: list[SessionEvent] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self.setups = MemorySetupStore(utc_ms=utc_ms, revocations=self.revocations)
        self.results = MemoryResultStream(utc_ms=utc_ms, feed=self.feed)
        self.crops = MemoryCropStream(self.results, utc_ms=utc_ms, max_age_ms=2_000)

    async def read(self) -> None:
        for d in await self.crops.read(range(SHARDS), consumer="t", max_entries=1_000, block_ms=0):
            batch = decode_crops(d.payload)
            assert d.kind is EntryKind.CROPS
            self.crops_read += batch
        for d in await self.results.read(range(SHARDS), consumer="t", max_entries=1_000, block_ms=0):
            self.events_read.append(decode_event(d.payload))

    async def until(self, condition: Callable[[], bool], *, within_s: float = 5.0) -> None:
        async with asyncio.timeout(within_s):
            while True:
                await self.read()
                if condition():
                    return
                await asyncio.sleep(0.01)

    def envelopes(self) -> list[bytes]:
        return [crop.envelope for crop in self.crops_read]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events_read]


MakeStreet = Callable[..., Awaitable[Street]]
MakePeer = Callable[[], OfferingPeer]


async def join(peer: OfferingPeer, viewer: Viewer, *, epoch: int = 1, minor: int = 0):
    sealer = viewer.sealer(epoch=epoch)
    reply = await peer.offer(viewer.ticket(), sealer.setup, minor=minor)
    assert isinstance(reply, Answer), reply
    return sealer
