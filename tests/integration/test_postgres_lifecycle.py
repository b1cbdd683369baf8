"""Sealing, retention and erasure on a real PostgreSQL, with a clock that is turned by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prometheus_client import REGISTRY

from cloud.aggregate.folding import fold_deliveries
from cloud.aggregate.leases import PostgresLeaseStore
from cloud.audit.repository import PostgresAuditLog, StoredLog
from cloud.consents.registry import Registry
from cloud.database.connection import Pool
from cloud.errors import CustodyError
from cloud.keys.custody import FileKeyCustody, prepare_keys
from cloud.lifecycle.cleaning import Cleaner
from cloud.lifecycle.due import retention_bounds, seal_bounds
from cloud.lifecycle.due_work import ClockReading, PostgresClock, PostgresDueWork
from cloud.lifecycle.erasures import PostgresErasures
from cloud.lifecycle.loop import LifecycleLoop, LifecycleTools, fold_seconds
from cloud.lifecycle.remains import PostgresRemains
from cloud.lifecycle.retention import PostgresRetention
from cloud.lifecycle.sealing import TimelineSealer
from cloud.results.repository import PostgresResultStore
from cloud.results.sealed_results import SealedResultStore
from cloud.results.storage import Lease
from cloud.results.timelines import Timelines
from cloud.sessions.records import SessionState
from cloud.streams.entries import decode_scores, shard_of
from cloud.streams.ports import Append, Delivery
from privacy.governance.audit.log import verify_log
from privacy.governance.erasure import DeletionClaims, verify_deletion_receipt
from privacy.governance.policy import load_policy
from privacy.protocol.ids import SessionId, TenantId
from tests.fakes.streams import (
    MemoryAckFeed,
    MemoryCropStream,
    MemoryResultStream,
    MemoryRevocations,
    MemorySetupStore,
)
from tests.fixtures_postgres import NOW, Consented, Database, consented_session
from tests.unit.cloud.score_records import event_entry, score, scores_entry

START = datetime(2021, 1, 1, tzinfo=UTC)
HOLDER = "worker-1"
FRAMES = range(100)
GAP = b'{"type":"gap","first_frame":103,"last_frame":105,"segment":0,"media_time_us":1,"reason":"dark"}'
COUNTERS = b'{"type":"counters","captured":106,"with_face":103,"sent":100,"skipped":{}}'
DATA_TABLES = (
    "frame_pack",
    "sealed_timeline",
    "custody.session_key",
    "session_gap",
    "session_segment",
    "session_counters",
    "session_latency",
    "session_model",
    "session_redelivery",
)


@dataclass
class Platform:
    """A lifecycle leader with what it works on; `now` stands until it is moved."""

    pool: Pool
    registry: Registry
    signing_key: Ed25519PrivateKey
    revocations: MemoryRevocations
    custody: FileKeyCustody
    now: datetime = START
    ran_s: float = 0.0
    slept_s: list[float] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.time_store = TurnedClock(self)
        self.timelines = Timelines(self.pool, self.custody)
        self.results = SealedResultStore(
            PostgresResultStore(self.pool, clock=lambda: self.now), self.custody, monotonic=lambda: 0.0
        )
        self.policy = load_policy()
        self.stream = MemoryResultStream(utc_ms=lambda: 0, feed=MemoryAckFeed())
        self.crops = MemoryCropStream(
            self.stream, utc_ms=lambda: int(self.now.timestamp() * 1_000), max_age_ms=2_000
        )
        self.build()

    def build(self) -> None:
        """Put the leader together, anew where a part was changed."""
        self.tools = LifecycleTools(
            registry=self.registry,
            due_work=PostgresDueWork(self.pool),
            time_store=self.time_store,
            cleaner=Cleaner(self.custody, PostgresRemains(self.pool)),
            monotonic=lambda: self.ran_s,
            sealer=TimelineSealer(self.pool, self.custody, fold_seconds=fold_seconds),
            erasures=PostgresErasures(self.pool, self.custody),
            retention=PostgresRetention(self.pool),
            audit=PostgresAuditLog(self.pool),
            crops=self.crops,
            results=self.stream,
            setups=MemorySetupStore(utc_ms=lambda: 0),
            revocations=self.revocations,
            policy=self.policy,
            signing_key=self.signing_key,
            shards=8,
            clock=lambda: self.now,
            sleep=self._sleep,
        )
        self.loop = LifecycleLoop(self.tools)

    async def _sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now += timedelta(seconds=seconds)

    async def turn(self, *, after: timedelta = timedelta()) -> None:
        self.now += after
        await self.loop.turn()

    async def write(self, *deliveries: Delivery) -> None:
        if not self.leases:
            self.leases = await PostgresLeaseStore(self.pool).take(
                HOLDER, shards=[0], limit=1, ttl_ms=600_000
            )
        for batch in fold_deliveries(deliveries).batches:
            await self.results.commit(batch, holder=HOLDER, leases=self.leases)

    async def state(self, of: Consented) -> SessionState:
        return (await self.registry.get_session(of.tenant, of.session)).state


class TurnedClock(PostgresClock):
    """The database's memory of time, where the database's own clock is turned by hand with the platform's."""

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform.pool)
        self.ahead = timedelta()
        self._platform = platform

    async def read(self) -> ClockReading:
        return replace(await super().read(), database_now=self._platform.now - self.ahead)


