"""Results on a real PostgreSQL: the database merges exactly as the pure core does."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.aggregate.folding import fold_deliveries
from cloud.aggregate.leases import PostgresLeaseStore
from cloud.consents.registry import Registry
from cloud.database.connection import Pool, platform_transaction, tenant_transaction
from cloud.results.changes import Counted, FramesSkipped, SegmentBegan
from cloud.results.packs import frames_of_packs
from cloud.results.repository import PostgresResultStore
from cloud.results.storage import Lease, TenantBatch
from cloud.results.timelines import Timelines
from cloud.sessions.records import SessionState
from cloud.streams.entries import ScoreRecord
from cloud.streams.ports import Delivery
from tests.fixtures_keys import NO_KEYS
from tests.fixtures_postgres import NOW, Consented
from tests.unit.cloud.score_records import START_UTC_US, event_entry, score, scores_entry

HOLDER = "worker-1"
GAP = b'{"type":"gap","first_frame":3,"last_frame":5,"segment":0,"media_time_us":100000,"reason":"no_face"}'
SEGMENT = b'{"type":"segment","segment":0,"media_time_us":0,"monotonic_us":5,"rate_permille":1000}'


def counters(captured: int, sent: int) -> bytes:
    return b'{"type":"counters","captured":%d,"with_face":%d,"sent":%d,"skipped":{"dark":1}}' % (
        captured,
        captured,
        sent,
    )


@pytest.fixture
async def leases(pool: Pool) -> list[Lease]:
    return await PostgresLeaseStore(pool).take(HOLDER, shards=[0], limit=1, ttl_ms=600_000)


@pytest.fixture
def results(pool: Pool) -> PostgresResultStore:
    return PostgresResultStore(pool, clock=lambda: NOW)


@pytest.fixture
def timelines(pool: Pool) -> Timelines:
    return Timelines(pool, NO_KEYS)


@pytest.fixture
def write(results: PostgresResultStore, leases: list[Lease]):
    async def commit(*deliveries: Delivery) -> TenantBatch:
        batches = fold_deliveries(deliveries).batches
        for batch in batches:
            await results.commit(batch, holder=HOLDER, leases=leases)
        return batches[0]

    return commit


def event(consented: Consented, kind: str, *, body: bytes = b"{}", epoch: int = 1, at_s: int = 0) -> Delivery:
    return event_entry(
        kind,
        body=body,
        epoch=epoch,
        at_utc_us=START_UTC_US + at_s * 1_000_000,
        tenant=consented.tenant,
        session=consented.session,
    )


def scores(consented: Consented, *frames: int, **values: object) -> Delivery:
    return scores_entry(
        [score(f, tenant=consented.tenant, session=consented.session, **values) for f in frames]  # type: ignore[arg-type]
    )


async def read_packs(pool: Pool, consented: Consented) -> list[tuple[int, int, bytes]]:
    async with tenant_transaction(pool, consented.tenant) as connection:
        rows = await (
            await connection.execute("SELECT bucket, mask, slots FROM frame_pack ORDER BY bucket")
        ).fetchall()
    return [(row[0], row[1], bytes(row[2])) for row in rows]


async def test_frames_read_back_as_they_were_scored(
    write, timelines: Timelines, consented: Consented
) -> None:
    batch = await write(scores(consented, 0, 1, 45, happy=130))
    frames = await timelines.read_frames(consented.tenant, consented.session)

    expected = frames_of_packs(
        (p.key.face, p.key.segment, p.key.bucket, p.mask, p.slots) for p in batch.packs
    )
    assert np.array_equal(frames, expected)
    assert frames["frame"].tolist() == [0, 1, 45]
    assert await timelines.read_duplicates(consented.tenant, consented.session) == 0


async def test_writing_a_batch_again_changes_no_byte_and_counts_redeliveries(
    pool: Pool, write, timelines: Timelines, consented: Consented
) -> None:
    await write(scores(consented, 0, 1, 45))
    before = await read_packs(pool, consented)
    await write(scores(consented, 0, 1, 45, happy=9), scores(consented, 1))

    assert await read_packs(pool, consented) == before
    assert await timelines.read_redelivered(consented.tenant, consented.session) == 4
    assert await timelines.read_duplicates(consented.tenant, consented.session) == 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_the_database_merges_as_the_pure_core_does(
    data: st.DataObject, pool: Pool, results: PostgresResultStore, leases: list[Lease], consented: Consented
) -> None:
    async with tenant_transaction(pool, consented.tenant) as connection:
        await connection.execute("DELETE FROM frame_pack")
    frames = data.draw(st.lists(st.integers(0, 64), max_size=40))
    records: list[ScoreRecord] = [
        score(f, tenant=consented.tenant, session=consented.session) for f in frames
    ]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(records)), max_size=4)))
    for begin, end in zip([0, *cuts], [*cuts, len(records)], strict=True):
        for batch in fold_deliveries([scores_entry(records[begin:end])]).batches:
            await results.commit(batch, holder=HOLDER, leases=leases)

    whole = fold_deliveries([scores_entry(records)]).batches
    expected = [(p.key.bucket, p.mask, p.slots) for batch in whole for p in batch.packs]
    assert await read_packs(pool, consented) == sorted(expected)


async def test_a_session_lives_closes_and_reopens_by_its_epochs(
    write, registry: Registry, consented: Consented
) -> None:
    async def state() -> tuple[str, int, str | None]:
        found = await registry.get_session(consented.tenant, consented.session)
        return found.state, found.epoch, found.close_reason

    await write(event(consented, "connected", epoch=1))
    assert await state() == ("live", 1, None)
    await write(event(consented, "connected", epoch=2))
    await write(event(consented, "lost", epoch=1))
    assert await state() == ("live", 2, None)
    await write(event(consented, "lost", epoch=2))
    assert await state() == ("closed", 2, "lost")
    await write(event(consented, "connected", epoch=2))
    assert await state() == ("closed", 2, "lost")
    await write(event(consented, "connected", epoch=3), event(consented, "closed", epoch=3))
    assert await state() == ("closed", 3, "closed")


async def test_events_may_come_twice(write, timelines: Timelines, consented: Consented) -> None:
    for _ in range(2):
        await write(
            event(consented, "connected"),
            event(consented, "segment", body=SEGMENT),
            event(consented, "gap", body=GAP),
            event(consented, "counters", body=counters(10, 8)),
        )
    await write(event(consented, "counters", body=counters(9, 7)))

    at = (consented.tenant, consented.session)
    assert await timelines.read_gaps(*at) == [
        FramesSkipped(first_frame=3, last_frame=5, segment=0, media_time_ms=100, reason="no_face")
    ]
    assert await timelines.read_segments(*at) == [
        SegmentBegan(segment=0, media_time_ms=0, monotonic_us=5, rate_permille=1000)
    ]
    assert await timelines.read_counters(*at) == Counted(
        captured=10, with_face=10, sent=8, skipped={"dark": 1}
    )


async def test_no_frame_is_stored_once_consent_is_withdrawn(
    pool: Pool, write, registry: Registry, consented: Consented
) -> None:
    await write(scores(consented, 1))
    job = await registry.withdraw(consented.tenant, consented.session, actor="viewer", now=NOW)
    await write(scores(consented, 2), event(consented, "gap", body=GAP))

    assert job is not None and job.reason == "withdrawal"
    assert [mask for _, mask, _ in await read_packs(pool, consented)] == [0b10]


async def test_a_report_waits_for_a_withdrawal_that_is_under_way_and_then_changes_nothing(
    write, pool: Pool, timelines: Timelines, consented: Consented
) -> None:
    await write(event(consented, "connected"))
    async with tenant_transaction(pool, consented.tenant) as withdrawing:
        await withdrawing.execute(
            "UPDATE session SET state = 'withdrawn' WHERE id = %s", (consented.session,)
        )
        reporting = asyncio.create_task(
            write(event(consented, "gap", body=GAP), event(consented, "segment", body=SEGMENT))
        )
        await asyncio.sleep(0.2)
        assert not reporting.done()
    await reporting
    assert await timelines.read_gaps(consented.tenant, consented.session) == []
    assert await timelines.read_segments(consented.tenant, consented.session) == []


async def test_a_withdrawal_over_the_control_channel_queues_the_deletion_and_takes_no_frame_with_it(
    pool: Pool, write, registry: Registry, consented: Consented
) -> None:
    await write(scores(consented, 1), event(consented, "withdrawn"))
    await write(event(consented, "withdrawn"))

    found = await registry.get_session(consented.tenant, consented.session)
    kinds = [e.kind for e in await registry.list_consents(consented.tenant, consented.session)]
    assert found.state is SessionState.WITHDRAWN
    assert sorted(kinds) == ["given", "withdrawn"]
    assert await read_packs(pool, consented) == []
    job = await registry.withdraw(consented.tenant, consented.session, actor="viewer", now=NOW)
    assert job is not None and job.requested_at == NOW


async def test_an_event_of_an_unknown_session_changes_nothing(write, consented: Consented) -> None:
    await write(
        event_entry("withdrawn", tenant=consented.tenant),
        event_entry("gap", body=GAP, tenant=consented.tenant),
    )


async def test_commit_latencies_add_up(
    results: PostgresResultStore, leases: list[Lease], timelines: Timelines, consented: Consented
) -> None:
    for counts in ({5: 1, 2000: 2}, {5: 1, 40: 7}):
        batch = TenantBatch(tenant=consented.tenant, latencies={consented.session: counts})
        await results.commit(batch, holder=HOLDER, leases=leases)

    stored = await timelines.read_latency(consented.tenant, consented.session)
    assert len(stored) == 2001
    assert {at: count for at, count in enumerate(stored) if count} == {5: 2, 40: 7, 2000: 2}


async def test_a_renewal_does_not_wait_for_a_commit_and_a_take_over_does(pool: Pool) -> None:
    leases = PostgresLeaseStore(pool)
    mine = await leases.take(HOLDER, shards=[7], limit=1, ttl_ms=60_000)
    async with platform_transaction(pool) as writing:
        await writing.execute("SELECT platform.require_leases(%s, %s, %s)", (HOLDER, [7], [mine[0].epoch]))
        async with asyncio.timeout(5):
            # it runs out under a transaction that was let through
            await leases.release(HOLDER, mine)
            assert await leases.take("another", shards=[7], limit=1, ttl_ms=60_000) == []
            assert await leases.renew(HOLDER, mine, ttl_ms=60_000) == mine
            await leases.release(HOLDER, mine)
    assert [lease.epoch for lease in await leases.take("another", shards=[7], limit=1, ttl_ms=60_000)] == [2]


async def test_a_session_that_stored_nothing_reads_as_empty(
    timelines: Timelines, consented: Consented
) -> None:
    at = (consented.tenant, consented.session)
    assert len(await timelines.read_frames(*at)) == 0
    assert await timelines.read_gaps(*at) == []
    assert await timelines.read_counters(*at) == Counted()
    assert sum(await timelines.read_latency(*at)) == 0
    assert await timelines.read_redelivered(*at) == 0


async def test_a_future_event_time_is_not_believed(write, registry: Registry, consented: Consented) -> None:
    await write(event(consented, "connected", at_s=10**9))
    found = await registry.get_session(consented.tenant, consented.session)
    assert found.connected_at is not None
    assert abs(found.connected_at - NOW) < timedelta(seconds=1)
