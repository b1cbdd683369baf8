"""After an erasure every file is searched: PostgreSQL's pages and log, Redis's folder, the state directory."""

from __future__ import annotations

import base64
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.consents.registry import Registry
from cloud.database.connection import open_pool
from cloud.database.migrate import migrate
from cloud.embedded import postgres
from cloud.embedded import redis as embedded_redis
from cloud.keys.custody import FileKeyCustody, prepare_keys
from cloud.lifecycle.cleaning import CLEAN_AFTER, CLEAN_PERIOD
from cloud.results.repository import PostgresResultStore
from cloud.results.slots import SLOT_BYTES, read_scores, to_slots
from cloud.streams.redis_connection import connect
from cloud.streams.redis_streams import RedisCropStream, RedisResultStream
from tests.fakes.streams import MemoryRevocations
from tests.fixtures_postgres import Consented, consented_session
from tests.integration.test_postgres_lifecycle import (
    HOLDER,
    START,
    Platform,
    event,
    facts,
    fold_deliveries,
    frames,
    receipts_of,
    waiting,
)

FRAMES = range(90)


@dataclass(kw_only=True)
class Machine:
    """One machine's platform: its folder holds everything that is on a disk."""

    folder: Path
    platform: Platform
    server: postgres.EmbeddedPostgres
    seen: dict[str, bytes] = field(default_factory=dict)

    @property
    def admin_url(self) -> str:
        return self.server.urls.admin_url.rpartition("/")[0] + f"/{postgres.DATABASE}"

    def stored(self, query: str) -> list[bytes]:
        with psycopg.connect(self.admin_url) as admin:
            return [bytes(row[0]) for row in admin.execute(query).fetchall()]

    def key_files(self) -> list[bytes]:
        return [path.read_bytes() for path in (self.folder / "state" / "keys").rglob("*.key")]

    def found(self, needles: Iterable[bytes]) -> dict[str, int]:
        """Count the needles by file, as they are, in hex and in base64, at whatever offset."""
        spelled = [spelling for needle in needles for spelling in spellings(needle)]
        hits = {}
        for path in self.folder.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                count = sum(content.count(spelling) for spelling in spelled)
                if count:
                    hits[str(path.relative_to(self.folder))] = count
        return hits


def spellings(needle: bytes) -> list[bytes]:
    shifted = [base64.b64encode(bytes(shift) + needle)[4 : -4 or None] for shift in range(3)]
    return [needle, needle.hex().encode(), needle.hex().upper().encode(), *shifted]


def runs(of: Consented, numbers: Iterable[int]) -> list[bytes]:
    """Two scores that follow one another, as slots hold them, out of every ten."""
    slots = to_slots(read_scores(frames(of, *numbers).payload).scores).tobytes()
    return [slots[at : at + 2 * SLOT_BYTES] for at in range(0, len(slots) - SLOT_BYTES, 10 * SLOT_BYTES)]


def _open_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="countenance-remains-"))
    # the server's account passes through
    folder.chmod(0o755)
    return folder


@pytest.fixture
async def machine() -> AsyncIterator[Machine]:
    folder = _open_folder()
    server = postgres.start(folder / "state" / "postgres")
    redis_server = embedded_redis.start(folder / "state" / "redis")
    redis = connect(redis_server.url)
    try:
        migrate(server.urls.owner_url)
        prepare_keys(folder / "state" / "keys")
        pool = await open_pool(server.urls.app_url)
        platform = Platform(
            pool=pool,
            registry=Registry(pool),
            signing_key=Ed25519PrivateKey.generate(),
            revocations=MemoryRevocations(),
            custody=FileKeyCustody(folder / "state" / "keys"),
        )
        platform.stream = RedisResultStream(redis)
        platform.crops = RedisCropStream(
            redis, utc_ms=lambda: int(platform.now.timestamp() * 1_000), max_age_ms=2_000
        )
        platform.build()
        yield Machine(folder=folder, platform=platform, server=server)
        await pool.close()
    finally:
        await redis.aclose()
        redis_server.stop()
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


async def viewings(machine: Machine) -> tuple[Consented, Consented, Consented]:
    """A hot session, a sealed one, and one that stays; each with ninety frames."""
    platform = machine.platform
    tenant = await platform.registry.create_tenant(name="Studio", now=START)
    hot, sealed, other = [
        await consented_session(platform.registry, tenant, viewer=name) for name in ("hot", "sealed", "other")
    ]
    for one in (hot, sealed, other):
        await platform.write(event(one, "connected"), *facts(one), frames(one, *FRAMES))
    await platform.stream.append(waiting(hot, frames(hot, *range(90, 120))))
    await platform.write(event(sealed, "closed"))
    await platform.turn(after=timedelta(seconds=5))
    return hot, sealed, other


async def erase(machine: Machine, *those: Consented) -> None:
    platform = machine.platform
    for one in those:
        await platform.registry.withdraw(one.tenant, one.session, actor="viewer", now=platform.now)
    await platform.turn(after=timedelta(seconds=1))
    for one in those:
        (claims,) = await receipts_of(platform, one)
        assert claims.counts["destroy_key"] == (1, 0)
    await platform.turn(after=CLEAN_AFTER + CLEAN_PERIOD)
    assert timedelta(minutes=15) > CLEAN_AFTER + CLEAN_PERIOD


async def test_no_file_holds_a_run_of_scores_or_a_usable_key_after_an_erasure(machine: Machine) -> None:
    hot, sealed, other = await viewings(machine)
    scores = [run for one in (hot, sealed) for run in runs(one, range(120))]
    assert machine.found(scores) == {}, "not even before: what reaches the database is sealed"
    keys = machine.key_files()
    packs = machine.stored(f"SELECT slots FROM frame_pack WHERE session_id = '{hot.session}'")
    assert len(keys) == 1 + 3 and len(packs) == 3
    assert machine.found(keys) and machine.found(pack[:48] for pack in packs), (
        "the search finds what is there"
    )

    await erase(machine, hot, sealed)

    assert machine.found(scores) == {}
    assert machine.found(keys) == {}, "old wraps, that of the session that stays too, and the key above them"
    assert machine.found(pack[:48] for pack in packs) == {}
    kept = await machine.platform.timelines.read_frames(other.tenant, other.session)
    assert kept["frame"].tolist() == list(FRAMES)


async def test_what_an_earlier_version_stored_as_it_was_is_gone_too(machine: Machine) -> None:
    hot, _, other = await viewings(machine)
    plain = PostgresResultStore(machine.platform.pool, clock=lambda: machine.platform.now)
    for one in (hot, other):
        (batch,) = fold_deliveries([frames(one, *range(300, 390))]).batches
        await plain.commit(batch, holder=HOLDER, leases=machine.platform.leases)
    with psycopg.connect(machine.admin_url) as admin:
        admin.execute("CHECKPOINT")
    scores = runs(hot, range(300, 330))
    assert len(machine.found(scores)) >= 2, "the log and a page"

    await erase(machine, hot, other)
    assert machine.found(scores) == {}


async def test_a_lifecycle_process_that_takes_over_cleans_after_the_last_one(machine: Machine) -> None:
    hot, *_ = await viewings(machine)
    keys = machine.key_files()
    platform = machine.platform
    await platform.registry.withdraw(hot.tenant, hot.session, actor="viewer", now=platform.now)
    await platform.turn(after=timedelta(seconds=1))
    assert machine.found(keys) != {}
    platform.build()
    await platform.turn(after=timedelta(seconds=2))
    await platform.turn(after=CLEAN_AFTER)
    assert machine.found(keys) == {}
