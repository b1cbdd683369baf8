"""The street's streams and session state in one process's memory, for tests and for a demo without Redis.

Keeps the promises of `cloud.streams.ports` and passes the same contract suite as the Redis adapters.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from cloud.errors import StreamError, UnmarkedError
from cloud.streams.ports import (
    Append,
    CropRefusals,
    DeadLetter,
    Delivery,
    DurableAck,
    EntryKind,
    Finished,
    Superseded,
)
from privacy.crypto.binding import receipt_digest
from privacy.protocol.ids import SessionId
from privacy.protocol.messages import SessionSetup

UtcMs = Callable[[], int]


@dataclass(slots=True)
class _Pending:
    consumer: str
    since_ms: int
    deliveries: int


@dataclass(slots=True)
class _Shard:
    entries: dict[str, tuple[EntryKind, bytes]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    pending: dict[str, _Pending] = field(default_factory=dict)


class _MemoryStream:
    """One prefix of sharded streams with one consumer group."""

    def __init__(self, utc_ms: UtcMs) -> None:
        self._utc_ms = utc_ms
        self._shards: dict[int, _Shard] = {}
        self._arrived = asyncio.Event()
        self._sequence = itertools.count()

    def add(self, entry: Append) -> None:
        shard = self._shards.setdefault(entry.shard, _Shard())
        entry_id = f"{self._utc_ms()}-{next(self._sequence)}"
        shard.entries[entry_id] = (entry.kind, entry.payload)
        shard.unread.append(entry_id)
        self._arrived.set()

    def remove(self, shard_index: int, entry_id: str) -> None:
        shard = self._shards[shard_index]
        shard.entries.pop(entry_id, None)
        shard.pending.pop(entry_id, None)
        shard.unread = [unread for unread in shard.unread if unread != entry_id]

    def drop_older(self, shard_index: int, oldest_ms: int) -> int:
        shard = self._shards.setdefault(shard_index, _Shard())
        gone = [entry_id for entry_id in shard.entries if int(entry_id.partition("-")[0]) < oldest_ms]
        for entry_id in gone:
            self.remove(shard_index, entry_id)
        shard.unread = [entry_id for entry_id in shard.unread if entry_id in shard.entries]
        return len(gone)

    def oldest(self, shards: Sequence[int], *, keep_entries: int, max_entries: int) -> list[Delivery]:
        found = []
        for index in shards:
            ids = list(self._shards.setdefault(index, _Shard()).entries)
            over = min(max(0, len(ids) - keep_entries), max_entries)
            found += [self._delivery(index, entry_id, 1) for entry_id in ids[:over]]
        return found

    async def read(
        self, shards: Sequence[int], *, consumer: str, max_entries: int, block_ms: int
    ) -> list[Delivery]:
        self._arrived.clear()
        found = self._take(shards, consumer, max_entries)
        if found or not block_ms:
            return found
        try:
            async with asyncio.timeout(block_ms / 1_000):
                await self._arrived.wait()
        except TimeoutError:
            return []
        return self._take(shards, consumer, max_entries)

    def _take(self, shards: Sequence[int], consumer: str, max_entries: int) -> list[Delivery]:
        found = []
        for index in shards:
            shard = self._shards.setdefault(index, _Shard())
            taken, shard.unread = shard.unread[:max_entries], shard.unread[max_entries:]
            for entry_id in taken:
                shard.pending[entry_id] = _Pending(consumer, self._utc_ms(), 1)
                found.append(self._delivery(index, entry_id, 1))
        return found

    async def claim_stale(
        self, shards: Sequence[int], *, consumer: str, min_idle_ms: int, max_entries: int
    ) -> list[Delivery]:
        claimed = []
        now_ms = self._utc_ms()
        for index in shards:
            shard = self._shards.setdefault(index, _Shard())
            stale = [i for i, p in shard.pending.items() if now_ms - p.since_ms >= min_idle_ms]
            for entry_id in stale[:max_entries]:
                deliveries = shard.pending[entry_id].deliveries + 1
                shard.pending[entry_id] = _Pending(consumer, now_ms, deliveries)
                claimed.append(self._delivery(index, entry_id, deliveries))
        return claimed

    async def depth(self, shards: Sequence[int]) -> int:
        return sum(len(self._shards[index].entries) for index in shards if index in self._shards)

    async def peek(self, shard: int, *, after: str = "", max_entries: int) -> list[Delivery]:
        ids = list(self._shards.setdefault(shard, _Shard()).entries)
        behind = [entry_id for entry_id in ids if not after or _place(entry_id) > _place(after)]
        return [self._delivery(shard, entry_id, 1) for entry_id in behind[:max_entries]]

    def _delivery(self, index: int, entry_id: str, deliveries: int) -> Delivery:
        kind, payload = self._shards[index].entries[entry_id]
        return Delivery(shard=index, entry_id=entry_id, kind=kind, payload=payload, deliveries=deliveries)


def _place(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


class MemoryResultStream:
    """Result stream in memory."""

    def __init__(self, *, utc_ms: UtcMs, feed: MemoryAckFeed | None = None) -> None:
        self._stream = _MemoryStream(utc_ms)
        self._feed = feed
        self.read = self._stream.read
        self.claim_stale = self._stream.claim_stale
        self.depth = self._stream.depth
        self.peek = self._stream.peek

    async def append(self, entries: Sequence[Append]) -> None:
        """Append entries to their shards."""
        for entry in entries:
            self._stream.add(entry)

    async def overflow(self, shards: Sequence[int], *, keep_entries: int, max_entries: int) -> list[Delivery]:
        """Show the oldest entries beyond `keep_entries` of each shard, at most `max_entries` of each."""
        return self._stream.oldest(shards, keep_entries=keep_entries, max_entries=max_entries)

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Remove entries whose effect is committed."""
        for delivery in deliveries:
            self._stream.remove(delivery.shard, delivery.entry_id)

    async def publish_acks(self, acks: Sequence[DurableAck]) -> None:
        """Tell the feed's listeners what is committed."""
        if self._feed is not None:
            self._feed.publish(acks)


