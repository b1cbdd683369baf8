"""The aggregate loop over streams and storage in memory: nothing is acked before it is committed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field

import pytest

from cloud.aggregate import loop as aggregate_loop
from cloud.aggregate.loop import AggregateLoop
from cloud.errors import LeaseLostError
from cloud.results.storage import Committed, Lease, LeaseStore, ResultStore, TenantBatch
from cloud.streams.entries import encode_scores
from cloud.streams.ports import Append, EntryKind
from tests.fakes.storage import MemoryLeaseStore, MemoryResultStore
from tests.fakes.streams import MemoryAckFeed, MemoryResultStream
from tests.unit.cloud.score_records import MODEL, SESSION, TENANT, event_entry, score

SHARDS = 4


@dataclass
class Street:
    """A result stream, a store, and workers between them."""

    ahead_ms: int = 0
    loops: list[AggregateLoop] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stream = MemoryResultStream(utc_ms=self.now_ms, feed=MemoryAckFeed())
        self.leases = MemoryLeaseStore(clock_ms=self.now_ms)
        self.store = MemoryResultStore(leases=self.leases, accepting={(TENANT, SESSION)})

    def now_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000 + self.ahead_ms

    async def put(self, *frames: int, shard: int = 1) -> None:
        payload = encode_scores([score(frame) for frame in frames], model=MODEL)
        await self.stream.append([Append(shard=shard, kind=EntryKind.SCORES, payload=payload)])

    def stored(self) -> list[int]:
        return sorted(
            key.bucket * 30 + slot
            for (_, key), pack in self.store.packs.items()
            for slot in range(30)
            if pack.mask >> slot & 1
        )

    @contextlib.asynccontextmanager
    async def worker(
        self, name: str, *, leases: LeaseStore | None = None, store: ResultStore | None = None
    ) -> AsyncIterator[AggregateLoop]:
        loop = AggregateLoop(
            stream=self.stream,
            store=store or self.store,
            leases=leases or self.leases,
            holder=name,
            shards=SHARDS,
        )
        stop = asyncio.Event()
        running = asyncio.create_task(loop.run(stop=stop))
        try:
            yield loop
        finally:
            stop.set()
            await running


@pytest.fixture
def street(monkeypatch: pytest.MonkeyPatch) -> Street:
    monkeypatch.setattr(aggregate_loop, "LEASE_PERIOD_S", 0.02)
    monkeypatch.setattr(aggregate_loop, "RETRY_MIN_S", 0.01)
    monkeypatch.setattr(aggregate_loop, "PACE_S", 0.001)
    monkeypatch.setattr(aggregate_loop, "READ_BLOCK_MS", 5)
    return Street()


async def eventually(holds: Callable[[], object], *, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to hold"
        await asyncio.sleep(0.005)


async def depth(street: Street) -> int:
    return await street.stream.depth(range(SHARDS))


async def test_frames_are_stored_and_their_entries_acked(street: Street) -> None:
    await street.put(0, 1, 2)
    async with street.worker("a"):
        await eventually(lambda: street.stored() == [0, 1, 2])
    assert await depth(street) == 0


async def test_nothing_is_acked_while_the_store_is_down_and_nothing_is_lost(street: Street) -> None:
    street.store.is_down = True
    async with street.worker("a") as loop:
        await eventually(lambda: len(loop.held) == SHARDS)
        await street.put(0)
        await street.put(1, shard=2)
        await asyncio.sleep(0.1)
        assert await depth(street) == 2
        street.store.is_down = False
        await eventually(lambda: street.stored() == [0, 1])
    assert await depth(street) == 0


async def test_durable_acks_follow_the_commit(street: Street) -> None:
    feed = street.stream._feed
    acks = []

    async def listen() -> None:
        async for ack in feed.acks():
            acks.append(ack)

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0)
    async with street.worker("a"):
        await street.put(29, 30)
        await eventually(lambda: len(acks) == 2)
    listening.cancel()
    assert {(ack.session, ack.bucket, ack.mask) for ack in acks} == {
        (str(SESSION), 0, 1 << 29),
        (str(SESSION), 1, 1),
    }


async def test_a_worker_that_was_suspended_in_a_commit_writes_nothing_when_it_wakes_up(
    street: Street,
) -> None:
    suspended = Suspended(street)
    async with street.worker("a", leases=suspended, store=suspended) as first:
        await eventually(lambda: len(first.held) == SHARDS)
        suspended.may_run.clear()
        await street.put(7)
        await eventually(lambda: suspended.is_committing)
        street.ahead_ms += 60_000
        async with street.worker("b") as second:
            await eventually(lambda: street.stored() == [7])
            suspended.may_run.set()
            await eventually(lambda: suspended.refused)
            await eventually(lambda: len(first.held) == len(second.held) == SHARDS // 2)
    assert street.stored() == [7]
    assert street.store.redelivered[SESSION] == 0
    assert await depth(street) == 0


class Suspended:
    """Storage as a worker sees it whose process is stopped and continued."""

    def __init__(self, street: Street) -> None:
        self._street = street
        self.may_run = asyncio.Event()
        self.may_run.set()
        self.is_committing = False
        self.refused = 0

    async def commit(self, batch: TenantBatch, *, holder: str, leases: Collection[Lease]) -> Committed:
        self.is_committing = True
        await self.may_run.wait()
        try:
            return await self._street.store.commit(batch, holder=holder, leases=leases)
        except LeaseLostError:
            self.refused += 1
            raise

    async def beat(self, holder: str, *, ttl_ms: int) -> int:
        await self.may_run.wait()
        return await self._street.leases.beat(holder, ttl_ms=ttl_ms)

    async def renew(self, holder: str, leases: Collection[Lease], *, ttl_ms: int) -> list[Lease]:
        await self.may_run.wait()
        return await self._street.leases.renew(holder, leases, ttl_ms=ttl_ms)

    async def take(self, holder: str, *, shards: Sequence[int], limit: int, ttl_ms: int) -> list[Lease]:
        await self.may_run.wait()
        return await self._street.leases.take(holder, shards=shards, limit=limit, ttl_ms=ttl_ms)

    async def release(self, holder: str, leases: Collection[Lease]) -> None:
        await self._street.leases.release(holder, leases)


async def test_two_workers_share_the_shards_and_one_takes_all_when_alone(street: Street) -> None:
    async with street.worker("a") as first:
        await eventually(lambda: len(first.held) == SHARDS)
        async with street.worker("b") as second:
            await eventually(lambda: len(first.held) == len(second.held) == SHARDS // 2)
            assert set(first.held).isdisjoint(second.held)
        street.ahead_ms += 60_000
        await eventually(lambda: len(first.held) == SHARDS)


async def test_malformed_entries_are_acked_and_do_not_hold_up_the_rest(street: Street) -> None:
    await street.stream.append([Append(shard=0, kind=EntryKind.SCORES, payload=b"garbage")])
    await street.stream.append(
        [Append(shard=0, kind=EntryKind.EVENT, payload=event_entry("connected").payload)]
    )
    await street.put(4, shard=0)
    async with street.worker("a"):
        await eventually(lambda: street.stored() == [4])
    assert await depth(street) == 0
    assert len(street.store.changes) == 1
