"""Runs a long piece of work that SIGINT and SIGTERM end in order, so that no server is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from cloud.bootstrap import run_loop, stop_event

STOPPED = 130


def run_stoppable(work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run work to its end, or until a signal cancels it.

    Returns:
        0 when it ended by itself, 130 when it was stopped.
    """
    status = 0

    async def main() -> None:
        nonlocal status
        async with stop_event() as stop:
            task = asyncio.create_task(work())
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                status = STOPPED
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                return
            stopping.cancel()
            task.result()

    run_loop(main)
    return status
