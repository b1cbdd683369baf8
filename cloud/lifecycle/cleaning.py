"""After erasures: key-encryption keys take turns, and the database's files lose what was deleted (rule R7).

Done at the latest `CLEAN_AFTER` plus `CLEAN_PERIOD` after a receipt, together for all erasures in between, and tried
again every `RETRY_PERIOD` while it fails.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from cloud.lifecycle import metrics as metrics
from cloud.lifecycle.clock_guard import is_time

CLEAN_AFTER = timedelta(minutes=1)
CLEAN_PERIOD = timedelta(minutes=5)
RETRY_PERIOD = timedelta(seconds=30)
TOMBSTONE_AGE = timedelta(days=1)
"""For this long a session whose key was destroyed gets none again: as long as its revocation is remembered."""

_log = structlog.get_logger(__name__)


class RotatingKeys(Protocol):
    """Custody whose key-encryption keys take turns; both methods raise `CustodyError`."""

    def rotate(self) -> int:
        """Wrap every key anew and destroy the old key-encryption keys; returns how many keys there are."""
        ...

    def forget_destroyed(self, *, before_s: float) -> int:
        """Remove what tells of keys that were destroyed before a time (POSIX seconds)."""
        ...


class Remains(Protocol):
    """What a store's files keep of deleted rows."""

    async def clean(self) -> bool:
        """Clean them; False where the log could not be seen to. Raises `StoreError`."""
        ...


class Cleaner:
    """Remembers that something was erased, and cleans after it."""

    def __init__(self, keys: RotatingKeys, remains: Remains) -> None:
        self._keys = keys
        self._remains = remains
        self._erased_at: datetime | None = None
        self._cleaned_at: datetime | None = None
        self._tried_at: datetime | None = None
        self._has_complained = False

    def note_erasure(self, now: datetime) -> None:
        """Remember that something was erased."""
        self._erased_at = self._erased_at or now

    async def clean(self, now: datetime) -> None:
        """Clean if it is time to.

        Raises:
            CustodyError: the keys cannot be reached.
            StoreError: the database cannot; it is tried again.
        """
        if self._erased_at is None or not is_time(now, last=self._erased_at, period=CLEAN_AFTER):
            return
        if not is_time(now, last=self._cleaned_at, period=CLEAN_PERIOD):
            return
        if not is_time(now, last=self._tried_at, period=RETRY_PERIOD):
            return
        self._tried_at = now
        erased_at, self._erased_at = self._erased_at, None
        try:
            await self._do(now)
        except BaseException:
            self._erased_at = erased_at
            raise
        self._cleaned_at = now
        metrics.CLEANED.inc()

    async def _do(self, now: datetime) -> None:
        await asyncio.to_thread(self._keys.rotate)
        await asyncio.to_thread(self._keys.forget_destroyed, before_s=(now - TOMBSTONE_AGE).timestamp())
        if not await self._remains.clean() and not self._has_complained:
            _log.warning("the role may not see to the database's log: old segments go in their own time")
            self._has_complained = True
