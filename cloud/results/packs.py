"""Building, merging and reading packs of frames (rules P1-P3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from cloud.results.frames import FRAME_DTYPE, Records
from cloud.results.slots import (
    SCORE_DTYPE,
    SLOT_BYTES,
    SLOT_DTYPE,
    ScoredBatch,
    to_slots,
)
from cloud.results.storage import Pack, PackKey
from cloud.streams.entries import FLAG_ON_DEVICE
from cloud.streams.scoring import ON_DEVICE, ScoringModel
from privacy.protocol.ids import SessionId, TenantId
from privacy.protocol.limits import FRAMES_PER_PACK

_KEY = ("tenant_high", "tenant_low", "session_high", "session_low", "face", "segment")


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantPacks:
    """The packs of one tenant, ordered by key; `repeated` counts frames that came more than once."""

    tenant: TenantId
    packs: tuple[Pack, ...]
    repeated: Mapping[SessionId, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frames:
    """Scores beside what is stored of each, and the index in `models` of the one that each is from."""

    scores: Records
    slots: Records
    model_at: NDArray[np.intp]
    models: tuple[ScoringModel, ...]

    def take(self, at: NDArray[np.intp]) -> _Frames:
        return _Frames(
            scores=self.scores[at], slots=self.slots[at], model_at=self.model_at[at], models=self.models
        )


def build_packs(batches: Sequence[ScoredBatch]) -> list[TenantPacks]:
    """Fold scores into packs, tenant by tenant.

    Where a frame occurs twice with different content, the one classified first counts, then the one
    whose bytes are smaller: the result is the same in any order.

    Args:
        batches: any mixture of tenants and sessions, each batch with the model that it is from.

    Returns:
        One item per tenant, ordered by tenant, its packs ordered by key.
    """
    scores = np.concatenate([b.scores for b in batches]) if batches else np.zeros(0, dtype=SCORE_DTYPE)
    if len(scores) == 0:
        return []
    frames = _Frames(
        scores=scores,
        slots=to_slots(scores),
        model_at=_model_at(batches, scores),
        models=(*(batch.model for batch in batches), ON_DEVICE),
    )
    frames = frames.take(_order(frames.scores, frames.slots))
    starts_pack, is_first = _boundaries(frames.scores)
    kept = np.flatnonzero(is_first)
    repeats = np.diff(np.append(kept, len(scores))) - 1
    starts = np.flatnonzero(starts_pack[kept])
    return _collect(frames.take(kept), starts, repeats)


def merge_packs(old: Pack, new: Pack) -> Pack:
    """Add to `old` the frames that it lacks; its own stay as they are (rule P2).

    This is what `platform.merge_slots` does inside the database.
    """
    added = new.mask & ~old.mask
    keep = _bits(added)
    slots = np.frombuffer(old.slots, dtype=SLOT_DTYPE).copy()
    slots[keep] = np.frombuffer(new.slots, dtype=SLOT_DTYPE)[keep]
    captured = old.captured_utc_us.copy()
    captured[keep] = new.captured_utc_us[keep]
    return Pack(key=old.key, mask=old.mask | added, slots=slots.tobytes(), captured_utc_us=captured)


def frames_of_packs(packs: Iterable[tuple[int, int, int, int, bytes]]) -> Records:
    """Lay stored packs out as frames.

    Args:
        packs: face, segment, bucket, mask and slots of each.

    Returns:
        Array of `FRAME_DTYPE`, ordered by frame, face and segment.

    Raises:
        ValueError: slots of a wrong length.
    """
    parts = []
    for face, segment, bucket, mask, slots in packs:
        at = _bits(mask)
        stored = np.frombuffer(slots, dtype=SLOT_DTYPE, count=FRAMES_PER_PACK)[at]
        frames = np.zeros(len(at), dtype=FRAME_DTYPE)
        frames["face"], frames["segment"] = face, segment
        frames["frame"] = bucket * FRAMES_PER_PACK + at
        for name in SLOT_DTYPE.names or ():
            if name != "reserved":
                frames[name] = stored[name]
        parts.append(frames)
    if not parts:
        return np.zeros(0, dtype=FRAME_DTYPE)
    return in_order(np.concatenate(parts))


def merge_frames(first: Records, then: Records) -> Records:
    """Add frames of `then` that `first` lacks; frames are told apart by face, segment and number."""
    both = np.concatenate([first, then])
    order = np.lexsort((both["segment"], both["face"], both["frame"]))
    ordered = both[order]
    same = np.zeros(len(ordered), dtype=bool)
    for name in ("frame", "face", "segment"):
        pairs = ordered[name][1:] == ordered[name][:-1]
        same[1:] = pairs if name == "frame" else same[1:] & pairs
    return ordered[~same]


def in_order(frames: Records) -> Records:
    """Order an array of `FRAME_DTYPE` by frame, face and segment."""
    return frames[np.lexsort((frames["segment"], frames["face"], frames["frame"]))]


def count_duplicates(frames: Records) -> int:
    """Count frames of a face that are stored more than once; anything but 0 is a fault."""
    seen = np.stack([frames["face"].astype(np.int64), frames["frame"].astype(np.int64)])
    return len(frames) - int(np.unique(seen, axis=1).shape[1])


def _order(scores: Records, slots: Records) -> NDArray[np.intp]:
    """Sort by pack, frame, then which of several wins; lexsort takes the last key first."""
    content = slots.view(np.dtype((np.void, SLOT_BYTES))).view(">u8").reshape(-1, 2)
    keys = [
        content[:, 1],
        content[:, 0],
        scores["captured_utc_us"],
        scores["classified_utc_us"],
        scores["frame"],
    ]
    keys += [scores[name] for name in reversed(_KEY)]
    order: NDArray[np.intp] = np.lexsort(keys)
    return order


def _boundaries(scores: Records) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say of each sorted score whether it starts a pack, and whether it is the first of its frame."""
    starts_pack = np.ones(len(scores), dtype=bool)
    is_first = np.ones(len(scores), dtype=bool)
    differs = np.zeros(len(scores) - 1, dtype=bool)
    for name in _KEY:
        differs |= scores[name][1:] != scores[name][:-1]
    bucket = scores["frame"] // FRAMES_PER_PACK
    starts_pack[1:] = differs | (bucket[1:] != bucket[:-1])
    is_first[1:] = starts_pack[1:] | (scores["frame"][1:] != scores["frame"][:-1])
    return starts_pack, is_first


