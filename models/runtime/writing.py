"""Write figures where a command was told to."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import ModelsError


def check_place(path: Path) -> None:
    """Make the folder of a file to come, and refuse a place that cannot be written: before minutes of work, not after.

    Raises:
        ModelsError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelsError(f"{path} cannot be written: {error.strerror}") from error
    if path.is_dir():
        raise ModelsError(f"{path} cannot be written: it is a folder")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ModelsError(f"{path} cannot be written: permission denied")


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
