"""Data keys in a directory that ends with the test."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud.keys.custody import FileKeyCustody, prepare_keys


@pytest.fixture
def custody(tmp_path: Path) -> FileKeyCustody:
    """Give the custody of a new directory with a key-encryption key."""
    prepare_keys(tmp_path / "keys")
    return FileKeyCustody(tmp_path / "keys")


NO_KEYS = FileKeyCustody(Path("there-is-no-such-directory"))
"""For reading what was stored without any key."""