@pytest.fixture
def platform(pool: Pool, registry: Registry, custody: FileKeyCustody) -> Platform:
    return Platform(
        pool=pool,
        registry=registry,
        signing_key=Ed25519PrivateKey.generate(),
        revocations=MemoryRevocations(),
        custody=custody,
    )


@pytest.fixture
async def viewing(platform: Platform) -> Consented:
    """A session with a hundred frames, a gap and counters, still live."""
    tenant = await platform.registry.create_tenant(name="Studio", now=START)
    known = await consented_session(platform.registry, tenant)
    await platform.write(event(known, "connected"), *facts(known), frames(known, *FRAMES))
    return known


def event(of: Consented, kind: str, body: bytes = b"{}", epoch: int = 1) -> Delivery:
    return event_entry(
        kind,
        body=body,
        epoch=epoch,
        at_utc_us=int(START.timestamp() * 1_000_000),
        tenant=of.tenant,
        session=of.session,
    )


def facts(of: Consented) -> list[Delivery]:
    return [event(of, "gap", GAP), event(of, "counters", COUNTERS)]


def frames(of: Consented, *numbers: int, happy: int = 200) -> Delivery:
    return scores_entry([score(n, tenant=of.tenant, session=of.session, happy=happy) for n in numbers])


def count_rows(database: Database, table: str) -> int:
    """Count as the superuser, whom no policy hides anything from."""
    with psycopg.connect(database.admin_url) as admin:
        row = admin.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(row[0]) if row else -1


async def test_a_closed_session_is_sealed_and_reads_exactly_as_it_did_hot(
    platform: Platform, viewing: Consented, database: Database
) -> None:
    hot = await platform.timelines.read_frames(viewing.tenant, viewing.session)
    await platform.write(event(viewing, "closed"))
    await platform.turn(after=timedelta(seconds=1))
    assert await platform.state(viewing) is SessionState.CLOSED
    await platform.turn(after=timedelta(seconds=4))

    assert await platform.state(viewing) is SessionState.SEALED
    sealed = await platform.timelines.read_frames(viewing.tenant, viewing.session)
    assert np.array_equal(sealed, hot)
    assert count_rows(database, "frame_pack") == 0
    seconds = await platform.timelines.read_seconds(viewing.tenant, viewing.session)
    gaps = await platform.timelines.read_gaps(viewing.tenant, viewing.session)
    expected = fold_seconds(hot, gaps, 60_000, frozenset())
    assert seconds.tobytes() == expected.tobytes()
    assert seconds["frames"][:3].tolist() == [31, 30, 30]


