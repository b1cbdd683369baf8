"""How the aggregate workers share the shards among themselves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cloud.results.storage import Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareStep:
    """What a worker does now: give back these, take up to so many."""

    release: tuple[Lease, ...]
    take: int


def next_step(held: Collection[Lease], *, shards: int, workers: int) -> ShareStep:
    """Move towards an even share.

    Args:
        held: leases of this worker.
        shards: how many there are.
        workers: how many workers live, at least 1.

    Returns:
        With one worker, everything; a worker above its share gives back its highest shards, so that a
        newcomer finds some.
    """
    share = -(-shards // max(workers, 1))
    ordered = sorted(held, key=lambda lease: lease.shard)
    return ShareStep(release=tuple(ordered[share:]), take=max(share - len(ordered), 0))
