"""Streams and short-lived session state between the processes (Redis, or a fake in memory).

Delivery is at least once: an entry that was read but neither finished nor acked is delivered again to
whoever claims it. Nothing here is durable; PostgreSQL is the truth. Every method raises `StreamError`
when the server cannot be reached or refuses, and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import msgspec

from privacy.protocol.ids import SessionId
from privacy.protocol.messages import SessionSetup

CLAIM_IDLE_MS = 500
"""An entry that its reader has not finished for this long may be claimed by another."""

DELIVERIES_MAX = 3
"""An entry delivered this often and still unfinished is poison: it goes to the dead letters."""


class EntryKind(StrEnum):
    """What a stream entry's payload is; the value is the field's name in Redis.

    `UNKNOWN` is what a reader gets for an entry of a later version, or of somebody else; nobody writes it, and it is
    dealt with as a payload that does not decode.
    """

    CROPS = "b"
    SCORES = "s"
    EVENT = "e"
    UNKNOWN = "?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One entry as a reader got it.

    Attributes:
        shard: 0..shards-1.
        entry_id: `<ms>-<seq>` as Redis writes it; the milliseconds are the server's UTC clock.
        kind: how to read `payload`.
        payload: see `cloud.streams.entries`.
        deliveries: how often the entry was delivered, this time included; 1 for a first read.
    """

    shard: int
    entry_id: str
    kind: EntryKind
    payload: bytes
    deliveries: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """One entry to be appended to a shard."""

    shard: int
    kind: EntryKind
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A crop entry whose work is done; `scores` is an encoded score batch, or None if nothing came of it."""

    delivery: Delivery
    scores: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A crop entry that is given up; only this metadata is kept, never the payload."""

    delivery: Delivery
    reason: str


class DurableAck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frames of one pack that PostgreSQL has committed; bit i of `mask` is frame `bucket * 30 + i`."""

    session: str
    bucket: int
    mask: int
    committed_utc_us: int


class CropRefusals(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Crops of one session that got no score, by `RefusalReason`; what a worker tells ingest."""

    session: str
    counts: dict[str, int]


class CropSink(Protocol):
    """Where ingest puts sealed crops."""

    async def append(self, entries: Sequence[Append]) -> None:
        """Append entries, trimming what is older than two seconds from each touched shard."""
        ...


class CropStream(CropSink, Protocol):
    """Sealed crops on their way to the classify workers (group `classify`)."""

    async def read(
        self, shards: Sequence[int], *, consumer: str, max_entries: int, block_ms: int
    ) -> list[Delivery]:
        """Take entries nobody has read, at most `max_entries` per shard; wait `block_ms` for the first."""
        ...

    async def claim_stale(
        self, shards: Sequence[int], *, consumer: str, min_idle_ms: int, max_entries: int
    ) -> list[Delivery]:
        """Take over entries that another reader left unfinished for `min_idle_ms`."""
        ...

    async def finish(self, finished: Sequence[Finished]) -> None:
        """Publish the scores and remove the crops, in one transaction for each shard at least."""
        ...

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Remove poison entries, keeping metadata in the shard's dead letters."""
        ...

    async def publish_refusals(self, refusals: Sequence[CropRefusals]) -> None:
        """Tell the ingest processes what got no score, so that they can tell its senders."""
        ...

    async def trim(self, shards: Sequence[int], *, max_age_ms: int) -> int:
        """Drop every crop entry older than `max_age_ms`, read or not; return how many went."""
        ...

    async def depth(self, shards: Sequence[int]) -> int:
        """Count the entries that wait on these shards."""
        ...


class EventSink(Protocol):
    """Where ingest reports session events."""

    async def append(self, entries: Sequence[Append]) -> None:
        """Append event entries to the result stream."""
        ...