async def test_hot_frames_are_in_the_database_under_the_sessions_key_alone(
    platform: Platform, viewing: Consented, database: Database
) -> None:
    written = [score(n, tenant=viewing.tenant, session=viewing.session) for n in FRAMES]
    with psycopg.connect(database.admin_url) as admin:
        stored = b"".join(bytes(row[0]) for row in admin.execute("SELECT slots FROM frame_pack").fetchall())
    assert all(record.probabilities not in stored for record in written)
    read = await platform.timelines.read_frames(viewing.tenant, viewing.session)
    assert [bytes(row) for row in read["probabilities"]] == [record.probabilities for record in written]
    platform.custody.destroy(viewing.tenant, viewing.session)
    with pytest.raises(CustodyError, match="key is gone"):
        await platform.timelines.read_frames(viewing.tenant, viewing.session)


async def test_frames_that_an_earlier_version_stored_as_they_were_are_read_beside_sealed_ones(
    platform: Platform, viewing: Consented
) -> None:
    before = await platform.timelines.read_frames(viewing.tenant, viewing.session)
    (batch,) = fold_deliveries([frames(viewing, *range(100, 110)), frames(viewing, 99, happy=1)]).batches
    plain = PostgresResultStore(platform.pool, clock=lambda: platform.now)
    await plain.commit(batch, holder=HOLDER, leases=platform.leases)
    mixed = await platform.timelines.read_frames(viewing.tenant, viewing.session)
    assert mixed["frame"].tolist() == list(range(110))
    assert np.array_equal(mixed[:100], before)
    assert {bytes(row) for row in mixed["probabilities"]} == {bytes([200, 55, 0, 0, 0, 0])}


async def test_frames_that_come_after_sealing_are_sealed_too_and_none_twice(
    platform: Platform, viewing: Consented, database: Database
) -> None:
    await platform.write(event(viewing, "closed"))
    await platform.turn(after=timedelta(seconds=5))
    before = await platform.timelines.read_frames(viewing.tenant, viewing.session)
    await platform.write(frames(viewing, 99, 100, happy=3))

    mixed = await platform.timelines.read_frames(viewing.tenant, viewing.session)
    assert mixed["frame"].tolist() == list(range(101))
    assert np.array_equal(mixed[:100], before)
    await platform.turn(after=timedelta(seconds=5))
    assert np.array_equal(await platform.timelines.read_frames(viewing.tenant, viewing.session), mixed)
    assert count_rows(database, "frame_pack") == 0
    assert platform.custody.count(viewing.tenant, viewing.session) == 1


async def test_a_session_silent_for_a_minute_is_closed_as_lost_and_sealed(
    platform: Platform, viewing: Consented, database: Database
) -> None:
    await platform.turn(after=timedelta(seconds=59))
    assert await platform.state(viewing) is SessionState.LIVE
    assert count_rows(database, "frame_pack") > 0
    await platform.turn(after=timedelta(seconds=2))
    await platform.turn(after=timedelta(seconds=4))

    found = await platform.registry.get_session(viewing.tenant, viewing.session)
    assert (found.state, found.close_reason) == (SessionState.SEALED, "lost")
    assert count_rows(database, "frame_pack") == 0


