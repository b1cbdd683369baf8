"""Runs a worker's loops until it is told to stop or one of them fails."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


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
        for task in (*tasks, stopping):
            task.cancel()
        await asyncio.gather(*tasks, stopping, return_exceptions=True)
