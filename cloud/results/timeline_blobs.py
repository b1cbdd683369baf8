"""Timelines as bytes: encoded, sealed under a session's data key, and opened again (rule L2)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud.errors import CustodyError
from cloud.results.frames import FRAME_DTYPE
from privacy.crypto.at_rest import open_at_rest, seal_at_rest
from privacy.errors import OpeningError
from privacy.protocol.ids import SessionId, TenantId


class Level(StrEnum):
    """How fine a sealed timeline is."""

    FRAME = "frame"
    SECOND = "second"


SECOND_DTYPE = np.dtype(
    [
        ("second", "<i4"),
        ("frames", "<u2"),
        ("expected", "<u2"),
        ("is_valid", "u1"),
        ("probabilities", "<f4", (6,)),
        ("confidence", "<f4"),
        ("attention", "<f4"),
    ]
)
"""One second of media time; values are NaN where the second is not valid."""

_VERSION = b"\x01"
_DTYPES = {Level.FRAME: FRAME_DTYPE, Level.SECOND: SECOND_DTYPE}


def seal_timeline(
    key: bytes, rows: NDArray[Any], *, tenant: TenantId, session: SessionId, level: Level
) -> bytes:
    """Seal a timeline.

    Args:
        key: the session's data key, 32 bytes.
        rows: array of `FRAME_DTYPE` or `SECOND_DTYPE`, as `level` says.
        tenant: whose it is; bound to the blob, as are session and level.
        session: which one.
        level: how fine.
    """
    if rows.dtype != _DTYPES[level]:
        raise ValueError(f"rows of a {level} timeline have another layout")
    return seal_at_rest(key, _VERSION + rows.tobytes(), _aad(tenant, session, level))


def open_timeline(
    key: bytes, blob: bytes, *, tenant: TenantId, session: SessionId, level: Level
) -> NDArray[Any]:
    """Open a timeline.

    Raises:
        CustodyError: another key, another session, or damaged.
    """
    try:
        plain = open_at_rest(key, blob, _aad(tenant, session, level))
    except OpeningError:
        raise CustodyError("the sealed timeline does not open") from None
    if plain[:1] != _VERSION or (len(plain) - 1) % _DTYPES[level].itemsize:
        raise CustodyError("the sealed timeline has another layout")
    return np.frombuffer(plain, dtype=_DTYPES[level], offset=1)


def _aad(tenant: TenantId, session: SessionId, level: Level) -> bytes:
    return b"timeline\0" + tenant.bytes + session.bytes + level.encode()
