"""One suite for setups, fences, revocations and acks, in memory and on Redis."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import pytest
from redis.asyncio import Redis

from cloud.errors import StreamError, UnmarkedError
from cloud.streams.ports import (
    AckFeed,
    CropRefusals,
    CropStream,
    DurableAck,
    ResultStream,
    Revocations,
    SetupStore,
    Superseded,
)
from cloud.streams.redis_sessions import RedisAckFeed, RedisRevocations, RedisSetupStore
from cloud.streams.redis_streams import RedisCropStream, RedisResultStream
from privacy.crypto.binding import receipt_digest
from privacy.protocol.ids import SessionId
from privacy.protocol.messages import SessionSetup
from tests.fakes.streams import (
    MemoryAckFeed,
    MemoryCropStream,
    MemoryResultStream,
    MemoryRevocations,
    MemorySetupStore,
)

SESSION = SessionId(UUID(int=7))
OTHER = SessionId(UUID(int=8))


@dataclass
class State:
    setups: SetupStore
    revocations: Revocations
    feed: AckFeed
    results: ResultStream
    crops: CropStream
    client: Redis | None = None


@pytest.fixture(params=["memory", "redis"])
def state(request: pytest.FixtureRequest) -> State:
    if request.param == "memory":
        feed, revocations = MemoryAckFeed(), MemoryRevocations()
        results = MemoryResultStream(utc_ms=utc_ms, feed=feed)
        return State(
            setups=MemorySetupStore(utc_ms=utc_ms, revocations=revocations),
            revocations=revocations,
            feed=feed,
            results=results,
            crops=MemoryCropStream(results, utc_ms=utc_ms, max_age_ms=2_000, feed=feed),
        )
    client = request.getfixturevalue("redis_client")
    return State(
        setups=RedisSetupStore(client),
        revocations=RedisRevocations(client),
        feed=RedisAckFeed(client),
        results=RedisResultStream(client),
        crops=RedisCropStream(client, utc_ms=utc_ms, max_age_ms=2_000),
        client=client,
    )


def utc_ms() -> int:
    return time.time_ns() // 1_000_000


def setup(epoch: int, session: SessionId = SESSION) -> SessionSetup:
    return SessionSetup(
        session=str(session),
        tenant=str(UUID(int=1)),
        epoch=epoch,
        key_id="k1",
        not_after_utc_us=1,
        device_public_key=b"d" * 32,
        encapsulated=b"e" * 80,
        device_signature=b"s" * 64,
        receipt="a.b.c",
    )


async def test_a_claimed_epoch_is_stored_and_fences_the_session(state: State) -> None:
    assert await state.setups.fenced_epoch(SESSION) == 0
    assert await state.setups.claim(setup(1), owner="i1", ttl_ms=60_000)
    assert await state.setups.fenced_epoch(SESSION) == 1
    assert await state.setups.setup(SESSION, epoch=1) == setup(1)
    assert await state.setups.setup(SESSION, epoch=2) is None
    assert await state.setups.setup(OTHER, epoch=1) is None


async def test_a_later_epoch_takes_over_and_an_earlier_one_is_refused(state: State) -> None:
    assert await state.setups.claim(setup(3), owner="i1", ttl_ms=60_000)
    assert await state.setups.claim(setup(4), owner="i2", ttl_ms=60_000)
    assert not await state.setups.claim(setup(3), owner="i1", ttl_ms=60_000)
    assert await state.setups.fenced_epoch(SESSION) == 4


async def test_the_same_epoch_is_refreshed_by_its_owner_alone(state: State) -> None:
    assert await state.setups.claim(setup(3), owner="i1", ttl_ms=60_000)
    assert await state.setups.claim(setup(3), owner="i1", ttl_ms=60_000)
    assert not await state.setups.claim(setup(3), owner="i2", ttl_ms=60_000)


async def test_a_setup_expires_but_its_fence_stays(state: State) -> None:
    assert await state.setups.claim(setup(3), owner="i1", ttl_ms=1)
    await asyncio.sleep(0.02)
    assert await state.setups.setup(SESSION, epoch=3) is None
    assert await state.setups.fenced_epoch(SESSION) == 3


async def test_a_forgotten_session_leaves_nothing(state: State) -> None:
    for epoch in (1, 2):
        await state.setups.claim(setup(epoch), owner="i1", ttl_ms=60_000)
    await state.setups.claim(setup(1, OTHER), owner="i1", ttl_ms=60_000)
    assert await state.setups.count(SESSION) == 3, "two setups and the fence"
    await state.setups.forget(SESSION)
    assert await state.setups.count(SESSION) == 0
    assert await state.setups.fenced_epoch(SESSION) == 0
    assert await state.setups.setup(SESSION, epoch=1) is None
    assert await state.setups.setup(SESSION, epoch=2) is None
    assert await state.setups.fenced_epoch(OTHER) == 1


async def test_forgetting_takes_no_longer_for_an_epoch_of_a_great_number(state: State) -> None:
    for epoch in (3, 2**32 - 1):
        assert await state.setups.claim(setup(epoch), owner="i1", ttl_ms=60_000)
    async with asyncio.timeout(2):
        await state.setups.forget(SESSION)
    assert await state.setups.setup(SESSION, epoch=3) is None
    assert await state.setups.setup(SESSION, epoch=2**32 - 1) is None


async def test_a_setup_of_a_revoked_session_is_not_stored_again(state: State) -> None:
    assert await state.setups.claim(setup(1), owner="i1", ttl_ms=60_000)
    await state.revocations.revoke(SESSION)
    await state.setups.forget(SESSION)
    assert not await state.setups.claim(setup(1), owner="i1", ttl_ms=60_000)
    assert not await state.setups.claim(setup(2), owner="i1", ttl_ms=60_000)
    assert await state.setups.setup(SESSION, epoch=1) is None
    assert await state.setups.fenced_epoch(SESSION) == 0


async def test_a_revocation_is_remembered_and_told_to_listeners(state: State) -> None:
    listener = state.revocations.revocations()
    assert await next_of(listener) is None
    await state.revocations.revoke(SESSION)
    assert await next_of(listener) == SESSION
    assert await state.revocations.is_revoked(SESSION)
    assert not await state.revocations.is_revoked(OTHER)
    await listener.aclose()  # type: ignore[attr-defined]


async def test_a_server_without_memory_tells_of_a_revocation_all_the_same(state: State) -> None:
    listener = state.revocations.revocations()
    assert await next_of(listener) is None
    async with full(state):
        with pytest.raises(UnmarkedError):
            await state.revocations.revoke(SESSION)
        assert await next_of(listener) == SESSION
        with pytest.raises(StreamError):
            await state.revocations.put_in_force(SESSION, receipt_sha256="a" * 64, ordinal=1)
    await state.revocations.revoke(SESSION)
    assert await state.revocations.is_revoked(SESSION)
    await listener.aclose()  # type: ignore[attr-defined]


async def test_the_receipt_of_the_greatest_ordinal_is_in_force_and_its_coming_is_told(state: State) -> None:
    listener = state.revocations.revocations()
    assert await next_of(listener) is None
    assert await state.revocations.receipt_in_force(SESSION) is None
    for ordinal, receipt, is_taken in [(1, "a", True), (2, "b", True), (1, "a", False), (2, "b", True)]:
        digest = receipt * 64
        assert (
            await state.revocations.put_in_force(SESSION, receipt_sha256=digest, ordinal=ordinal) is is_taken
        )
    assert await state.revocations.receipt_in_force(SESSION) == "b" * 64
    assert await state.revocations.receipt_in_force(OTHER) is None
    for receipt in ("a", "b"):
        assert await next_of(listener) == Superseded(session=SESSION, receipt_sha256=receipt * 64)
    await state.revocations.revoke(OTHER)
    assert await next_of(listener) == OTHER, "the same receipt was told twice"
    await listener.aclose()  # type: ignore[attr-defined]


async def test_a_setup_under_an_earlier_receipt_is_not_stored(state: State) -> None:
    mine = receipt_digest(setup(1).receipt).hex()
    assert await state.revocations.put_in_force(SESSION, receipt_sha256=mine, ordinal=1)
    assert await state.setups.claim(setup(1), owner="i1", ttl_ms=60_000)
    assert await state.revocations.put_in_force(SESSION, receipt_sha256="b" * 64, ordinal=2)
    assert not await state.setups.claim(setup(1), owner="i1", ttl_ms=60_000)
    assert not await state.setups.claim(setup(2), owner="i1", ttl_ms=60_000)
    assert await state.setups.fenced_epoch(SESSION) == 1
    await state.setups.forget(SESSION)
    assert await state.revocations.receipt_in_force(SESSION) is None


async def test_acks_reach_who_listens(state: State) -> None:
    sent = [
        DurableAck(session=str(SESSION), bucket=i, mask=(1 << 30) - 1, committed_utc_us=5) for i in range(3)
    ]
    heard: list[DurableAck] = []

    async def listen() -> None:
        async for ack in state.feed.acks():
            heard.append(ack)

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(5):
        while not heard:
            await state.results.publish_acks(sent)
            await asyncio.sleep(0.02)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert heard[:3] == sent


@contextlib.asynccontextmanager
async def full(state: State) -> AsyncIterator[None]:
    """The server is at its memory's end meanwhile."""
    if isinstance(state.revocations, MemoryRevocations):
        state.revocations.is_full = True
        yield
        state.revocations.is_full = False
        return
    assert state.client is not None
    before = (await state.client.config_get("maxmemory"))["maxmemory"]
    await state.client.config_set("maxmemory", "1")
    try:
        yield
    finally:
        await state.client.config_set("maxmemory", before)


async def test_refusals_reach_who_listens(state: State) -> None:
    sent = [
        CropRefusals(session=str(SESSION), counts={"content": 3, "seal": 1}),
        CropRefusals(session=str(OTHER), counts={"stale": 2}),
    ]
    heard: list[CropRefusals] = []

    async def listen() -> None:
        async for refused in state.feed.refusals():
            heard.append(refused)

    listening = asyncio.create_task(listen())
    async with asyncio.timeout(5):
        while not heard:
            await state.crops.publish_refusals(sent)
            await asyncio.sleep(0.02)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert heard[:2] == sent


async def next_of(
    iterator: AsyncIterator[SessionId | Superseded | None],
) -> SessionId | Superseded | None:
    async with asyncio.timeout(5):
        return await anext(iterator)
