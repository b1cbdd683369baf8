"""Telling the street that a session is over, also when Redis is away or full for a while.

While Redis is away no crop can travel, and what is still owed is told as soon as it is back. While it is full, it still
carries the news; who heard it remembers it, and so do this process and the database.
"""

from __future__ import annotations

import asyncio

import structlog

from cloud.errors import StreamError, UnmarkedError
from cloud.streams.ports import Revocations
from privacy.protocol.ids import SessionId

RETRY_S = 0.5
OWED_MAX = 10_000

log = structlog.get_logger(__name__)


class Revoker:
    """Publishes revocations at once, or later if it must."""

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations
        self._owed: dict[SessionId, None] = {}
        self._owes = asyncio.Event()

    async def revoke(self, session: SessionId) -> bool:
        """Tell everybody that a session is over; False if it can only be told later.

        What Redis cannot remember is told again and again, so that a listener that begins later hears of it too.
        """
        try:
            await self._revocations.revoke(session)
        except StreamError as error:
            if len(self._owed) < OWED_MAX:
                self._owed[session] = None
            self._owes.set()
            log.warning("a revocation is not remembered yet", error=type(error).__name__)
            return isinstance(error, UnmarkedError)
        self._owed.pop(session, None)
        return True

    async def put_in_force(self, session: SessionId, *, receipt_sha256: str, ordinal: int) -> bool:
        """Say which receipt of a session is in force; False where a later one is. Raises `StreamError`."""
        return await self._revocations.put_in_force(session, receipt_sha256=receipt_sha256, ordinal=ordinal)

    async def is_revoked(self, session: SessionId) -> bool:
        """Say whether a session was revoked within the last day; raises `StreamError`."""
        return session in self._owed or await self._revocations.is_revoked(session)

    async def keep_telling(self) -> None:
        """Publish what is owed, until cancelled."""
        while True:
            await self._owes.wait()
            for session in list(self._owed):
                await self.revoke(session)
            if self._owed:
                await asyncio.sleep(RETRY_S)
            else:
                self._owes.clear()
