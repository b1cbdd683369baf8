"""Write figures where a command was told to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import ModelsError


def write_figures(path: Path, body: Mapping[str, Any]) -> None:
    """Write a table as JSON, and its folder if there is none.

    Raises:
        ModelsError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(body, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise ModelsError(f"{path} cannot be written: {error.strerror}") from error
