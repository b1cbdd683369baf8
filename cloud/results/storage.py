"""Where results are kept, and who may write them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cloud.results.changes import SessionChange
from cloud.streams.scoring import ScoringModel
from privacy.protocol.ids import SessionId, TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class PackKey:
    """Which pack of a tenant."""

    session: SessionId
    face: int
    segment: int
    bucket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Up to 30 frames of one face in one playback segment.

    Attributes:
        key: which one.
        mask: bit i is set where slot i holds a frame.
        slots: 480 bytes, 30 slots of 16; laid out by `cloud.results.slots`.
        captured_utc_us: int64 (30,); when each frame was captured, 0 where there is none. Not stored:
            the latency of a commit is taken from it.
        scored_by: which bits of the mask each model scored. Not stored with the pack: what of it is new
            is added to the session's models.
    """

    key: PackKey
    mask: int
    slots: bytes = field(repr=False)
    captured_utc_us: NDArray[np.int64] = field(repr=False, compare=False)
    scored_by: Mapping[ScoringModel, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to write the results of a shard; its epoch grows with every change of holder."""

    shard: int
    epoch: int


LatencyCounts = Mapping[int, int]
"""How many latencies lie in each bin of 1 ms; the last bin, 2000, is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantBatch:
    """What one transaction writes for one tenant; changes come before packs.

    Attributes:
        latencies: capture-to-commit latencies of earlier commits, by session.
    """

    tenant: TenantId
    changes: tuple[SessionChange, ...] = ()
    packs: tuple[Pack, ...] = ()
    latencies: Mapping[SessionId, LatencyCounts] = field(default_factory=dict)
    repeated: Mapping[SessionId, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What a transaction did.

    Attributes:
        added: by pack, the bits that are new; 0 where every frame was there already. A pack of a
            session that does not accept frames (withdrawn, erased, unknown) is missing.
        at: when the commit returned.
    """

    added: Mapping[PackKey, int]
    at: datetime


def credit_models(
    packs: Iterable[Pack], added: Mapping[PackKey, int]
) -> dict[tuple[SessionId, ScoringModel], int]:
    """Count by session and model the frames that a commit really added; what was there already counts for none."""
    credits: dict[tuple[SessionId, ScoringModel], int] = {}
    for pack in packs:
        for model, mask in pack.scored_by.items():
            frames = (mask & added.get(pack.key, 0)).bit_count()
            if frames:
                at = (pack.key.session, model)
                credits[at] = credits.get(at, 0) + frames
    return credits


class ResultStore(Protocol):
    """Keeps packs, which models they are from, and what is reported about sessions."""

    async def commit(self, batch: TenantBatch, *, holder: str, leases: Collection[Lease]) -> Committed:
        """Write a tenant's batch in one transaction; writing it again changes nothing.

        Raises:
            LeaseLostError: `holder` no longer holds one of the leases; nothing was written.
            StoreError: the store cannot be reached; whether it was written is not known.
        """
        ...


class LeaseStore(Protocol):
    """Says which worker may write which shard; every method raises `StoreError`."""

    async def beat(self, holder: str, *, ttl_ms: int) -> int:
        """Report that a worker lives and return how many do, this one included."""
        ...

    async def renew(self, holder: str, leases: Collection[Lease], *, ttl_ms: int) -> list[Lease]:
        """Prolong leases and return those that nobody took meanwhile; one that has run out counts as long."""
        ...

    async def take(self, holder: str, *, shards: Sequence[int], limit: int, ttl_ms: int) -> list[Lease]:
        """Take up to `limit` of these shards that nobody holds."""
        ...

    async def release(self, holder: str, leases: Collection[Lease]) -> None:
        """Give leases back; those that are lost already are passed over."""
        ...


class KeyCustody(Protocol):
    """Keeps the sessions' data keys, apart from what they seal and outside any database's log.

    Every method raises `CustodyError` where the keys cannot be reached or one does not unwrap.
    """

    def key(self, tenant: TenantId, session: SessionId) -> bytes:
        """Give a session's data key, 32 bytes; one is made where there is none, and is durable on return.

        Raises:
            CustodyError: the session's key was destroyed; it never gets another.
        """
        ...

    def find_key(self, tenant: TenantId, session: SessionId) -> bytes | None:
        """Give a session's data key; None where it has none, or none any more."""
        ...

    def destroy(self, tenant: TenantId, session: SessionId) -> int:
        """Destroy a session's key and see to it that none is made again; returns how many there were, 0 or 1."""
        ...

    def count(self, tenant: TenantId, session: SessionId) -> int:
        """Count the keys that a session has now, 0 or 1."""
        ...


class AdoptedKeys(Protocol):
    """Takes over wrapped keys that earlier versions kept in the database."""

    def adopt(self, tenant: TenantId, session: SessionId, *, wrapped: bytes, kek_id: str) -> None:
        """Keep a wrapped key as it is, durable on return; one that is kept already, or was destroyed, stays so."""
        ...
