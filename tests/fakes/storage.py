"""Results and leases in memory: the same contract as PostgreSQL, for tests of the loops."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cloud.errors import LeaseLostError, StoreError
from cloud.results.changes import SessionChange
from cloud.results.packs import merge_packs
from cloud.results.storage import Committed, Lease, Pack, PackKey, TenantBatch, credit_models
from cloud.streams.scoring import ScoringModel
from privacy.protocol.ids import SessionId, TenantId


@dataclass(slots=True)
class _Held:
    holder: str
    epoch: int
    expires_ms: int


class MemoryLeaseStore:
    """Who may write which shard, by a clock that is given."""

    def __init__(self, *, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._leases: dict[int, _Held] = {}
        self._workers: dict[str, int] = {}

    async def beat(self, holder: str, *, ttl_ms: int) -> int:
        """Report that a worker lives and return how many do, this one included."""
        now_ms = self._clock_ms()
        self._workers[holder] = now_ms + ttl_ms
        return sum(expires_ms > now_ms for expires_ms in self._workers.values())

    async def renew(self, holder: str, leases: Collection[Lease], *, ttl_ms: int) -> list[Lease]:
        """Prolong leases and return those that nobody took meanwhile."""
        kept = [lease for lease in leases if self._is_last_of(holder, lease)]
        for lease in kept:
            self._leases[lease.shard].expires_ms = self._clock_ms() + ttl_ms
        return kept

    async def take(self, holder: str, *, shards: Sequence[int], limit: int, ttl_ms: int) -> list[Lease]:
        """Take up to `limit` of these shards that nobody holds."""
        now_ms = self._clock_ms()
        taken: list[Lease] = []
        for shard in sorted(shards):
            held = self._leases.get(shard)
            if len(taken) < limit and (held is None or held.expires_ms <= now_ms):
                epoch = 1 if held is None else held.epoch + 1
                self._leases[shard] = _Held(holder, epoch, now_ms + ttl_ms)
                taken.append(Lease(shard=shard, epoch=epoch))
        return taken

    async def release(self, holder: str, leases: Collection[Lease]) -> None:
        """Give leases back; those that are lost already are passed over."""
        for lease in leases:
            if self.is_held(holder, lease):
                self._leases[lease.shard].expires_ms = self._clock_ms()

    def is_held(self, holder: str, lease: Lease) -> bool:
        """Say whether a lease may be used to write."""
        return self._is_last_of(holder, lease) and self._leases[lease.shard].expires_ms > self._clock_ms()

    def _is_last_of(self, holder: str, lease: Lease) -> bool:
        held = self._leases.get(lease.shard)
        return held is not None and (held.holder, held.epoch) == (holder, lease.epoch)


@dataclass(slots=True, kw_only=True)
class MemoryResultStore:
    """Keeps packs in a dict; `accepting` are the sessions that take frames.

    Attributes:
        is_down: every commit raises `StoreError` while it is set.
    """

    leases: MemoryLeaseStore
    accepting: set[tuple[TenantId, SessionId]] = field(default_factory=set)
    packs: dict[tuple[TenantId, PackKey], Pack] = field(default_factory=dict)
    changes: list[SessionChange] = field(default_factory=list)
    redelivered: dict[SessionId, int] = field(default_factory=dict)
    models: dict[tuple[SessionId, ScoringModel], int] = field(default_factory=dict)
    is_down: bool = False

    async def commit(self, batch: TenantBatch, *, holder: str, leases: Collection[Lease]) -> Committed:
        """Write a tenant's batch; writing it again changes nothing but the count of redeliveries."""
        if self.is_down:
            raise StoreError("the store is down")
        if not all(self.leases.is_held(holder, lease) for lease in leases):
            raise LeaseLostError("another worker holds a shard of this batch")
        self.changes += [change for change in batch.changes if change not in self.changes]
        added: dict[PackKey, int] = {}
        for pack in batch.packs:
            if (batch.tenant, pack.key.session) in self.accepting:
                old = self.packs.get((batch.tenant, pack.key))
                self.packs[batch.tenant, pack.key] = pack if old is None else merge_packs(old, pack)
                added[pack.key] = pack.mask & ~(0 if old is None else old.mask)
                again = (pack.mask & ~added[pack.key]).bit_count()
                self.redelivered[pack.key.session] = self.redelivered.get(pack.key.session, 0) + again
        for at, frames in credit_models(batch.packs, added).items():
            self.models[at] = self.models.get(at, 0) + frames
        return Committed(added=added, at=datetime.now(UTC))
