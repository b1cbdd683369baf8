"""Reading rows as records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from psycopg.rows import dict_row

from cloud.database.connection import Connection
from cloud.sessions.records import SessionRecord, SessionState

Record = TypeVar("Record")


def as_record(kind: type[Record], row: Mapping[str, Any]) -> Record:
    """Build a record from a row whose columns have its fields' names; arrays become tuples."""
    values: dict[str, Any] = {}
    for item in fields(kind):  # type: ignore[arg-type]
        value = row[item.name]
        values[item.name] = tuple(value) if isinstance(value, list) else value
    if kind is SessionRecord:
        values["state"] = SessionState(values["state"])
    return kind(**values)


async def fetch_records(
    connection: Connection, kind: type[Record], query: Any, parameters: Mapping[str, Any]
) -> list[Record]:
    """Run a query and read every row as a record."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(query, parameters)
        return [as_record(kind, row) for row in await cursor.fetchall()]
