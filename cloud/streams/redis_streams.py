"""Crop and result streams on Redis Streams.

Rules (protocol.md, result path): `crops:{k}` and `results:{k}` share a hash tag, so that one MULTI can
move an entry from one to the other. Every append trims the crops exactly at their time to live and lets the key
expire a second later, so sealed crops age out even when every reader is dead. Readers recreate a group that
went with its expired key.

XAUTOCLAIM is not used: Redis 6.2 answers it without delivery counts, and leaves entries that were trimmed
while pending in the group for ever. XPENDING then XCLAIM gives both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from cloud.errors import StreamError
from cloud.streams.ports import Append, CropRefusals, DeadLetter, Delivery, DurableAck, EntryKind, Finished
from cloud.streams.redis_connection import BLOCK_MAX_MS, slot_key, translated

CROP_KEY_GRACE_MS = 1_000
"""A stream's key outlives its youngest crop by this much, so that readers see the trimming and not the key go."""

RESULTS_MAX_ENTRIES = 100_000
"""Per shard; nobody writes beyond it. The lifecycle workers shed entries, and say so, well before."""

DEAD_LETTERS_MAX = 1_000
DEAD_LETTER_TTL_S = 86_400
ACK_CHANNEL = "acks"
REFUSAL_CHANNEL = "refusals"

UtcMs = Callable[[], int]
OnTrimmed = Callable[[int], None]
"""Told how many result entries had to go to make room; they are counted, and nothing else is known of them."""


