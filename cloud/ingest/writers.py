"""Writes what ingest has queued to the streams, and keeps trying while Redis is away."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

import structlog

from cloud.errors import StreamError
from cloud.ingest import metrics as metrics
from cloud.ingest.batching import BATCH_WAIT_US, CropBatcher
from cloud.ingest.outbox import EventOutbox
from cloud.streams.entries import SealedCrop, SessionEvent, encode_crops, encode_event, shard_of
from cloud.streams.ports import Append, CropSink, EntryKind, EventSink
from cloud.streams.redelivery import backoff_ms
from privacy.protocol.ids import SessionId

log = structlog.get_logger()


class IngestWriters:
    """Two queues with one writing loop each; `put_crop` and `put_event` never wait.

    Args:
        crops: where sealed crops go.
        events: where session events go.
        shards: number of shards.

    Attributes:
        on_recovered: awaited when a write succeeds after one failed, since Redis may have lost its state.
    """

    def __init__(self, crops: CropSink, events: EventSink, *, shards: int) -> None:
        self._crops = crops
        self._events = events
        self._shards = shards
        self.on_recovered: Callable[[], Awaitable[None]] | None = None
        self._batcher = CropBatcher()
        self._outbox = EventOutbox()
        self._crop_queued = asyncio.Event()
        self._event_queued = asyncio.Event()
        self._failures = 0

    def put_crop(self, session: SessionId, crop: SealedCrop) -> None:
        """Queue a crop."""
        self._batcher.add(shard_of(session, shards=self._shards), crop, now_us=_monotonic_us())
        self._crop_queued.set()

    def drop_crops(self, session: SessionId) -> None:
        """Forget what is queued of a session whose consent is withdrawn, now and for good."""
        self._batcher.discard(session)

    def put_event(self, event: SessionEvent) -> None:
        """Queue an event."""
        shard = shard_of(SessionId(UUID(event.session)), shards=self._shards)
        self._outbox.add(Append(shard=shard, kind=EntryKind.EVENT, payload=encode_event(event)))
        self._event_queued.set()

    def repeat_events(self) -> None:
        """Write the events of the last seconds again: Redis may have lost them."""
        repeated = self._outbox.repeat()
        if repeated:
            metrics.REPEATED_EVENTS.inc(repeated)
            self._event_queued.set()

    async def write_crops(self) -> None:
        """Write batches as they become due, until cancelled."""
        while True:
            due_us = self._batcher.due_us()
            if due_us is None:
                self._crop_queued.clear()
                await self._crop_queued.wait()
                continue
            wait_us = due_us - _monotonic_us()
            if wait_us > 0:
                await asyncio.sleep(wait_us / 1e6)
            await self._write_due_crops()

    async def _write_due_crops(self) -> None:
        batches = self._batcher.take(now_us=_monotonic_us())
        entries = [
            Append(shard=b.shard, kind=EntryKind.CROPS, payload=encode_crops(b.crops)) for b in batches
        ]
        metrics.QUEUED_CROPS.set(len(self._batcher))
        metrics.DROPPED_CROPS.set(self._batcher.dropped)
        if not entries:
            return
        if await self._try(self._crops.append(entries)):
            for batch in batches:
                metrics.BATCH_CROPS.observe(len(batch.crops))
        else:
            self._batcher.put_back(batches)
            self.repeat_events()
            await self._wait()

    async def write_events(self) -> None:
        """Write events in order, until cancelled."""
        while True:
            entries = self._outbox.take()
            metrics.DROPPED_EVENTS.set(self._outbox.dropped)
            if not entries:
                self._event_queued.clear()
                await self._event_queued.wait()
            elif await self._try(self._events.append(entries)):
                self._outbox.written(entries, now_us=_monotonic_us())
            else:
                self._outbox.put_back(entries)
                self.repeat_events()
                await self._wait()

    async def flush(self) -> None:
        """Write what is queued, once; what the stream does not take is lost."""
        await asyncio.sleep(BATCH_WAIT_US / 1e6)
        await self._write_due_crops()
        while entries := self._outbox.take():
            if not await self._try(self._events.append(entries)):
                return

    async def _try(self, writing: Awaitable[None]) -> bool:
        try:
            await writing
        except StreamError as error:
            if not self._failures:
                log.warning("stream is gone, holding what is fresh", reason=str(error))
            self._failures += 1
            metrics.WRITE_FAILURES.inc()
            return False
        if self._failures:
            self._failures = 0
            log.info("stream is back")
            await self._recover()
        return True

    async def _recover(self) -> None:
        if self.on_recovered is not None:
            try:
                await self.on_recovered()
            except StreamError as error:
                log.warning("setups were not stored again", reason=str(error))

    async def _wait(self) -> None:
        await asyncio.sleep(backoff_ms(self._failures - 1, jitter=random.random()) / 1_000)


def _monotonic_us() -> int:
    return time.monotonic_ns() // 1_000
