"""Stream entries as one batch per tenant, with the durable acks that follow a commit (rule P4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cloud.aggregate.changes import read_change
from cloud.errors import EntryError
from cloud.results.changes import SessionChange
from cloud.results.packs import build_packs
from cloud.results.slots import ScoredBatch, read_scores
from cloud.results.storage import LatencyCounts, Pack, TenantBatch
from cloud.streams.entries import decode_event
from cloud.streams.ports import Delivery, DurableAck, EntryKind
from privacy.protocol.ids import SessionId, TenantId


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What a read of the stream amounts to.

    Attributes:
        batches: one per tenant.
        malformed: how many entries do not decode; there is nothing to be done with them but to count.
    """

    batches: tuple[TenantBatch, ...]
    malformed: int


def fold_deliveries(deliveries: Sequence[Delivery]) -> Folded:
    """Fold entries of any shards and tenants; a malformed entry spoils nothing but itself."""
    scores: list[ScoredBatch] = []
    changes: dict[TenantId, list[SessionChange]] = {}
    malformed = 0
    for delivery in deliveries:
        try:
            if delivery.kind is EntryKind.SCORES:
                scores.append(read_scores(delivery.payload))
            elif delivery.kind is EntryKind.EVENT:
                change = read_change(decode_event(delivery.payload))
                changes.setdefault(change.tenant, []).append(change)
            else:
                malformed += 1
        except EntryError:
            malformed += 1
    packs = {built.tenant: built for built in build_packs(scores)}
    tenants = dict.fromkeys([*changes, *packs])
    return Folded(
        batches=tuple(
            TenantBatch(
                tenant=tenant,
                changes=tuple(changes.get(tenant, ())),
                packs=packs[tenant].packs if tenant in packs else (),
                repeated=packs[tenant].repeated if tenant in packs else {},
            )
            for tenant in tenants
        ),
        malformed=malformed,
    )


def durable_acks(packs: Iterable[Pack], *, committed_at: datetime) -> list[DurableAck]:
    """Say which frames are committed: those just written, and those found written already.

    Args:
        packs: of one tenant, all of them committed.
        committed_at: when the commit returned.

    Returns:
        One ack per session and bucket; the bits of several faces and segments are joined.
    """
    masks: dict[tuple[SessionId, int], int] = {}
    for pack in packs:
        at = (pack.key.session, pack.key.bucket)
        masks[at] = masks.get(at, 0) | pack.mask
    committed_utc_us = int(committed_at.timestamp() * 1_000_000)
    return [
        DurableAck(session=str(session), bucket=bucket, mask=mask, committed_utc_us=committed_utc_us)
        for (session, bucket), mask in masks.items()
    ]


def with_latencies(batch: TenantBatch, latencies: Mapping[SessionId, LatencyCounts]) -> TenantBatch:
    """Add samples of earlier commits to a batch."""
    return TenantBatch(
        tenant=batch.tenant,
        changes=batch.changes,
        packs=batch.packs,
        latencies=latencies,
        repeated=batch.repeated,
    )