class ResultStream(EventSink, Protocol):
    """Scores and session events on their way to the aggregate workers (group `aggregate`)."""

    async def read(
        self, shards: Sequence[int], *, consumer: str, max_entries: int, block_ms: int
    ) -> list[Delivery]:
        """Take entries nobody has read, at most `max_entries` per shard; wait `block_ms` for the first."""
        ...

    async def claim_stale(
        self, shards: Sequence[int], *, consumer: str, min_idle_ms: int, max_entries: int
    ) -> list[Delivery]:
        """Take over entries that another reader left unacked for `min_idle_ms`."""
        ...

    async def overflow(self, shards: Sequence[int], *, keep_entries: int, max_entries: int) -> list[Delivery]:
        """Show the oldest entries beyond `keep_entries` of each shard, at most `max_entries` of each; none goes."""
        ...

    async def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Remove entries whose effect is committed, or that are to have none, from who read them too."""
        ...

    async def publish_acks(self, acks: Sequence[DurableAck]) -> None:
        """Tell the ingest processes what is committed, so that agents may forget it."""
        ...

    async def depth(self, shards: Sequence[int]) -> int:
        """Count the entries that wait on these shards."""
        ...


class EntrySearch(Protocol):
    """Shows what a stream holds, as an erasure must know it."""

    async def peek(self, shard: int, *, after: str = "", max_entries: int) -> list[Delivery]:
        """Show entries behind the id `after`, oldest first, whether somebody read them or not; none goes."""
        ...


class SearchableCrops(CropStream, EntrySearch, Protocol):
    """The crop stream as an erasure needs it."""


class SearchableResults(ResultStream, EntrySearch, Protocol):
    """The result stream as an erasure needs it."""


class AckFeed(Protocol):
    """What became of crops, as it is published; what is published while nobody listens is lost."""

    def acks(self) -> AsyncIterator[DurableAck]:
        """Yield acks until cancelled; reconnects by itself."""
        ...

    def refusals(self) -> AsyncIterator[CropRefusals]:
        """Yield refusals until cancelled; reconnects by itself."""
        ...


class SetupStore(Protocol):
    """Session setups and the fence that lets one peer own a session."""

    async def claim(self, setup: SessionSetup, *, owner: str, ttl_ms: int) -> bool:
        """Fence the session at `setup.epoch` for `owner` and store the setup, atomically.

        True also when `owner` already holds this very epoch (a refresh); False when the session is
        fenced at this epoch by another owner, or at a later one, or is revoked, or when another receipt than the
        setup's is in force.
        """
        ...

    async def fenced_epoch(self, session: SessionId) -> int:
        """Return the session's latest epoch, 0 if there was none."""
        ...

    async def setup(self, session: SessionId, *, epoch: int) -> SessionSetup | None:
        """Return the stored setup of one epoch, None if it is unknown or expired."""
        ...

    async def forget(self, session: SessionId) -> None:
        """Remove every setup and the fence of a session."""
        ...

    async def count(self, session: SessionId) -> int:
        """Count what is kept of a session: its setups, and its fence as one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Superseded:
    """A session's viewer consented anew: only this receipt is in force, what runs under an earlier one ends."""

    session: SessionId
    receipt_sha256: str


class Revocations(Protocol):
    """Sessions whose consent is withdrawn, and which receipt of a session is in force."""

    async def revoke(self, session: SessionId) -> None:
        """Tell every listener that the session is over, and remember it for a day.

        Telling needs no memory on the server, so it also reaches listeners when there is none left.

        Raises:
            UnmarkedError: listeners were told, but there is no room to remember it: revoke again later.
            StreamError: nobody may have been told.
        """
        ...

    async def is_revoked(self, session: SessionId) -> bool:
        """Say whether the session was revoked within the last day."""
        ...

    async def put_in_force(self, session: SessionId, *, receipt_sha256: str, ordinal: int) -> bool:
        """Say which receipt of a session is in force, and tell every listener if that is news.

        Args:
            session: whose.
            receipt_sha256: hex digest of the receipt.
            ordinal: its number among the session's receipts.

        Returns:
            False where a receipt of a greater ordinal is in force; nothing changed.
        """
        ...

    async def receipt_in_force(self, session: SessionId) -> str | None:
        """Return the hex digest of the receipt in force, None where nothing is known."""
        ...

    def revocations(self) -> AsyncIterator[SessionId | Superseded | None]:
        """Yield what ends until cancelled; None after each (re)connect: check your sessions again."""
        ...