def _model_at(batches: Sequence[ScoredBatch], scores: Records) -> NDArray[np.intp]:
    """Say of each score which batch's model it is from; beyond the last batch where the agent scored."""
    at = np.repeat(np.arange(len(batches), dtype=np.intp), [len(batch.scores) for batch in batches])
    at[(scores["flags"] & FLAG_ON_DEVICE) != 0] = len(batches)
    return at


def _scored_by(frames: _Frames, begin: int, end: int, places: NDArray[np.intp]) -> dict[ScoringModel, int]:
    masks: dict[ScoringModel, int] = {}
    model_at = frames.model_at[begin:end]
    for index in np.unique(model_at).tolist():
        mask = int((np.int64(1) << places[model_at == index]).sum())
        masks[frames.models[index]] = masks.get(frames.models[index], 0) | mask
    return masks


def _collect(frames: _Frames, starts: NDArray[np.intp], repeats: NDArray[np.int64]) -> list[TenantPacks]:
    scores, slots = frames.scores, frames.slots
    bounds = np.append(starts, len(scores))
    at = (scores["frame"] % FRAMES_PER_PACK).astype(np.intp)
    found: dict[TenantId, tuple[list[Pack], dict[SessionId, int]]] = {}
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        head, places = scores[begin], at[begin:end]
        laid_out = np.zeros(FRAMES_PER_PACK, dtype=SLOT_DTYPE)
        laid_out[places] = slots[begin:end]
        captured = np.zeros(FRAMES_PER_PACK, dtype=np.int64)
        captured[places] = scores["captured_utc_us"][begin:end]
        session = SessionId(_uuid(head, "session"))
        key = PackKey(
            session=session,
            face=int(head["face"]),
            segment=int(head["segment"]),
            bucket=int(head["frame"]) // FRAMES_PER_PACK,
        )
        mask = int((np.int64(1) << places).sum())
        packs, repeated = found.setdefault(TenantId(_uuid(head, "tenant")), ([], {}))
        packs.append(
            Pack(
                key=key,
                mask=mask,
                slots=laid_out.tobytes(),
                captured_utc_us=captured,
                scored_by=_scored_by(frames, begin, end, places),
            )
        )
        again = int(repeats[begin:end].sum())
        if again:
            repeated[session] = repeated.get(session, 0) + again
    return [
        TenantPacks(tenant=tenant, packs=tuple(packs), repeated=repeated)
        for tenant, (packs, repeated) in found.items()
    ]


def _uuid(score: np.void, name: str) -> UUID:
    return UUID(int=(int(score[f"{name}_high"]) << 64) | int(score[f"{name}_low"]))


def _bits(mask: int) -> NDArray[np.intp]:
    """List the bits that are set, lowest first."""
    return np.flatnonzero((mask >> np.arange(FRAMES_PER_PACK)) & 1)
