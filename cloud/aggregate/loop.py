"""The loops around aggregation: keep the leases, read, commit, then ack (rules P4, P5).

While PostgreSQL is away the entries read so far are held and tried again, and nothing more is read:
memory stays bounded, and what was not read waits in the stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from math import inf

import structlog

from cloud.aggregate import metrics as metrics
from cloud.aggregate.folding import durable_acks, fold_deliveries, with_latencies
from cloud.aggregate.sharing import next_step
from cloud.errors import LeaseLostError, StoreError, StreamError
from cloud.results.changes import Ended
from cloud.results.latency import CommitLatencies
from cloud.results.storage import Committed, Lease, LeaseStore, ResultStore, TenantBatch
from cloud.streams.ports import CLAIM_IDLE_MS, Delivery, DurableAck, ResultStream

LEASE_TTL_MS = 3_000
LEASE_PERIOD_S = LEASE_TTL_MS / 3_000
PACE_S = 0.1
"""Shortest time between two commits: more frames a transaction, at the price of a later ack."""

READ_BLOCK_MS = 100
BATCH_ENTRIES = 512
"""Entries of all shards in one batch: 32,768 frames at most, so that no transaction outlasts a lease or its timeout."""

CLAIM_PERIOD_S = 0.5
RETRY_MIN_S = 0.1
RETRY_MAX_S = 2.0

_log = structlog.get_logger(__name__)


class AggregateLoop:
    """One worker: reads the shards it holds, writes what they say."""

    def __init__(
        self, *, stream: ResultStream, store: ResultStore, leases: LeaseStore, holder: str, shards: int
    ) -> None:
        self._stream = stream
        self._store = store
        self._leases = leases
        self._holder = holder
        self._shards = shards
        self._held: dict[int, Lease] = {}
        self._latencies = CommitLatencies()
        self._claim_at = 0.0
        self._wait_s = RETRY_MIN_S

    @property
    def held(self) -> Sequence[int]:
        """The shards this worker holds now."""
        return sorted(self._held)

    async def run(self, *, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then give the leases back."""
        keeping = asyncio.create_task(self._keep_leases(stop))
        try:
            while not stop.is_set():
                await self._turn(stop)
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping
            with contextlib.suppress(StoreError, LeaseLostError):
                await self._write_latencies(now_s=inf)
                await self._leases.release(self._holder, list(self._held.values()))

    async def _turn(self, stop: asyncio.Event) -> None:
        if not self._held:
            await _pause(stop, RETRY_MIN_S)
            return
        began = time.monotonic()
        try:
            deliveries = await self._receive()
        except StreamError as error:
            metrics.STREAM_FAILURES.inc()
            _log.warning("results cannot be read", error=str(error))
            await self._back_off(stop)
            return
        if deliveries:
            await self._settle(deliveries, stop)
            await _pause(stop, began + PACE_S - time.monotonic())
        else:
            with contextlib.suppress(StoreError, LeaseLostError):
                await self._write_latencies(now_s=time.monotonic())

    async def _receive(self) -> list[Delivery]:
        shards = list(self._held)
        entries = max(1, BATCH_ENTRIES // len(shards))
        found: list[Delivery] = []
        if time.monotonic() >= self._claim_at:
            found = await self._stream.claim_stale(
                shards, consumer=self._holder, min_idle_ms=CLAIM_IDLE_MS, max_entries=entries
            )
            self._claim_at = time.monotonic() + CLAIM_PERIOD_S
        block_ms = 0 if found else READ_BLOCK_MS
        return found + await self._stream.read(
            shards, consumer=self._holder, max_entries=entries, block_ms=block_ms
        )

    async def _settle(self, deliveries: list[Delivery], stop: asyncio.Event) -> None:
        """Commit, then ack; try again until it is committed or no longer ours."""
        while True:
            deliveries = [delivery for delivery in deliveries if delivery.shard in self._held]
            leases = [self._held[shard] for shard in {delivery.shard for delivery in deliveries}]
            # in a thread, so that a large batch does not keep the leases from being renewed
            folded = await asyncio.to_thread(fold_deliveries, deliveries)
            try:
                acks = [ack for batch in folded.batches for ack in await self._commit(batch, leases)]
            except LeaseLostError:
                metrics.COMMITS.labels(outcome="lease_lost").inc()
                with contextlib.suppress(StoreError):
                    await self._check_leases()
            except StoreError as error:
                metrics.COMMITS.labels(outcome="failed").inc()
                _log.warning("results cannot be written", error=str(error))
                await self._back_off(stop)
                if stop.is_set():
                    return
            else:
                break
        self._wait_s = RETRY_MIN_S
        metrics.MALFORMED.inc(folded.malformed)
        try:
            await self._stream.ack(deliveries)
            if acks:
                await self._stream.publish_acks(acks)
        except StreamError:
            # committed all the same: the entries come again and change nothing
            metrics.STREAM_FAILURES.inc()

    async def _commit(
        self, batch: TenantBatch, leases: list[Lease], *, now_s: float | None = None
    ) -> list[DurableAck]:
        began = time.monotonic()
        waiting = self._latencies.take(batch.tenant, now_s=began if now_s is None else now_s)
        try:
            done = await self._store.commit(
                with_latencies(batch, waiting), holder=self._holder, leases=leases
            )
        except (StoreError, LeaseLostError):
            self._latencies.put_back(batch.tenant, waiting, now_s=began)
            raise
        metrics.COMMITS.labels(outcome="committed").inc()
        metrics.COMMIT_SECONDS.observe(time.monotonic() - began)
        self._count(batch, done)
        stored = [pack for pack in batch.packs if pack.key in done.added]
        return durable_acks(stored, committed_at=done.at)

    def _count(self, batch: TenantBatch, done: Committed) -> None:
        committed_utc_us = int(done.at.timestamp() * 1_000_000)
        metrics.CHANGES.inc(len(batch.changes))
        metrics.REDELIVERED.inc(sum(batch.repeated.values()))
        for pack in batch.packs:
            added = done.added.get(pack.key)
            if added is None:
                metrics.REFUSED.inc(pack.mask.bit_count())
                continue
            metrics.STORED.inc(added.bit_count())
            metrics.REDELIVERED.inc((pack.mask & ~added).bit_count())
            self._latencies.add(
                batch.tenant, pack, added, committed_utc_us=committed_utc_us, now_s=time.monotonic()
            )
        for change in batch.changes:
            if isinstance(change.change, Ended):
                self._latencies.hurry(batch.tenant, change.session)

    async def _write_latencies(self, *, now_s: float) -> None:
        while tenants := self._latencies.tenants(now_s=now_s):
            for tenant in tenants:
                await self._commit(TenantBatch(tenant=tenant), list(self._held.values()), now_s=now_s)

    async def _keep_leases(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._share_shards()
            except StoreError as error:
                _log.warning("leases cannot be kept", error=str(error))
            metrics.SHARDS.set(len(self._held))
            await _pause(stop, LEASE_PERIOD_S)

    async def _share_shards(self) -> None:
        workers = await self._leases.beat(self._holder, ttl_ms=LEASE_TTL_MS)
        await self._check_leases()
        step = next_step(self._held.values(), shards=self._shards, workers=workers)
        if step.release:
            for lease in step.release:
                self._held.pop(lease.shard, None)
            await self._leases.release(self._holder, step.release)
        elif step.take:
            wanted = [shard for shard in range(self._shards) if shard not in self._held]
            taken = await self._leases.take(self._holder, shards=wanted, limit=step.take, ttl_ms=LEASE_TTL_MS)
            self._held.update({lease.shard: lease for lease in taken})
            self._claim_at = 0.0 if taken else self._claim_at

    async def _check_leases(self) -> None:
        """Renew what is held and forget what is lost."""
        if not self._held:
            return
        renewed = await self._leases.renew(self._holder, list(self._held.values()), ttl_ms=LEASE_TTL_MS)
        for shard in set(self._held) - {lease.shard for lease in renewed}:
            self._held.pop(shard, None)

    async def _back_off(self, stop: asyncio.Event) -> None:
        await _pause(stop, self._wait_s)
        self._wait_s = min(self._wait_s * 2, RETRY_MAX_S)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait, but not beyond `stop`."""
    if seconds > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
