"""One suite for leases and results in memory and on PostgreSQL."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass, field
from uuid import uuid4

import pytest

from cloud.aggregate.folding import fold_deliveries
from cloud.aggregate.leases import PostgresLeaseStore
from cloud.consents.registry import Registry
from cloud.database.connection import Pool
from cloud.errors import LeaseLostError
from cloud.results.repository import PostgresResultStore
from cloud.results.sealed_results import SealedResultStore
from cloud.results.storage import Lease, LeaseStore, ResultStore, TenantBatch
from cloud.results.timelines import Timelines
from cloud.streams.entries import FLAG_ON_DEVICE, ScoreRecord
from cloud.streams.scoring import ON_DEVICE, ScoringModel
from privacy.protocol.ids import SessionId, TenantId
from tests.fakes.storage import MemoryLeaseStore, MemoryResultStore
from tests.fixtures_keys import NO_KEYS
from tests.fixtures_postgres import NOW, consented_session
from tests.unit.cloud.score_records import MODEL, score, scores_entry

TTL_MS = 60_000
SHORT_MS = 60


@dataclass
class Clock:
    """Time in memory passes by hand, in PostgreSQL by itself."""

    is_real: bool
    now_ms: int = 0

    async def pass_ms(self, duration_ms: int) -> None:
        self.now_ms += duration_ms
        if self.is_real:
            await asyncio.sleep(duration_ms / 1_000)


@dataclass
class Storage:
    leases: LeaseStore
    results: ResultStore
    clock: Clock
    tenant: TenantId
    session: SessionId
    holder: str = "a"
    held: list[Lease] = field(default_factory=list)
    pool: Pool | None = None

    async def models(self) -> dict[ScoringModel, int]:
        """Read what is kept of the session's models, past the port, which only writes."""
        if self.pool is None:
            assert isinstance(self.results, MemoryResultStore)
            return {
                model: n for (session, model), n in self.results.models.items() if session == self.session
            }
        timelines = Timelines(self.pool, NO_KEYS)
        found = await timelines.read_models(self.tenant, self.session)
        return {scored.model: scored.frames for scored in found}

    def score(self, frame: int, **values: object) -> ScoreRecord:
        return score(frame, tenant=self.tenant, session=self.session, **values)  # type: ignore[arg-type]

    async def commit(
        self, *records: ScoreRecord, holder: str = "a", model: ScoringModel = MODEL
    ) -> dict[tuple[int, int], int]:
        batches = fold_deliveries([scores_entry(records, model=model)]).batches
        done = await self.results.commit(batches[0], holder=holder, leases=self.held)
        return {(key.bucket, key.segment): mask for key, mask in done.added.items()}


@pytest.fixture(params=["memory", "postgres", "sealed"])
def real_registry(request: pytest.FixtureRequest) -> Registry | None:
    found: Registry | None = None if request.param == "memory" else request.getfixturevalue("registry")
    return found


@pytest.fixture
async def storage(real_registry: Registry | None, request: pytest.FixtureRequest) -> Storage:
    if real_registry is None:
        clock = Clock(is_real=False)
        leases = MemoryLeaseStore(clock_ms=lambda: clock.now_ms)
        results = MemoryResultStore(leases=leases)
        tenant, session = TenantId(uuid4()), SessionId(uuid4())
        results.accepting.add((tenant, session))
        made = Storage(leases=leases, results=results, clock=clock, tenant=tenant, session=session)
    else:
        tenant = await real_registry.create_tenant(name="Studio", now=NOW)
        known = await consented_session(real_registry, tenant)
        pool: Pool = request.getfixturevalue("pool")
        made = Storage(
            leases=PostgresLeaseStore(pool),
            results=PostgresResultStore(pool),
            clock=Clock(is_real=True),
            tenant=tenant,
            session=known.session,
            pool=pool,
        )
    if "sealed" in request.node.callspec.params.values():
        made.results = SealedResultStore(made.results, request.getfixturevalue("custody"))
    made.held = await made.leases.take("a", shards=[0, 1], limit=2, ttl_ms=TTL_MS)
    return made


async def test_frames_are_added_once_and_a_repetition_adds_nothing(storage: Storage) -> None:
    assert await storage.commit(storage.score(0), storage.score(31)) == {(0, 0): 1, (1, 0): 2}
    assert await storage.commit(storage.score(0), storage.score(31)) == {(0, 0): 0, (1, 0): 0}
    assert await storage.commit(storage.score(0), storage.score(1)) == {(0, 0): 2}


