"""Byte layout of a stored frame, with the arrays that are made of such frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cloud.errors import EntryError
from cloud.results.frames import Records
from cloud.streams.entries import split_model
from cloud.streams.scoring import ScoringModel
from privacy.protocol.limits import FRAMES_PER_PACK

SLOT_DTYPE = np.dtype(
    [
        ("media_time_ms", ">i4"),
        ("classified_delay", ">u2"),
        ("probabilities", "u1", (6,)),
        ("confidence", "u1"),
        ("attention", "u1"),
        ("flags", "u1"),
        ("reserved", "u1"),
    ]
)
"""One frame, 16 bytes: `classified_delay` is capture to result in units of 100 us, 65535 for more."""

SLOT_BYTES = SLOT_DTYPE.itemsize
PACK_BYTES = SLOT_BYTES * FRAMES_PER_PACK
CLASSIFIED_DELAY_UNIT_US = 100

SCORE_DTYPE = np.dtype(
    [
        ("tenant_high", ">u8"),
        ("tenant_low", ">u8"),
        ("session_high", ">u8"),
        ("session_low", ">u8"),
        ("face", "u1"),
        ("segment", ">u2"),
        ("frame", ">u4"),
        ("media_time_us", ">i8"),
        ("captured_utc_us", ">i8"),
        ("classified_utc_us", ">i8"),
        ("probabilities", "u1", (6,)),
        ("confidence", "u1"),
        ("attention", "u1"),
        ("flags", ">u2"),
    ]
)
"""A score record as `cloud.streams.entries` lays it out, so that a batch is read without a loop."""

_COUNT_BYTES = 2
_PROBABILITY_SUM = 255


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredBatch:
    """Scores of one entry, an array of `SCORE_DTYPE`, and the model that they are from."""

    model: ScoringModel
    scores: Records


def read_scores(entry: bytes) -> ScoredBatch:
    """Read a score entry as an array; the same bytes as `cloud.streams.entries.decode_scores`.

    Raises:
        EntryError: truncated, trailing bytes, no model, or probabilities that do not sum to 255.
    """
    model, entry = split_model(entry)
    if len(entry) < _COUNT_BYTES:
        raise EntryError("score entry is truncated")
    count = int.from_bytes(entry[:_COUNT_BYTES], "big")
    if len(entry) != _COUNT_BYTES + count * SCORE_DTYPE.itemsize:
        raise EntryError("score entry's length does not match its count")
    scores = np.frombuffer(entry, dtype=SCORE_DTYPE, offset=_COUNT_BYTES)
    if (scores["probabilities"].sum(axis=1, dtype=np.int64) != _PROBABILITY_SUM).any():
        raise EntryError("probabilities do not sum to 255")
    return ScoredBatch(model=model, scores=scores)


def to_slots(scores: Records) -> Records:
    """Turn scores (`SCORE_DTYPE`) into what is stored of each (`SLOT_DTYPE`), saturating."""
    slots = np.zeros(len(scores), dtype=SLOT_DTYPE)
    media_time_ms = scores["media_time_us"] // 1_000
    limits = np.iinfo(np.int32)
    slots["media_time_ms"] = np.clip(media_time_ms, limits.min, limits.max)
    delay = (scores["classified_utc_us"] - scores["captured_utc_us"]) // CLASSIFIED_DELAY_UNIT_US
    slots["classified_delay"] = np.clip(delay, 0, np.iinfo(np.uint16).max)
    for name in ("probabilities", "confidence", "attention"):
        slots[name] = scores[name]
    slots["flags"] = scores["flags"] & 0xFF
    return slots
