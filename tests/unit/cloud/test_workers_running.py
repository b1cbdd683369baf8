import asyncio

import pytest

from cloud import running
from cloud.running import run_until


async def forever() -> None:
    await asyncio.Event().wait()


async def test_loops_end_when_the_worker_is_told_to_stop() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(0.01, stop.set)
    async with asyncio.timeout(5):
        await run_until(stop, forever(), forever())


async def test_one_loop_that_fails_ends_the_worker_with_its_error() -> None:
    async def fails() -> None:
        raise LookupError("lost")

    with pytest.raises(LookupError):
        await run_until(asyncio.Event(), forever(), fails())


async def test_a_loop_that_swallows_a_cancellation_is_cancelled_again(monkeypatch) -> None:
    monkeypatch.setattr(running, "CANCEL_AGAIN_S", 0.01)
    swallowed = []

    async def stubborn() -> None:
        while len(swallowed) < 2:
            try:
                await forever()
            except asyncio.CancelledError:
                swallowed.append(1)

    stop = asyncio.Event()
    stop.set()
    async with asyncio.timeout(5):
        await run_until(stop, stubborn(), forever())
    assert len(swallowed) == 2