async def test_a_lost_session_is_sealed_and_readable_and_goes_on_when_it_is_taken_up_again(
    platform: Platform, viewing: Consented, database: Database
) -> None:
    before = await platform.timelines.read_frames(viewing.tenant, viewing.session)
    await platform.write(event(viewing, "lost"))
    await platform.turn(after=timedelta(seconds=4))
    found = await platform.registry.get_session(viewing.tenant, viewing.session)
    assert (found.state, found.close_reason) == (SessionState.SEALED, "lost")
    assert count_rows(database, "frame_pack") == 0
    lost = await platform.timelines.read_frames(viewing.tenant, viewing.session)
    assert np.array_equal(lost, before)

    await platform.turn(after=timedelta(minutes=9))
    await platform.write(event(viewing, "connected", epoch=2))
    await platform.turn()
    assert await platform.state(viewing) is SessionState.LIVE
    await platform.write(frames(viewing, *range(16_500, 16_520)))
    again = await platform.registry.get_session(viewing.tenant, viewing.session)
    assert (again.state, again.closed_at, again.close_reason) == (SessionState.LIVE, None, None)
    await platform.write(event(viewing, "closed", epoch=2))
    await platform.turn(after=timedelta(seconds=4))

    assert await platform.state(viewing) is SessionState.SEALED
    whole = await platform.timelines.read_frames(viewing.tenant, viewing.session)
    assert whole["frame"].tolist() == [*FRAMES, *range(16_500, 16_520)]
    assert np.array_equal(whole[: len(before)], before)
    assert count_rows(database, "frame_pack") == 0


async def test_a_session_that_was_taken_up_again_and_fell_silent_is_closed_as_lost_once_more(
    platform: Platform, viewing: Consented
) -> None:
    await platform.write(event(viewing, "lost"))
    await platform.turn(after=timedelta(minutes=5))
    await platform.write(event(viewing, "connected", epoch=2))
    await platform.turn(after=timedelta(seconds=59))
    assert await platform.state(viewing) is SessionState.LIVE
    await platform.turn(after=timedelta(seconds=2))
    found = await platform.registry.get_session(viewing.tenant, viewing.session)
    assert found.close_reason == "lost"
    assert found.closed_at == platform.now


async def test_consent_withdrawn_while_the_connection_is_lost_erases_everything(
    platform: Platform, viewing: Consented, database: Database
) -> None:
    await platform.write(event(viewing, "lost"))
    await platform.turn(after=timedelta(seconds=4))
    await platform.registry.withdraw(viewing.tenant, viewing.session, actor="viewer", now=platform.now)
    await platform.turn()
    assert await platform.state(viewing) is SessionState.ERASED
    await platform.write(event(viewing, "connected", epoch=2), frames(viewing, 200))
    assert await platform.state(viewing) is SessionState.ERASED
    assert {table: count_rows(database, table) for table in DATA_TABLES} == dict.fromkeys(DATA_TABLES, 0)


async def test_a_session_without_a_face_stays_live_while_its_counters_arrive(
    platform: Platform, viewing: Consented, database: Database
) -> None:
    for captured in range(200, 500, 100):
        await platform.turn(after=timedelta(seconds=30))
        body = b'{"type":"counters","captured":%d,"with_face":100,"sent":100,"skipped":{}}' % captured
        await platform.write(event(viewing, "counters", body))
    await platform.turn(after=timedelta(seconds=30))

    assert await platform.state(viewing) is SessionState.LIVE
    assert count_rows(database, "frame_pack") == 0
    assert len(await platform.timelines.read_frames(viewing.tenant, viewing.session)) == 100


async def test_a_sealed_timeline_is_unreadable_without_its_key_or_under_another(
    platform: Platform, viewing: Consented, pool: Pool, tmp_path: Path
) -> None:
    await platform.write(event(viewing, "closed"))
    await platform.turn(after=timedelta(seconds=5))
    prepare_keys(tmp_path / "others")
    other = FileKeyCustody(tmp_path / "others")
    other.key(viewing.tenant, viewing.session)
    with pytest.raises(CustodyError):
        await Timelines(pool, other).read_frames(viewing.tenant, viewing.session)
    platform.custody.destroy(viewing.tenant, viewing.session)
    with pytest.raises(CustodyError, match="key is gone"):
        await platform.timelines.read_frames(viewing.tenant, viewing.session)


