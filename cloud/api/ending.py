"""Ending sessions: the street is told and the database written side by side, neither waiting for the other.

Rule C5: whatever one of the stores does, the other is used at once. What is not done when the answer is due goes on here
until it is; where somebody holds the session's row, the database itself keeps the ending queued
(`cloud.consents.endings`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from cloud.api.revoking import Revoker
from cloud.errors import CloudError, StoreError
from cloud.sessions.records import ErasureJob
from privacy.protocol.ids import SessionId

ANSWER_WITHIN_S = 0.8
"""Whoever ends a session is answered within a second, also when a store does not answer."""

RETRY_S = 0.5
RETRY_MAX_S = 8.0
CLOSE_WITHIN_S = 3.0

Record = Callable[[], Awaitable[ErasureJob | None]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How far an ending has come.

    Attributes:
        is_told: every listener on the street was told.
        is_recorded: the database has it, in the session's row or as a queued deletion.
        waiting: the queued deletion; None where it was carried out already, or is not recorded yet.
    """

    is_told: bool
    is_recorded: bool
    waiting: ErasureJob | None = None

    @property
    def is_settled(self) -> bool:
        """Whether all but the deletion is done."""
        return self.is_told and self.is_recorded and (self.waiting is None or self.waiting.owed is None)


class Ender:
    """Ends sessions, and keeps at what could not be done at once until it is."""

    def __init__(self, revoker: Revoker) -> None:
        self._revoker = revoker
        self._running: dict[tuple[str, SessionId], asyncio.Task[Any]] = {}

    async def end(self, session: SessionId, kind: str, record: Record) -> Ended:
        """End a session; the answer comes within `ANSWER_WITHIN_S`.

        Args:
            session: which.
            kind: of ending; one that is still being recorded is not begun twice.
            record: writes the ending to the database; may be called again.

        Raises:
            NotFoundError: there is no such session.
        """
        telling = self._begin(("tell", session), lambda: self._revoker.revoke(session))
        recording = self._begin((kind, session), lambda: _keep_recording(record))
        await asyncio.wait({telling, recording}, timeout=ANSWER_WITHIN_S)
        return Ended(
            is_told=telling.done() and telling.result(),
            is_recorded=recording.done(),
            waiting=recording.result() if recording.done() else None,
        )

    async def close(self) -> None:
        """Give what is under way a last chance, then let it go."""
        if self._running:
            await asyncio.wait(set(self._running.values()), timeout=CLOSE_WITHIN_S)
        for task in list(self._running.values()):
            log.error("an ending was not recorded before the process ended")
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, CloudError):
                await task

    def _begin(
        self, key: tuple[str, SessionId], work: Callable[[], Coroutine[Any, Any, Any]]
    ) -> asyncio.Task[Any]:
        running = self._running.get(key)
        if running is None or running.done():
            running = asyncio.create_task(work())
            self._running[key] = running
            running.add_done_callback(lambda task: self._ended(key, task))
        return running

    def _ended(self, key: tuple[str, SessionId], task: asyncio.Task[Any]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled() and task.exception() is not None:
            log.warning("an ending was refused", error=type(task.exception()).__name__)


async def _keep_recording(record: Record) -> ErasureJob | None:
    wait_s = RETRY_S
    while True:
        try:
            return await record()
        except StoreError as error:
            log.warning("an ending could not be recorded yet", error=type(error).__name__)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RETRY_MAX_S)