class MemoryCropStream:
    """Crop stream in memory; its scores go to `results`."""

    def __init__(
        self,
        results: MemoryResultStream,
        *,
        utc_ms: UtcMs,
        max_age_ms: int,
        feed: MemoryAckFeed | None = None,
    ) -> None:
        self._stream = _MemoryStream(utc_ms)
        self._feed = feed
        self._results = results
        self._utc_ms = utc_ms
        self._max_age_ms = max_age_ms
        self.dead: list[DeadLetter] = []
        self.read = self._stream.read
        self.claim_stale = self._stream.claim_stale
        self.depth = self._stream.depth
        self.peek = self._stream.peek

    async def append(self, entries: Sequence[Append]) -> None:
        """Append entries, trimming what is past its time to live from each touched shard."""
        for entry in entries:
            self._stream.add(entry)
            self._stream.drop_older(entry.shard, self._utc_ms() - self._max_age_ms)

    async def finish(self, finished: Sequence[Finished]) -> None:
        """Publish the scores and remove the crops."""
        for one in finished:
            if one.scores is not None:
                shard = one.delivery.shard
                await self._results.append([Append(shard=shard, kind=EntryKind.SCORES, payload=one.scores)])
            self._stream.remove(one.delivery.shard, one.delivery.entry_id)

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Remove poison entries, keeping their metadata in `dead`."""
        for letter in letters:
            self._stream.remove(letter.delivery.shard, letter.delivery.entry_id)
            self.dead.append(letter)

    async def publish_refusals(self, refusals: Sequence[CropRefusals]) -> None:
        """Tell the feed's listeners what got no score."""
        if self._feed is not None:
            self._feed.publish_refusals(refusals)

    async def trim(self, shards: Sequence[int], *, max_age_ms: int) -> int:
        """Drop every crop entry older than `max_age_ms`, read or not; return how many went."""
        oldest_ms = self._utc_ms() - max_age_ms
        return sum(self._stream.drop_older(shard, oldest_ms) for shard in shards)


T = TypeVar("T")


class MemoryAckFeed:
    """Durable acks and refusals in memory."""

    def __init__(self) -> None:
        self._ack_listeners: list[asyncio.Queue[DurableAck]] = []
        self._refusal_listeners: list[asyncio.Queue[CropRefusals]] = []

    def publish(self, acks: Sequence[DurableAck]) -> None:
        """Hand acks to everyone who listens now."""
        _hand_out(acks, self._ack_listeners)

    def publish_refusals(self, refusals: Sequence[CropRefusals]) -> None:
        """Hand refusals to everyone who listens now."""
        _hand_out(refusals, self._refusal_listeners)

    def acks(self) -> AsyncIterator[DurableAck]:
        """Yield acks until cancelled."""
        return _listen(self._ack_listeners)

    def refusals(self) -> AsyncIterator[CropRefusals]:
        """Yield refusals until cancelled."""
        return _listen(self._refusal_listeners)