async def test_a_blob_moved_to_another_session_does_not_open(
    platform: Platform, viewing: Consented, database: Database
) -> None:
    second = await consented_session(platform.registry, viewing.tenant, viewer="viewer-2")
    await platform.write(
        event(second, "connected"), frames(second, 1), event(second, "closed"), event(viewing, "closed")
    )
    await platform.turn(after=timedelta(seconds=5))
    with psycopg.connect(database.admin_url) as admin:
        admin.execute(
            "UPDATE sealed_timeline SET blob = (SELECT blob FROM sealed_timeline WHERE session_id = %s "
            "AND level = 'frame') WHERE session_id = %s AND level = 'frame'",
            (second.session, viewing.session),
        )
    with pytest.raises(CustodyError):
        await platform.timelines.read_frames(viewing.tenant, viewing.session)


@pytest.mark.parametrize("is_sealed", [False, True])
async def test_a_withdrawn_session_leaves_no_row_no_key_and_a_signed_receipt(
    platform: Platform, viewing: Consented, database: Database, is_sealed: bool
) -> None:
    if is_sealed:
        await platform.write(event(viewing, "closed"))
        await platform.turn(after=timedelta(seconds=5))
    await platform.registry.withdraw(viewing.tenant, viewing.session, actor="viewer", now=platform.now)
    await platform.turn(after=timedelta(seconds=1))

    assert {table: count_rows(database, table) for table in DATA_TABLES} == dict.fromkeys(DATA_TABLES, 0)
    found = await platform.registry.get_session(viewing.tenant, viewing.session)
    assert (found.state, found.receipt_jws, found.erased_at) == (SessionState.ERASED, None, platform.now)
    assert await platform.revocations.is_revoked(viewing.session)
    assert platform.slept_s == [pytest.approx(2.2)]
    receipts = await platform.registry.list_deletion_receipts(viewing.tenant, viewing.session)
    claims = verify_deletion_receipt(receipts[0].receipt_jws, platform.signing_key.public_key())
    assert (claims.session, claims.pseudonym, claims.reason) == (viewing.session, "viewer-1", "withdrawal")
    assert claims.counts["delete_frames"] == ((0, 0) if is_sealed else (4, 0))
    assert claims.counts["destroy_key"] == (1, 0)
    assert platform.custody.count(viewing.tenant, viewing.session) == 0
    assert claims.counts["delete_facts"] == (3, 0), "a gap, counters, a model"
    assert claims.counts["mark_erased"] == (1, 0)


def waiting(of: Consented, *entries: Delivery) -> list[Append]:
    """Entries as they wait in the result stream of a session's shard."""
    shard = shard_of(of.session, shards=8)
    return [Append(shard=shard, kind=entry.kind, payload=entry.payload) for entry in entries]


async def receipts_of(platform: Platform, of: Consented) -> list[DeletionClaims]:
    key = platform.signing_key.public_key()
    found = await platform.registry.list_deletion_receipts(of.tenant, of.session)
    return [verify_deletion_receipt(receipt.receipt_jws, key) for receipt in found]


async def test_results_that_nobody_stored_yet_are_counted_and_gone_before_a_receipt_says_so(
    platform: Platform, viewing: Consented
) -> None:
    other = score(7, tenant=viewing.tenant, session=SessionId(UUID(int=viewing.session.int ^ (1 << 100))))
    mine = [score(n, tenant=viewing.tenant, session=viewing.session) for n in range(100, 189)]
    shard = shard_of(viewing.session, shards=8)
    await platform.stream.append(waiting(viewing, scores_entry(mine)))
    await platform.stream.read([shard], consumer="aggregate", max_entries=9, block_ms=0)
    await platform.stream.append(waiting(viewing, scores_entry([mine[0], other]), *facts(viewing)))
    await platform.registry.withdraw(viewing.tenant, viewing.session, actor="viewer", now=platform.now)
    await platform.turn(after=timedelta(seconds=1))

    (claims,) = await receipts_of(platform, viewing)
    assert claims.counts["purge_results"] == (92, 0), "90 frames, a gap and counters"
    (left,) = await platform.stream.peek(shard, max_entries=9)
    assert [record.session for record in decode_scores(left.payload)] == [other.session]


