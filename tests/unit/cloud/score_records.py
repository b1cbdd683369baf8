"""Score records for the tests of storage."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from hypothesis import strategies as st

from cloud.streams.entries import ScoreRecord, SessionEvent, encode_event, encode_scores
from cloud.streams.ports import Delivery, EntryKind
from cloud.streams.scoring import ScoringModel
from privacy.protocol.ids import SessionId, TenantId

TENANT = TenantId(UUID("11111111-1111-4111-8111-111111111111"))
SESSION = SessionId(UUID("22222222-2222-4222-8222-222222222222"))
START_UTC_US = 1_772_000_000_000_000
MODEL = ScoringModel(name="expression", version="9.1", variant="int8", sha256=bytes(range(32)))


def score(
    frame: int,
    *,
    tenant: TenantId = TENANT,
    session: SessionId = SESSION,
    face: int = 0,
    segment: int = 0,
    happy: int = 200,
    delay_us: int = 20_000,
    flags: int = 0,
) -> ScoreRecord:
    captured = START_UTC_US + frame * 33_333
    return ScoreRecord(
        tenant=tenant,
        session=session,
        face=face,
        segment=segment,
        frame=frame,
        media_time_us=frame * 33_333,
        captured_utc_us=captured,
        classified_utc_us=captured + delay_us,
        probabilities=bytes([happy, 255 - happy, 0, 0, 0, 0]),
        confidence=happy,
        attention=7,
        flags=flags,
    )


def scores_entry(
    records: Iterable[ScoreRecord], *, model: ScoringModel = MODEL, shard: int = 0, entry_id: str = "1-0"
) -> Delivery:
    payload = encode_scores(list(records), model=model)
    return Delivery(shard=shard, entry_id=entry_id, kind=EntryKind.SCORES, payload=payload)


def event_entry(
    kind: str,
    *,
    body: bytes = b"{}",
    epoch: int = 1,
    at_utc_us: int = START_UTC_US,
    tenant: TenantId = TENANT,
    session: SessionId = SESSION,
    shard: int = 0,
) -> Delivery:
    import msgspec

    event = SessionEvent(
        tenant=str(tenant),
        session=str(session),
        kind=kind,
        epoch=epoch,
        at_utc_us=at_utc_us,
        body=msgspec.Raw(body),
    )
    return Delivery(shard=shard, entry_id="2-0", kind=EntryKind.EVENT, payload=encode_event(event))


def uuids() -> st.SearchStrategy[UUID]:
    return st.sampled_from([UUID(int=1), UUID(int=2**64), UUID(int=2**127 + 3)])


@st.composite
def records(draw: st.DrawFn) -> ScoreRecord:
    """Any record the wire allows, over few tenants, sessions and frames so that they meet."""
    cuts = sorted(draw(st.lists(st.integers(0, 255), min_size=5, max_size=5)))
    parts = [b - a for a, b in zip([0, *cuts], [*cuts, 255], strict=True)]
    time = st.integers(-(2**62), 2**62)
    return ScoreRecord(
        tenant=TenantId(draw(uuids())),
        session=SessionId(draw(uuids())),
        face=draw(st.integers(0, 2)),
        segment=draw(st.sampled_from([0, 1, 65_535])),
        frame=draw(st.one_of(st.integers(0, 65), st.integers(2**32 - 40, 2**32 - 1))),
        media_time_us=draw(time),
        captured_utc_us=draw(time),
        classified_utc_us=draw(time),
        probabilities=bytes(parts),
        confidence=draw(st.integers(0, 255)),
        attention=draw(st.integers(0, 255)),
        flags=draw(st.integers(0, 31)),
    )
