"""SQL statements, each under its name in a file of `sql/`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import LiteralString, cast

from cloud.errors import StoreError

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def load_queries(file: str) -> Mapping[str, LiteralString]:
    """Read the statements of one file.

    Args:
        file: name without `.sql`.

    Returns:
        Statement by the name in the `-- name:` line above it.

    Raises:
        StoreError: a name occurs twice.
    """
    text = files("cloud.database").joinpath("sql", f"{file}.sql").read_text("utf-8")
    parts = _NAME.split(text)[1:]
    names, statements = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise StoreError(f"{file}.sql names a statement twice")
    return {
        name: cast(LiteralString, statement.strip())
        for name, statement in zip(names, statements, strict=True)
    }