async def test_no_receipt_is_issued_while_something_still_arrives(
    platform: Platform, viewing: Consented, monkeypatch: pytest.MonkeyPatch
) -> None:
    ack = platform.stream.ack

    async def ack_and_meet_more(deliveries: Sequence[Delivery]) -> None:
        await ack(deliveries)
        await platform.stream.append(waiting(viewing, frames(viewing, 200)))

    await platform.stream.append(waiting(viewing, frames(viewing, 100)))
    monkeypatch.setattr(platform.stream, "ack", ack_and_meet_more)
    await platform.registry.withdraw(viewing.tenant, viewing.session, actor="viewer", now=platform.now)
    await platform.turn(after=timedelta(seconds=1))
    assert await receipts_of(platform, viewing) == []
    assert await platform.state(viewing) is SessionState.WITHDRAWN

    monkeypatch.undo()
    await platform.turn(after=timedelta(seconds=1))
    (claims,) = await receipts_of(platform, viewing)
    assert claims.counts["purge_results"] == (1, 0)


async def test_what_arrives_after_the_receipt_is_refused_by_the_database_and_dropped_from_the_stream(
    platform: Platform, viewing: Consented, database: Database
) -> None:
    await platform.registry.withdraw(viewing.tenant, viewing.session, actor="viewer", now=platform.now)
    await platform.turn(after=timedelta(seconds=1))
    late = [event(viewing, "connected", epoch=9), *facts(viewing), frames(viewing, 500, 501)]
    await platform.write(*late)
    assert {table: count_rows(database, table) for table in DATA_TABLES} == dict.fromkeys(DATA_TABLES, 0)
    assert await platform.state(viewing) is SessionState.ERASED

    await platform.stream.append(waiting(viewing, *late))
    platform.loop = LifecycleLoop(platform.tools)
    await platform.turn(after=timedelta(seconds=60))
    assert await platform.stream.peek(shard_of(viewing.session, shards=8), max_entries=9) == []
    assert len(await receipts_of(platform, viewing)) == 1


async def test_a_retained_session_is_measured_too_and_waits_for_nothing(
    platform: Platform, viewing: Consented
) -> None:
    await platform.write(event(viewing, "closed"))
    await platform.turn(after=timedelta(seconds=5))
    await platform.stream.append(waiting(viewing, frames(viewing, 300)))
    await platform.turn(after=timedelta(days=31))
    (claims,) = await receipts_of(platform, viewing)
    assert (claims.reason, claims.counts["purge_results"]) == ("retention", (1, 0))
    assert platform.slept_s == []


async def test_evidence_of_consent_survives_the_erasure(platform: Platform, viewing: Consented) -> None:
    await platform.registry.withdraw(viewing.tenant, viewing.session, actor="viewer", now=platform.now)
    await platform.turn()

    kinds = [e.kind for e in await platform.registry.list_consents(viewing.tenant, viewing.session)]
    assert sorted(kinds) == ["given", "withdrawn"]


async def test_an_erasure_is_done_once_and_a_second_request_finds_it_done(
    platform: Platform, viewing: Consented
) -> None:
    at = (viewing.tenant, viewing.session)
    await platform.registry.request_erasure(*at, actor="key:1", now=platform.now)
    await platform.turn()
    await platform.turn(after=timedelta(seconds=20))

    assert await platform.registry.request_erasure(*at, actor="key:1", now=platform.now) is None
    assert await platform.registry.withdraw(*at, actor="viewer", now=platform.now) is None
    assert len(await platform.registry.list_deletion_receipts(*at)) == 1


def verify(platform: Platform, log: StoredLog, tenant: TenantId) -> bytes:
    return verify_log(
        tenant=tenant,
        leaves=log.leaves,
        entries=log.entries,
        checkpoints=log.checkpoints,
        public_key=platform.signing_key.public_key(),
        first=log.first,
    )