def _hand_out(items: Sequence[T], listeners: Sequence[asyncio.Queue[T]]) -> None:
    for queue in listeners:
        for item in items:
            queue.put_nowait(item)


async def _listen(listeners: list[asyncio.Queue[T]]) -> AsyncIterator[T]:
    queue: asyncio.Queue[T] = asyncio.Queue()
    listeners.append(queue)
    try:
        while True:
            yield await queue.get()
    finally:
        listeners.remove(queue)


class MemorySetupStore:
    """Setups and fences in memory; `revocations` is what may be revoked beside them."""

    def __init__(self, *, utc_ms: UtcMs, revocations: MemoryRevocations | None = None) -> None:
        self._utc_ms = utc_ms
        self._revocations = revocations or MemoryRevocations()
        self._fences: dict[SessionId, tuple[int, str]] = {}
        self._setups: dict[tuple[SessionId, int], tuple[int, SessionSetup]] = {}

    async def claim(self, setup: SessionSetup, *, owner: str, ttl_ms: int) -> bool:
        """Fence the session at `setup.epoch` for `owner` and store the setup."""
        session = SessionId(UUID(setup.session))
        if await self._revocations.is_revoked(session):
            return False
        digest = receipt_digest(setup.receipt).hex()
        if await self._revocations.receipt_in_force(session) not in (None, digest):
            return False
        epoch, holder = self._fences.get(session, (0, owner))
        if epoch > setup.epoch or (epoch == setup.epoch and holder != owner):
            return False
        self._fences[session] = (setup.epoch, owner)
        self._setups[session, setup.epoch] = (self._utc_ms() + ttl_ms, setup)
        return True

    async def fenced_epoch(self, session: SessionId) -> int:
        """Return the session's latest epoch, 0 if there was none."""
        return self._fences.get(session, (0, ""))[0]

    async def setup(self, session: SessionId, *, epoch: int) -> SessionSetup | None:
        """Return the stored setup of one epoch, None if it is unknown or expired."""
        until_ms, setup = self._setups.get((session, epoch), (0, None))
        return setup if self._utc_ms() < until_ms else None

    async def forget(self, session: SessionId) -> None:
        """Remove every setup and the fence of a session."""
        self._fences.pop(session, None)
        self._revocations.in_force.pop(session, None)
        for key in [key for key in self._setups if key[0] == session]:
            del self._setups[key]

    async def count(self, session: SessionId) -> int:
        """Count what is kept of a session: its setups, and its fence as one."""
        return (session in self._fences) + sum(key[0] == session for key in self._setups)


class MemoryRevocations:
    """Revocations in memory.

    Attributes:
        in_force: ordinal and digest of the receipt in force, by session.
        is_full: nothing more is remembered while it is set, as on a server without memory.
    """

    def __init__(self) -> None:
        self.in_force: dict[SessionId, tuple[int, str]] = {}
        self.is_full = False
        self._revoked: set[SessionId] = set()
        self._listeners: list[asyncio.Queue[SessionId | Superseded | None]] = []

    async def revoke(self, session: SessionId) -> None:
        """Tell every listener and remember it."""
        for queue in self._listeners:
            queue.put_nowait(session)
        if self.is_full:
            raise UnmarkedError("there is no room to remember a revocation")
        self._revoked.add(session)

    async def is_revoked(self, session: SessionId) -> bool:
        """Say whether the session was revoked."""
        return session in self._revoked

    async def put_in_force(self, session: SessionId, *, receipt_sha256: str, ordinal: int) -> bool:
        """Say which receipt is in force, unless a later one is."""
        held = self.in_force.get(session)
        if held == (ordinal, receipt_sha256):
            return True
        if held is not None and held[0] > ordinal:
            return False
        if self.is_full:
            raise StreamError("there is no room for a receipt")
        self.in_force[session] = (ordinal, receipt_sha256)
        for queue in self._listeners:
            queue.put_nowait(Superseded(session=session, receipt_sha256=receipt_sha256))
        return True

    async def receipt_in_force(self, session: SessionId) -> str | None:
        """Return the hex digest of the receipt in force, None where nothing is known."""
        held = self.in_force.get(session)
        return None if held is None else held[1]

    async def revocations(self) -> AsyncIterator[SessionId | Superseded | None]:
        """Yield revoked and superseded sessions until cancelled; None at first, as after any connect."""
        queue: asyncio.Queue[SessionId | Superseded | None] = asyncio.Queue()
        queue.put_nowait(None)
        self._listeners.append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.remove(queue)