class _GroupReader:
    """Reads the sharded streams of one prefix as one consumer group."""

    def __init__(self, redis: Redis, *, prefix: str, group: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._group = group

    def key(self, shard: int) -> str:
        return slot_key(self._prefix, shard)

    async def read(
        self, shards: Sequence[int], *, consumer: str, max_entries: int, block_ms: int
    ) -> list[Delivery]:
        if not shards:
            return []
        wanted: dict[Any, Any] = {self.key(shard): ">" for shard in shards}
        block = min(block_ms, BLOCK_MAX_MS) or None
        with translated():
            for _ in range(3):
                try:
                    answer: Any = await self._redis.xreadgroup(
                        self._group, consumer, wanted, count=max_entries, block=block
                    )
                    return [d for key, rows in answer for d in _deliveries(_shard_of_key(key), rows)]
                except ResponseError as error:
                    if not str(error).startswith("NOGROUP"):
                        raise
                    await self._create_groups(shards)
        raise StreamError("a consumer group vanishes as fast as it is made")

    async def claim_stale(
        self, shards: Sequence[int], *, consumer: str, min_idle_ms: int, max_entries: int
    ) -> list[Delivery]:
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for shard in shards:
                    pipe.xpending_range(
                        self.key(shard), self._group, "-", "+", max_entries, idle=min_idle_ms or None
                    )
                pending = await pipe.execute(raise_on_error=False)
            claimed: list[Delivery] = []
            for shard, rows in zip(shards, pending, strict=True):
                if isinstance(rows, Exception):
                    _raise_unless_no_group(rows)
                elif rows:
                    claimed += await self._claim(shard, rows, consumer=consumer, min_idle_ms=min_idle_ms)
            return claimed

    async def _claim(
        self, shard: int, rows: list[dict[str, Any]], *, consumer: str, min_idle_ms: int
    ) -> list[Delivery]:
        counts = {row["message_id"]: row["times_delivered"] + 1 for row in rows}
        try:
            answer = await self._redis.xclaim(
                self.key(shard), self._group, consumer, min_idle_ms, list(counts)
            )
            alive = [row for row in answer if row[0] is not None]
            if len(alive) < len(counts):
                await self._drop_trimmed(shard, set(counts) - {row[0] for row in alive})
        except ResponseError as error:
            _raise_unless_no_group(error)
            return []
        return _deliveries(shard, alive, counts)

    async def _drop_trimmed(self, shard: int, ids: set[bytes]) -> None:
        """Forget pending ids whose entry is gone; those another reader claimed just now stay."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for entry_id in ids:
                pipe.xrange(self.key(shard), entry_id, entry_id, count=1)
            found = await pipe.execute()
        gone = [entry_id for entry_id, rows in zip(ids, found, strict=True) if not rows]
        if gone:
            await self._redis.xack(self.key(shard), self._group, *gone)

    async def depth(self, shards: Sequence[int]) -> int:
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for shard in shards:
                    pipe.xlen(self.key(shard))
                return sum(await pipe.execute())

    async def peek(self, shard: int, *, after: str = "", max_entries: int) -> list[Delivery]:
        with translated():
            rows: Any = await self._redis.xrange(
                self.key(shard), min=f"({after}" if after else "-", count=max_entries
            )
        return _deliveries(shard, rows)

    async def _create_groups(self, shards: Iterable[int]) -> None:
        async with self._redis.pipeline(transaction=False) as pipe:
            for shard in shards:
                pipe.xgroup_create(self.key(shard), self._group, id="0", mkstream=True)
            for answer in await pipe.execute(raise_on_error=False):
                if isinstance(answer, Exception) and not str(answer).startswith("BUSYGROUP"):
                    raise answer


class RedisCropStream:
    """Sealed crops on `crops:{k}`, group `classify`; see the port for what each method promises."""

    def __init__(
        self, redis: Redis, *, utc_ms: UtcMs, max_age_ms: int, on_trimmed: OnTrimmed = lambda _count: None
    ) -> None:
        """Prepare; `max_age_ms` is the policy's time to live of a sealed crop."""
        self._redis = redis
        self._utc_ms = utc_ms
        self._max_age_ms = max_age_ms
        self._on_trimmed = on_trimmed
        self._reader = _GroupReader(redis, prefix="crops", group="classify")
        self.read = self._reader.read
        self.claim_stale = self._reader.claim_stale
        self.depth = self._reader.depth
        self.peek = self._reader.peek

    async def append(self, entries: Sequence[Append]) -> None:
        """Append entries, trimming what is past its time to live from each touched shard."""
        oldest = self._utc_ms() - self._max_age_ms
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for entry in entries:
                    key = self._reader.key(entry.shard)
                    pipe.xadd(key, {entry.kind.value: entry.payload}, minid=oldest, approximate=False)
                for shard in {entry.shard for entry in entries}:
                    pipe.pexpire(self._reader.key(shard), self._max_age_ms + CROP_KEY_GRACE_MS)
                await pipe.execute()

    async def finish(self, finished: Sequence[Finished]) -> None:
        """Publish the scores and remove the crops, all in one transaction."""
        if not finished:
            return
        by_shard: dict[int, list[str]] = {}
        with translated():
            async with self._redis.pipeline(transaction=True) as pipe:
                for one in finished:
                    shard = one.delivery.shard
                    by_shard.setdefault(shard, []).append(one.delivery.entry_id)
                    if one.scores is not None:
                        _append_result(pipe, shard, EntryKind.SCORES, one.scores)
                for shard, ids in by_shard.items():
                    pipe.xack(self._reader.key(shard), "classify", *ids)
                    pipe.xdel(self._reader.key(shard), *ids)
                _bound_results(pipe, by_shard)
                answers = await pipe.execute()
        _tell_trimmed(self._on_trimmed, answers[-len(by_shard) :])

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Remove poison entries, keeping metadata in `dead:{k}`."""
        with translated():
            for letter in letters:
                delivery = letter.delivery
                crops, dead = self._reader.key(delivery.shard), slot_key("dead", delivery.shard)
                async with self._redis.pipeline(transaction=True) as pipe:
                    pipe.xadd(dead, _metadata(letter), maxlen=DEAD_LETTERS_MAX)
                    pipe.expire(dead, DEAD_LETTER_TTL_S)
                    pipe.xack(crops, "classify", delivery.entry_id)
                    pipe.xdel(crops, delivery.entry_id)
                    await pipe.execute()

    async def publish_refusals(self, refusals: Sequence[CropRefusals]) -> None:
        """Tell the ingest processes what got no score."""
        if refusals:
            with translated():
                await self._redis.publish(REFUSAL_CHANNEL, msgspec.json.encode(refusals))

    async def trim(self, shards: Sequence[int], *, max_age_ms: int) -> int:
        """Drop every crop entry older than `max_age_ms`, read or not; return how many went."""
        oldest = self._utc_ms() - max_age_ms
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for shard in shards:
                    pipe.xtrim(self._reader.key(shard), minid=oldest, approximate=False)
                return sum(await pipe.execute())


class RedisResultStream:
    """Scores and session events on `results:{k}`, group `aggregate`; see the port."""

    def __init__(self, redis: Redis, *, on_trimmed: OnTrimmed = lambda _count: None) -> None:
        self._redis = redis
        self._on_trimmed = on_trimmed
        self._reader = _GroupReader(redis, prefix="results", group="aggregate")
        self.read = self._reader.read
        self.claim_stale = self._reader.claim_stale
        self.depth = self._reader.depth
        self.peek = self._reader.peek

    async def append(self, entries: Sequence[Append]) -> None:
        """Append entries to their shards."""
        shards = sorted({entry.shard for entry in entries})
        if not shards:
            return
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for entry in entries:
                    _append_result(pipe, entry.shard, entry.kind, entry.payload)
                _bound_results(pipe, shards)
                answers = await pipe.execute()
        _tell_trimmed(self._on_trimmed, answers[-len(shards) :])

    async def overflow(self, shards: Sequence[int], *, keep_entries: int, max_entries: int) -> list[Delivery]:
        """Show the oldest entries beyond `keep_entries` of each shard, at most `max_entries` of each."""
        found: list[Delivery] = []
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for shard in shards:
                    pipe.xlen(self._reader.key(shard))
                lengths = await pipe.execute()
            for shard, length in zip(shards, lengths, strict=True):
                over = min(length - keep_entries, max_entries)
                if over > 0:
                    rows: Any = await self._redis.xrange(self._reader.key(shard), count=over)
                    found += _deliveries(shard, rows)
        return found

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Remove entries whose effect is committed."""
        by_shard: dict[int, list[str]] = {}
        for delivery in deliveries:
            by_shard.setdefault(delivery.shard, []).append(delivery.entry_id)
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for shard, ids in by_shard.items():
                    pipe.xack(self._reader.key(shard), "aggregate", *ids)
                    pipe.xdel(self._reader.key(shard), *ids)
                await pipe.execute()

    async def publish_acks(self, acks: Sequence[DurableAck]) -> None:
        """Tell the ingest processes what is committed."""
        if acks:
            with translated():
                await self._redis.publish(ACK_CHANNEL, msgspec.json.encode(acks))


_KINDS = {kind.value.encode("ascii"): kind for kind in EntryKind}


def _append_result(pipe: Any, shard: int, kind: EntryKind, payload: bytes) -> None:
    pipe.xadd(slot_key("results", shard), {kind.value: payload})


def _bound_results(pipe: Any, shards: Iterable[int]) -> None:
    for shard in shards:
        pipe.xtrim(slot_key("results", shard), maxlen=RESULTS_MAX_ENTRIES, approximate=True)


def _tell_trimmed(on_trimmed: OnTrimmed, counts: Iterable[int]) -> None:
    trimmed = sum(counts)
    if trimmed:
        on_trimmed(trimmed)


def _metadata(letter: DeadLetter) -> dict[Any, Any]:
    delivery = letter.delivery
    return {
        "entry": delivery.entry_id,
        "reason": letter.reason,
        "deliveries": delivery.deliveries,
        "size_bytes": len(delivery.payload),
    }


def _deliveries(shard: int, rows: Iterable[Any], counts: dict[bytes, int] | None = None) -> list[Delivery]:
    found = []
    for entry_id, fields in rows:
        (name, payload), *_ = fields.items()
        found.append(
            Delivery(
                shard=shard,
                entry_id=entry_id.decode("ascii"),
                kind=_KINDS.get(name, EntryKind.UNKNOWN),
                payload=payload,
                deliveries=counts[entry_id] if counts else 1,
            )
        )
    return found


def _shard_of_key(key: bytes) -> int:
    return int(key[key.index(b"{") + 1 : -1])


def _raise_unless_no_group(error: Exception) -> None:
    if not str(error).startswith("NOGROUP"):
        raise error