async def test_the_audit_log_of_a_whole_life_verifies(
    platform: Platform, viewing: Consented, pool: Pool
) -> None:
    await platform.registry.withdraw(viewing.tenant, viewing.session, actor="viewer", now=platform.now)
    await platform.turn(after=timedelta(microseconds=1))

    log = await PostgresAuditLog(pool).read(viewing.tenant)
    assert [entry.action for _, entry in log.entries] == [
        "consent.given",
        "consent.withdrawn",
        "session.erased",
    ]
    assert len(log.leaves) == 3
    assert log.checkpoints
    assert verify(platform, log, viewing.tenant)


async def test_nothing_outlives_its_time(platform: Platform, viewing: Consented, database: Database) -> None:
    await platform.write(event(viewing, "closed"))
    await platform.turn(after=timedelta(seconds=5))
    await platform.turn(after=timedelta(days=29))
    assert count_rows(database, "sealed_timeline") == 2
    await platform.turn(after=timedelta(days=1, seconds=1))

    assert {table: count_rows(database, table) for table in DATA_TABLES} == dict.fromkeys(DATA_TABLES, 0)
    assert await platform.state(viewing) is SessionState.ERASED
    receipts = await platform.registry.list_deletion_receipts(viewing.tenant, viewing.session)
    claims = verify_deletion_receipt(receipts[0].receipt_jws, platform.signing_key.public_key())
    assert claims.reason == "retention"
    assert count_rows(database, "consent_event") > 0
    evidence_made = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert evidence_made > platform.now


async def test_an_invitation_that_was_never_taken_up_is_erased_in_its_time(
    platform: Platform, registry: Registry
) -> None:
    known = await consented_session(registry, await registry.create_tenant(name="Studio", now=NOW))
    platform.now = NOW
    await platform.turn(after=timedelta(days=29))
    assert await platform.state(known) is SessionState.CONSENTED
    await platform.turn(after=timedelta(days=1, seconds=1))
    assert await platform.state(known) is SessionState.ERASED
    assert (await registry.get_session(known.tenant, known.session)).receipt_jws is None


async def test_a_session_of_whose_connection_nothing_was_heard_still_ends_and_is_sealed(
    platform: Platform, registry: Registry, database: Database
) -> None:
    known = await consented_session(registry, await registry.create_tenant(name="Studio", now=START))
    await platform.write(frames(known, *FRAMES))
    await platform.turn(after=timedelta(seconds=59))
    assert await platform.state(known) is SessionState.CONSENTED
    await platform.turn(after=timedelta(seconds=2))
    await platform.turn(after=timedelta(seconds=4))
    assert await platform.state(known) is SessionState.SEALED
    assert count_rows(database, "frame_pack") == 0
    await platform.turn(after=timedelta(days=31))
    assert await platform.state(known) is SessionState.ERASED


async def test_old_evidence_receipts_and_audit_entries_are_purged(
    platform: Platform, database: Database
) -> None:
    tenant = await platform.registry.create_tenant(name="Studio", now=START)
    await platform.registry.append_audit(
        tenant, actor="key:1", action="study.launched", subject="study:1", detail={"n": [1, 2]}, now=START
    )
    await platform.turn(after=timedelta(days=1094))
    assert count_rows(database, "audit_entry") == 1
    await platform.turn(after=timedelta(days=2))
    assert count_rows(database, "audit_entry") == 0

    later = await platform.registry.append_audit(
        tenant, actor="key:1", action="study.launched", subject="study:2", detail={}, now=platform.now
    )
    log = await PostgresAuditLog(platform.pool).read(tenant)
    assert later == 1 and [seq for seq, _ in log.entries] == [1]
    assert len(log.leaves) == 2
    assert verify(platform, log, tenant)


async def test_the_lag_tells_how_overdue_the_oldest_artefact_is(
    platform: Platform, viewing: Consented
) -> None:
    await platform.write(event(viewing, "closed"))
    late = START + timedelta(days=30, hours=2)
    bounds = retention_bounds(platform.policy, late)
    lag = await platform.tools.retention.measure_lag(viewing.tenant, bounds=bounds)

    assert lag["session_facts"] == timedelta(hours=2)
    assert lag["hot_frames"] == late - START - timedelta(seconds=60)
    assert lag["timeline"] == timedelta()