async def test_each_model_is_credited_with_the_frames_that_it_added(storage: Storage) -> None:
    later = dataclasses.replace(MODEL, version="9.2")
    await storage.commit(storage.score(0), storage.score(31))
    for _ in range(2):
        await storage.commit(storage.score(0), storage.score(1), model=later)
    await storage.commit(storage.score(2), storage.score(3, flags=FLAG_ON_DEVICE), model=MODEL)
    assert await storage.models() == {MODEL: 3, later: 1, ON_DEVICE: 1}


async def test_a_session_that_is_unknown_takes_no_frame(storage: Storage) -> None:
    assert await storage.commit(score(0, tenant=storage.tenant, session=SessionId(uuid4()))) == {}


async def test_an_empty_batch_is_committed(storage: Storage) -> None:
    done = await storage.results.commit(TenantBatch(tenant=storage.tenant), holder="a", leases=storage.held)
    assert done.added == {}


async def test_a_writer_without_the_lease_is_refused_and_writes_nothing(storage: Storage) -> None:
    with pytest.raises(LeaseLostError):
        await storage.commit(storage.score(0), holder="b")
    storage.held = [Lease(shard=lease.shard, epoch=lease.epoch + 1) for lease in storage.held]
    with pytest.raises(LeaseLostError):
        await storage.commit(storage.score(0))
    storage.held = [Lease(shard=lease.shard, epoch=lease.epoch - 1) for lease in storage.held]
    assert await storage.commit(storage.score(0)) == {(0, 0): 1}


async def test_a_writer_whose_lease_ran_out_is_refused_though_nobody_took_it(storage: Storage) -> None:
    storage.held = await storage.leases.take("a", shards=[7], limit=1, ttl_ms=SHORT_MS)
    await storage.clock.pass_ms(2 * SHORT_MS)
    with pytest.raises(LeaseLostError):
        await storage.commit(storage.score(0))


async def test_a_stale_writer_is_refused_after_another_took_over(storage: Storage) -> None:
    stale = await storage.leases.take("a", shards=[7], limit=1, ttl_ms=SHORT_MS)
    await storage.clock.pass_ms(2 * SHORT_MS)
    fresh = await storage.leases.take("b", shards=[7], limit=1, ttl_ms=TTL_MS)

    assert [lease.epoch for lease in fresh] == [stale[0].epoch + 1]
    assert await storage.leases.renew("a", stale, ttl_ms=TTL_MS) == []
    storage.held = stale
    with pytest.raises(LeaseLostError):
        await storage.commit(storage.score(0))
    storage.held = fresh
    assert await storage.commit(storage.score(0), holder="b") == {(0, 0): 1}


async def test_a_lease_that_ran_out_is_renewed_while_nobody_took_it(storage: Storage) -> None:
    storage.held = await storage.leases.take("a", shards=[7], limit=1, ttl_ms=SHORT_MS)
    await storage.clock.pass_ms(2 * SHORT_MS)
    assert await storage.leases.renew("b", storage.held, ttl_ms=TTL_MS) == []
    assert await storage.leases.renew("a", storage.held, ttl_ms=TTL_MS) == storage.held
    assert await storage.commit(storage.score(0)) == {(0, 0): 1}


async def test_a_held_shard_is_not_given_to_another(storage: Storage) -> None:
    assert await storage.leases.take("b", shards=[0, 1, 2], limit=3, ttl_ms=TTL_MS) == [
        Lease(shard=2, epoch=1)
    ]
    assert await storage.leases.renew("a", storage.held, ttl_ms=TTL_MS) == storage.held


async def test_no_more_shards_are_taken_than_asked_for(storage: Storage) -> None:
    taken = await storage.leases.take("b", shards=range(2, 10), limit=3, ttl_ms=TTL_MS)
    assert [lease.shard for lease in taken] == [2, 3, 4]


async def test_a_released_shard_can_be_taken_at_once_and_only_by_its_holder_released(
    storage: Storage,
) -> None:
    await storage.leases.release("b", storage.held)
    assert await storage.leases.take("b", shards=[0, 1], limit=2, ttl_ms=TTL_MS) == []
    await storage.leases.release("a", storage.held)
    taken = await storage.leases.take("b", shards=[0, 1], limit=2, ttl_ms=TTL_MS)
    assert sorted(lease.shard for lease in taken) == [0, 1]


async def test_living_workers_are_counted_until_they_are_silent(storage: Storage) -> None:
    assert await storage.leases.beat("a", ttl_ms=TTL_MS) == 1
    assert await storage.leases.beat("b", ttl_ms=SHORT_MS) == 2
    await storage.clock.pass_ms(2 * SHORT_MS)
    assert await storage.leases.beat("a", ttl_ms=TTL_MS) == 1
