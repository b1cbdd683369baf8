"""Batches of sealed crops on their way to the stream.

One entry per crop would cost Redis two and a half times as much, so a crop waits up to five milliseconds for
company, unless crops come so seldom that none is to be expected. When one batch is due, every shard's queue
goes with it in the same round trip.

What cannot be written waits in a bounded queue that drops its oldest: a face older than two seconds is
worth nothing, and ciphertext must not pile up.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from cloud.streams.entries import CROP_BATCH_MAX, CROP_BATCH_MAX_BYTES, SealedCrop
from privacy.protocol import limits
from privacy.protocol.ids import SessionId

BATCH_WAIT_US = 5_000
QUEUE_MAX_CROPS = 4_096
"""Two seconds of 68 sessions at 30 fps, about 14 MB."""

_CROP_OVERHEAD_BYTES = 32
_GAP_WEIGHT = 8
_GAP_MAX_US = 1_000_000
_DISCARDED_MAX = 4_096
_SESSION_BYTES = slice(4, 20)
"""Where an envelope's header says whose it is (protocol rule W2); enough to drop it unopened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CropBatch:
    """Crops of one shard for one stream entry; `since_us` is when the first of them was queued."""

    shard: int
    since_us: int
    crops: tuple[SealedCrop, ...]


@dataclass(slots=True)
class _Queue:
    crops: deque[tuple[int, SealedCrop]] = field(default_factory=deque)
    size_bytes: int = 0


class CropBatcher:
    """Queues crops per shard and says which batches are due.

    Times are microseconds of one monotonic clock that the caller reads.

    Attributes:
        dropped: crops given up since the start, because the queue was full or they grew too old.
    """

    def __init__(
        self, *, max_crops: int = QUEUE_MAX_CROPS, max_age_us: int = limits.FRESH_MAX_AGE_US
    ) -> None:
        self._max_crops = max_crops
        self._max_age_us = max_age_us
        self._queues: dict[int, _Queue] = {}
        self._count = 0
        self._added_us: int | None = None
        self._mean_gap_us = _GAP_MAX_US
        self._discarded: OrderedDict[bytes, None] = OrderedDict()
        self.dropped = 0

    def __len__(self) -> int:
        return self._count

    def add(self, shard: int, crop: SealedCrop, *, now_us: int) -> None:
        """Queue one crop; the oldest of all goes if the queue is full."""
        if self._added_us is not None:
            gap_us = min(now_us - self._added_us, _GAP_MAX_US)
            self._mean_gap_us += (gap_us - self._mean_gap_us) // _GAP_WEIGHT
        self._added_us = now_us
        if self._count >= self._max_crops:
            self._drop_oldest()
        queue = self._queues.setdefault(shard, _Queue())
        queue.crops.append((now_us, crop))
        queue.size_bytes += _size_bytes(crop)
        self._count += 1

    def due_us(self) -> int | None:
        """Return when the next batch is due, None if nothing waits; in the past if one is full."""
        wait_us = BATCH_WAIT_US if self._mean_gap_us < BATCH_WAIT_US else 0
        due = [
            0 if self._is_full(queue) else queue.crops[0][0] + wait_us
            for queue in self._queues.values()
            if queue.crops
        ]
        return min(due, default=None)

    def take(self, *, now_us: int) -> list[CropBatch]:
        """Take everything, in batches within the entry's bounds, if one is full or has waited long enough."""
        self._drop_aged(now_us)
        due_us = self.due_us()
        if due_us is None or now_us < due_us:
            return []
        batches = []
        for shard, queue in self._queues.items():
            while queue.crops:
                batches.append(self._cut(shard, queue))
        return batches

    def put_back(self, batches: Sequence[CropBatch]) -> None:
        """Return batches that could not be written to the front of their queues, less what was discarded."""
        for batch in reversed(batches):
            queue = self._queues.setdefault(batch.shard, _Queue())
            crops = [crop for crop in batch.crops if crop.envelope[_SESSION_BYTES] not in self._discarded]
            queue.crops.extendleft((batch.since_us, crop) for crop in reversed(crops))
            queue.size_bytes += sum(map(_size_bytes, crops))
            self._count += len(crops)
        while self._count > self._max_crops:
            self._drop_oldest()

    def discard(self, session: SessionId) -> None:
        """Drop every crop of a session, also those of a batch that is being written and may come back."""
        self._discarded[session.bytes] = None
        while len(self._discarded) > _DISCARDED_MAX:
            self._discarded.popitem(last=False)
        for queue in self._queues.values():
            kept = deque(one for one in queue.crops if one[1].envelope[_SESSION_BYTES] != session.bytes)
            self._count -= len(queue.crops) - len(kept)
            queue.crops, queue.size_bytes = kept, sum(_size_bytes(crop) for _, crop in kept)

    def _is_full(self, queue: _Queue) -> bool:
        return len(queue.crops) >= CROP_BATCH_MAX or queue.size_bytes >= CROP_BATCH_MAX_BYTES

    def _cut(self, shard: int, queue: _Queue) -> CropBatch:
        since_us = queue.crops[0][0]
        crops: list[SealedCrop] = []
        size_bytes = 0
        while queue.crops and len(crops) < CROP_BATCH_MAX:
            next_bytes = _size_bytes(queue.crops[0][1])
            if crops and size_bytes + next_bytes > CROP_BATCH_MAX_BYTES:
                break
            crops.append(queue.crops.popleft()[1])
            size_bytes += next_bytes
        queue.size_bytes -= size_bytes
        self._count -= len(crops)
        return CropBatch(shard=shard, since_us=since_us, crops=tuple(crops))

    def _drop_aged(self, now_us: int) -> None:
        for queue in self._queues.values():
            while queue.crops and now_us - queue.crops[0][0] > self._max_age_us:
                self._drop_from(queue)

    def _drop_oldest(self) -> None:
        self._drop_from(min((q for q in self._queues.values() if q.crops), key=lambda q: q.crops[0][0]))

    def _drop_from(self, queue: _Queue) -> None:
        _, crop = queue.crops.popleft()
        queue.size_bytes -= _size_bytes(crop)
        self._count -= 1
        self.dropped += 1


def _size_bytes(crop: SealedCrop) -> int:
    return len(crop.envelope) + _CROP_OVERHEAD_BYTES