async def recalled(platform: Platform, database: Database, at: datetime) -> None:
    """Let the platform have believed its clock at `at` for the last time."""
    with psycopg.connect(database.admin_url) as admin:
        admin.execute("UPDATE platform.lifecycle_clock SET seen_at = %s", (at,))


async def sealed_viewing(platform: Platform, viewing: Consented) -> None:
    await platform.write(event(viewing, "closed"))
    await platform.turn(after=timedelta(seconds=5))
    assert await platform.state(viewing) is SessionState.SEALED


async def test_a_clock_forty_days_ahead_deletes_nothing_for_its_age(
    platform: Platform, viewing: Consented, database: Database
) -> None:
    await sealed_viewing(platform, viewing)
    right = platform.now
    await recalled(platform, database, right)
    for _ in range(3):
        await platform.turn(after=timedelta(days=40))
    assert await platform.state(viewing) is SessionState.SEALED
    assert len(await platform.timelines.read_frames(viewing.tenant, viewing.session)) == 100
    assert REGISTRY.get_sample_value("countenance_retention_held") == 1

    platform.now = right
    await platform.turn(after=timedelta(seconds=30))
    assert REGISTRY.get_sample_value("countenance_retention_held") == 0
    await platform.turn(after=timedelta(hours=23))
    assert await platform.state(viewing) is SessionState.SEALED


async def test_a_withdrawal_is_carried_out_while_the_clock_is_doubted(
    platform: Platform, viewing: Consented, database: Database
) -> None:
    await sealed_viewing(platform, viewing)
    await recalled(platform, database, platform.now)
    await platform.registry.withdraw(viewing.tenant, viewing.session, actor="viewer", now=platform.now)
    await platform.turn(after=timedelta(days=40))
    (claims,) = await receipts_of(platform, viewing)
    assert claims.reason == "withdrawal"


async def test_a_retention_queued_by_a_wrong_clock_waits_for_a_right_one(
    platform: Platform, viewing: Consented, database: Database
) -> None:
    await sealed_viewing(platform, viewing)
    await recalled(platform, database, platform.now)
    late = platform.now + timedelta(days=40)
    bounds = retention_bounds(platform.policy, late)
    await platform.tools.retention.enforce(viewing.tenant, bounds=bounds, now=late)
    await platform.turn(after=timedelta(days=40))
    assert await platform.state(viewing) is SessionState.SEALED


async def test_the_databases_clock_is_asked_too(
    platform: Platform, viewing: Consented, database: Database
) -> None:
    await sealed_viewing(platform, viewing)
    await recalled(platform, database, platform.now + timedelta(days=39, hours=23))
    platform.time_store.ahead = timedelta(minutes=6)
    await platform.turn(after=timedelta(days=40))
    assert await platform.state(viewing) is SessionState.SEALED
    platform.time_store.ahead = timedelta(minutes=4)
    await platform.turn(after=timedelta(seconds=11))
    assert await platform.state(viewing) is SessionState.ERASED


async def test_tenants_without_anything_to_do_are_asked_for_nothing(
    platform: Platform, viewing: Consented, database: Database
) -> None:
    idle = [await platform.registry.create_tenant(name=f"Idle {n}", now=START) for n in range(5)]
    await consented_session(platform.registry, idle[0])
    asked: list[TenantId] = []
    seal, retention = (
        seal_bounds(platform.policy, platform.now),
        retention_bounds(platform.policy, platform.now),
    )
    for is_overdue_asked in (False, True):
        due = await platform.tools.due_work.list_tenants(
            seal=seal, retention=retention, is_overdue_asked=is_overdue_asked
        )
        asked += [one.tenant for one in due]
    assert set(asked) == {viewing.tenant}
