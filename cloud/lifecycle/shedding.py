"""What is said of results that must leave a full stream before they were stored.

A result stream fills only when nobody aggregates for long. Its oldest entries then go, and none goes silently:

* frames whose scores go become gaps with reason `lost`, so that they are flagged even where the agent's own word
  about them goes with them;
* what was reported about sessions goes to the end of the stream; of a session's counters only the largest, of its
  withdrawals one. Where there is no room for all of it, withdrawals come first: none may be lost to a flood of gaps.

A gap may cover a frame that is stored after all: a stored frame beats a gap (rule R3).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from cloud.errors import EntryError
from cloud.streams.entries import ScoreRecord, SessionEvent, decode_event, decode_scores, encode_event
from cloud.streams.ports import Append, Delivery, EntryKind
from privacy.protocol.gaps import OPEN_MAX_FRAMES
from privacy.protocol.messages import Gap, SkipReason

MEDIA_TIME_MAX_US = (1 << 53) - 1
"""What a gap can say; a header's media time has 64 bits, and is stored clipped far below either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shed:
    """What goes, and what is written in its place.

    Attributes:
        kept: entries for the end of the stream; at most half as many as go, so that the stream shrinks.
        frames: scored frames that go.
        dropped: reports about sessions that go for good, for want of room or because they do not decode.
    """

    kept: tuple[Append, ...]
    frames: int
    dropped: int


class _Captured(msgspec.Struct, frozen=True):
    captured: int = 0


def even_batches(total: int, *, at_most: int) -> list[int]:
    """Split a count into batches of nearly one size, so that none is left with too little room (see `Shed.kept`).

    Args:
        total: how many entries; none or fewer give no batch.
        at_most: the largest batch, at least 1.
    """
    count = -(-max(0, total) // at_most)
    return [(total + i) // count for i in range(count)]


def shed(deliveries: Sequence[Delivery], *, now_utc_us: int) -> Shed:
    """Fold the oldest entries of any shards into what is left to say of them."""
    kept: list[Append] = []
    frames = dropped = 0
    for shard in sorted({delivery.shard for delivery in deliveries}):
        going = [delivery for delivery in deliveries if delivery.shard == shard]
        records, events, malformed = _read(going)
        withdrawn, others = _split_withdrawals(events)
        said = [*withdrawn, *_gaps(records, now_utc_us=now_utc_us), *_without_older_counters(others)]
        room = len(going) // 2
        kept += [Append(shard=shard, kind=EntryKind.EVENT, payload=encode_event(e)) for e in said[:room]]
        frames += len(records)
        dropped += malformed + len(said[room:])
    return Shed(kept=tuple(kept), frames=frames, dropped=dropped)


def _read(deliveries: Iterable[Delivery]) -> tuple[list[ScoreRecord], list[SessionEvent], int]:
    records: list[ScoreRecord] = []
    events: list[SessionEvent] = []
    malformed = 0
    for delivery in deliveries:
        try:
            if delivery.kind is EntryKind.SCORES:
                records += decode_scores(delivery.payload)
            elif delivery.kind is EntryKind.EVENT:
                events.append(decode_event(delivery.payload))
            else:
                malformed += 1
        except EntryError:
            malformed += 1
    return records, events, malformed


def _gaps(records: Sequence[ScoreRecord], *, now_utc_us: int) -> list[SessionEvent]:
    """Flag frames as lost; frames near to each other share a gap."""
    events: list[SessionEvent] = []
    open_at: ScoreRecord | None = None
    last = 0
    ordered = sorted(records, key=lambda r: (r.tenant, r.session, r.segment, r.frame))
    for record in ordered:
        is_near = (
            open_at is not None
            and (record.tenant, record.session, record.segment)
            == (open_at.tenant, open_at.session, open_at.segment)
            and record.frame - open_at.frame < OPEN_MAX_FRAMES
        )
        if open_at is not None and not is_near:
            events.append(_gap(open_at, last, now_utc_us))
        if not is_near:
            open_at = record
        last = record.frame
    if open_at is not None:
        events.append(_gap(open_at, last, now_utc_us))
    return events


def _gap(first: ScoreRecord, last_frame: int, now_utc_us: int) -> SessionEvent:
    body = Gap(
        first_frame=first.frame,
        last_frame=last_frame,
        segment=first.segment,
        media_time_us=max(-MEDIA_TIME_MAX_US, min(first.media_time_us, MEDIA_TIME_MAX_US)),
        reason=SkipReason.LOST.value,
    )
    return SessionEvent(
        tenant=str(first.tenant),
        session=str(first.session),
        kind="gap",
        epoch=0,
        at_utc_us=now_utc_us,
        body=msgspec.Raw(msgspec.json.encode(body)),
    )


def _split_withdrawals(events: Sequence[SessionEvent]) -> tuple[list[SessionEvent], list[SessionEvent]]:
    """Give one withdrawal of each session that has any, and every event that is none."""
    withdrawn = {(e.tenant, e.session): e for e in events if e.kind == "withdrawn"}
    return list(withdrawn.values()), [e for e in events if e.kind != "withdrawn"]


def _without_older_counters(events: Sequence[SessionEvent]) -> list[SessionEvent]:
    largest: dict[str, SessionEvent] = {}
    for event in events:
        if event.kind == "counters":
            known = largest.get(event.session)
            if known is None or _captured(event) >= _captured(known):
                largest[event.session] = event
    return [e for e in events if e.kind != "counters" or largest[e.session] is e]


def _captured(event: SessionEvent) -> int:
    try:
        return msgspec.json.decode(event.body, type=_Captured).captured
    except msgspec.MsgspecError:
        return -1
