"""Composition root: which module runs as which process, and how a process starts and stops.

Every process holds faces, keys or ciphertext, so each forbids core dumps of itself before it reads any.
A process stops when it gets SIGTERM or SIGINT, or when the supervisor that started it is gone.
Correctness never depends on a clean stop; it only saves its successor a little waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol, cast

import structlog

from cloud.config import Role, Settings
from cloud.hardening import forbid_core_dumps

SUPERVISED = "COUNTENANCE_SUPERVISED"
"""Set in the environment of a supervisor's children: they stop when their parent is gone."""

_PARENT_CHECK_S = 1.0

PROCESS_MODULES: Mapping[Role, str] = {
    Role.API: "cloud.api.server",
    Role.INGEST: "cloud.ingest.server",
    Role.CLASSIFY: "cloud.classify.worker",
    Role.AGGREGATE: "cloud.aggregate.worker",
    Role.LIFECYCLE: "cloud.lifecycle.worker",
}
"""Each has `async def run(settings, *, stop)`."""


class RunProcess(Protocol):
    """What a process module offers."""

    def __call__(self, settings: Settings, *, stop: asyncio.Event) -> Awaitable[None]:
        """Work until `stop` is set."""
        ...


def run_process(settings: Settings) -> None:
    """Run one process until it is told to stop.

    Raises:
        CloudError: it cannot start.
    """
    from cloud.observability import configure_logging

    configure_logging(settings)
    if not forbid_core_dumps():
        structlog.get_logger(__name__).warning("this system does not forbid core dumps altogether")
    module = importlib.import_module(PROCESS_MODULES[settings.role])
    run = cast(RunProcess, module.run)

    async def main() -> None:
        async with stop_event() as stop:
            await run(settings, stop=stop)

    run_loop(main)


def run_loop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine on uvloop, or on asyncio's own loop where there is none."""
    if sys.platform == "win32":
        asyncio.run(main())
    else:
        import uvloop

        uvloop.run(main())


@contextlib.asynccontextmanager
async def stop_event() -> AsyncIterator[asyncio.Event]:
    """Give an event that SIGTERM, SIGINT or the loss of a supervisor sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    handled = [signal.SIGINT, signal.SIGTERM]
    for number in handled:
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    watch = asyncio.create_task(_watch_parent(stop)) if os.environ.get(SUPERVISED) else None
    try:
        yield stop
    finally:
        if watch is not None:
            watch.cancel()
        for number in handled:
            with contextlib.suppress(NotImplementedError):
                loop.remove_signal_handler(number)


async def _watch_parent(stop: asyncio.Event) -> None:
    parent = os.getppid()
    while not stop.is_set():
        if os.getppid() != parent:
            stop.set()
        await asyncio.sleep(_PARENT_CHECK_S)
