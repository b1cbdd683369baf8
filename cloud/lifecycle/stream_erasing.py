"""What stream entries hold of sessions that are erased, and what is left of an entry without them.

An entry may be about several sessions: a crop entry and a score entry carry whatever arrived together. What is about
others stays. An entry that names a session and does not decode goes whole: nobody could have stored it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from cloud.errors import EntryError
from cloud.streams.entries import decode_crops, decode_scores, encode_scores, split_model
from cloud.streams.ports import Append, Delivery, EntryKind
from privacy.protocol import limits
from privacy.protocol.ids import SessionId


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleared:
    """Result entries without what they held of some sessions.

    Attributes:
        going: entries that held something of them, whole.
        kept: entries with what those held of others.
        found: by session, its frames and reports that are going.
    """

    going: tuple[Delivery, ...]
    kept: tuple[Append, ...]
    found: Counter[SessionId]


def clear_results(deliveries: Sequence[Delivery], sessions: Collection[SessionId]) -> Cleared:
    """Take what result entries hold of these sessions out of them."""
    going: list[Delivery] = []
    kept: list[Append] = []
    found: Counter[SessionId] = Counter()
    for delivery in deliveries:
        here, rest = _split(delivery, sessions)
        if here:
            found += here
            going.append(delivery)
            if rest is not None:
                kept.append(Append(shard=delivery.shard, kind=delivery.kind, payload=rest))
    return Cleared(going=tuple(going), kept=tuple(kept), found=found)


def count_crops(deliveries: Sequence[Delivery], sessions: Collection[SessionId]) -> Counter[SessionId]:
    """Count the sealed crops of these sessions in crop entries; one that does not decode counts where it is named."""
    found: Counter[SessionId] = Counter()
    for delivery in deliveries:
        try:
            heads = [crop.envelope[: limits.HEADER_BYTES] for crop in decode_crops(delivery.payload)]
        except EntryError:
            heads = [delivery.payload]
        found.update(session for head in heads for session in sessions if session.bytes in head)
    return found


def _split(delivery: Delivery, sessions: Collection[SessionId]) -> tuple[Counter[SessionId], bytes | None]:
    """Count what an entry holds of the sessions, and lay out what it holds of others, None for nothing."""
    # most entries are about others, and their bytes tell so without being read
    named = [s for s in sessions if s.bytes in delivery.payload or str(s).encode() in delivery.payload]
    if not named:
        return Counter(), None
    try:
        if delivery.kind is not EntryKind.SCORES:
            return Counter(named), None
        records = decode_scores(delivery.payload)
        model, _ = split_model(delivery.payload)
    except EntryError:
        return Counter(named), None
    others = [record for record in records if record.session not in sessions]
    found = Counter(record.session for record in records if record.session in sessions)
    return found, encode_scores(others, model=model) if others else None
