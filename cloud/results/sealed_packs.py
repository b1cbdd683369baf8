"""Hot packs as the database keeps them: every slot sealed under the session's data key (rules P2, L2).

The database merges packs slot by slot without reading them. Slots that earlier versions stored as they were are told
apart by what a score must be: its probabilities sum to 255, and its last byte is 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cloud.errors import CustodyError
from cloud.results.slots import SLOT_DTYPE
from cloud.results.storage import Pack
from privacy.crypto.at_rest import SlotSealer
from privacy.protocol.limits import FRAMES_PER_PACK

PackRow = tuple[int, int, int, int, bytes]
"""Face, segment, bucket, mask and slots of a stored pack."""

_PLACE = struct.Struct(">BxxxIQ")
_PROBABILITY_SUM = 255


def seal_pack(pack: Pack, sealer: SlotSealer) -> Pack:
    """Seal a pack's slots; the empty ones too, which nobody reads."""
    key = pack.key
    return replace(pack, slots=sealer.seal(pack.slots, place=_place(key.face, key.segment, key.bucket)))


def open_packs(rows: Iterable[PackRow], sealer: SlotSealer | None) -> list[PackRow]:
    """Open stored packs.

    Args:
        rows: of one session.
        sealer: of that session; None where it has no data key.

    Raises:
        CustodyError: a slot is sealed, and not under this key.
    """
    return [
        (face, segment, bucket, mask, _open(slots, mask, sealer, _place(face, segment, bucket)))
        for face, segment, bucket, mask, slots in rows
    ]


def _open(stored: bytes, mask: int, sealer: SlotSealer | None, place: bytes) -> bytes:
    wanted = ((mask >> np.arange(FRAMES_PER_PACK)) & 1).astype(bool)
    plain = np.frombuffer(stored, dtype=SLOT_DTYPE)
    if sealer is None:
        opened, is_open = plain, _are_scores(plain)
    else:
        opened = np.frombuffer(sealer.open(stored, place=place), dtype=SLOT_DTYPE).copy()
        is_open = _are_scores(opened)
        if not is_open[wanted].all():
            as_stored = ~is_open & _are_scores(plain)
            opened[as_stored] = plain[as_stored]
            is_open |= as_stored
    if not is_open[wanted].all():
        raise CustodyError("the session's data key is gone, or a stored frame does not open under it")
    return opened.tobytes()


def _are_scores(slots: NDArray[np.void]) -> NDArray[np.bool_]:
    sums = slots["probabilities"].sum(axis=1, dtype=np.int64)
    are_scores: NDArray[np.bool_] = (sums == _PROBABILITY_SUM) & (slots["reserved"] == 0)
    return are_scores


def _place(face: int, segment: int, bucket: int) -> bytes:
    return _PLACE.pack(face, segment, bucket)
