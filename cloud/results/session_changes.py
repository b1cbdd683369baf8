"""What agents and ingest report about sessions, written with one statement a kind however many sessions there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, TypeVar

from psycopg.types.json import Jsonb

from cloud.consents.endings import withdraw_within
from cloud.database.connection import Connection
from cloud.database.queries import load_queries
from cloud.errors import NotFoundError
from cloud.results.changes import (
    Connected,
    Counted,
    Ended,
    EndKind,
    FramesSkipped,
    SegmentBegan,
    SessionChange,
)
from privacy.protocol.ids import SessionId, TenantId

_Q = load_queries("results")
_SEGMENT = ("segment", "media_time_ms", "monotonic_us", "rate_permille")
_GAP = ("first_frame", "last_frame", "segment", "media_time_ms", "reason")

C = TypeVar("C")


async def apply_changes(
    connection: Connection, tenant: TenantId, changes: Sequence[SessionChange], *, now: datetime
) -> None:
    """Write a batch's changes; writing them again changes nothing.

    Sessions begin and end first and in order, so that nothing is added to one that is withdrawn in the same batch.
    Segments, gaps and totals do not depend on each other's order.
    """
    for change in changes:
        if isinstance(change.change, Connected | Ended):
            await _apply_state(connection, change.session, tenant, change.change, now)
    await _insert(connection, "insert_segments", tenant, _of(changes, SegmentBegan), _SEGMENT)
    await _insert(connection, "insert_gaps", tenant, _of(changes, FramesSkipped), _GAP)
    await _raise_counters(connection, tenant, _of(changes, Counted), now)


async def _apply_state(
    connection: Connection, session: SessionId, tenant: TenantId, change: Connected | Ended, now: datetime
) -> None:
    values: dict[str, Any] = {
        "tenant": tenant,
        "session": session,
        "epoch": change.epoch,
        "at": _utc(change.at_utc_us, now),
    }
    if isinstance(change, Connected):
        await connection.execute(_Q["connect"], values | {"now": now})
    elif change.kind is EndKind.WITHDRAWN:
        try:
            await withdraw_within(connection, tenant, session, actor="viewer", now=now)
        except NotFoundError:
            return
    else:
        await connection.execute(_Q["close"], values | {"kind": str(change.kind)})


async def _insert(
    connection: Connection,
    query: str,
    tenant: TenantId,
    rows: Sequence[tuple[SessionId, object]],
    names: Iterable[str],
) -> None:
    if rows:
        columns = {name: [attrgetter(name)(value) for _, value in rows] for name in names}
        sessions = [session for session, _ in rows]
        await connection.execute(_Q[query], {"tenant": tenant, "sessions": sessions, **columns})


async def _raise_counters(
    connection: Connection, tenant: TenantId, rows: Sequence[tuple[SessionId, Counted]], now: datetime
) -> None:
    latest: dict[SessionId, Counted] = {}
    for session, counted in rows:
        known = latest.get(session)
        if known is None or (counted.captured, counted.sent) >= (known.captured, known.sent):
            latest[session] = counted
    if not latest:
        return
    values = {
        "tenant": tenant,
        "now": now,
        "sessions": list(latest),
        "captured": [counted.captured for counted in latest.values()],
        "with_face": [counted.with_face for counted in latest.values()],
        "sent": [counted.sent for counted in latest.values()],
        "skipped": [Jsonb(dict(counted.skipped)) for counted in latest.values()],
    }
    await connection.execute(_Q["raise_counters"], values)


def _of(changes: Sequence[SessionChange], kind: type[C]) -> list[tuple[SessionId, C]]:
    return [(change.session, change.change) for change in changes if isinstance(change.change, kind)]


def _utc(at_utc_us: int, now: datetime) -> datetime:
    """Read a time of an event; one that lies in the future, or is no time at all, becomes `now`."""
    try:
        at = datetime.fromtimestamp(at_utc_us / 1_000_000, UTC)
    except (OverflowError, OSError, ValueError):
        return now
    return min(at, now)
