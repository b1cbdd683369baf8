"""Runs a worker's loops until it is told to stop or one of them fails."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

CANCEL_AGAIN_S = 0.5


async def run_until(stop: asyncio.Event, *loops: Coroutine[Any, Any, None]) -> None:
    """Run loops side by side; cancel all once `stop` is set or one of them ends.

    Raises:
        BaseException: what the first loop to fail raised.
    """
    tasks: list[asyncio.Task[Any]] = [asyncio.create_task(loop) for loop in loops]
    stopping: asyncio.Task[Any] = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        await _end([*tasks, stopping])


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they are done: a library that meets a timeout may swallow a cancellation."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        done, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
        for task in done:
            if not task.cancelled():
                # the first failure is reported; asking here keeps a second one from being shouted about
                task.exception()
