"""Serving an ASGI application in the running loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp

from cloud.config import Bind
from cloud.errors import ConfigError
from cloud.web.connections import ConnectionLimits, ConnectionTable
from cloud.web.guarded_http import GuardedConfig, Patience

GRACE_S = 3
HEAD_MAX_BYTES = 16_384
BACKLOG = 2_048
"""Connections that the system holds until the loop comes round to them."""

DESCRIPTORS_WANTED = 4_096
_DESCRIPTORS_FOR_OTHERS = 256


@contextlib.asynccontextmanager
async def serve_app(
    app: ASGIApp,
    bind: Bind,
    *,
    name: str,
    limits: ConnectionLimits | None = None,
    patience: Patience | None = None,
) -> AsyncIterator[Bind]:
    """Serve an ASGI application in this loop; leaves signals to the caller.

    Args:
        app: the application; its lifespan is the caller's business. `scope["state"]["is_reserved"]` says whether the
            connection has a reserved place (rule H3).
        bind: where to listen.
        name: the setting that the address came from, for the error.
        limits: how many connections; as many as the process can hold at most.
        patience: how long a peer may take.

    Raises:
        ConfigError: the address cannot be bound.
    """
    listener = _listen(bind, name=name)
    config = GuardedConfig(
        app,
        table=ConnectionTable(_affordable(limits or ConnectionLimits(), descriptors=_raise_descriptors())),
        patience=patience or Patience(),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=HEAD_MAX_BYTES,
        backlog=BACKLOG,
        ws="none",
    )
    server = _QuietServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield Bind(host=bind.host, port=listener.getsockname()[1])
    finally:
        server.should_exit = True
        await serving
        listener.close()


class _QuietServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: the process's own stop event decides."""
        yield


def _raise_descriptors() -> int:
    """Let this process open as many files as it may, up to what is of use; give how many that is."""
    if sys.platform == "win32":
        return DESCRIPTORS_WANTED
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= DESCRIPTORS_WANTED:
        return DESCRIPTORS_WANTED
    wanted = DESCRIPTORS_WANTED if hard == unlimited else min(hard, DESCRIPTORS_WANTED)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return soft
    return wanted


def _affordable(limits: ConnectionLimits, *, descriptors: int) -> ConnectionLimits:
    """Lower the limits where the process cannot open so many files: then accepting itself would fail."""
    places = limits.total + limits.reserved
    free = max(16, descriptors - min(_DESCRIPTORS_FOR_OTHERS, descriptors // 2))
    if places <= free:
        return limits
    reserved = max(4, limits.reserved * free // places)
    total = free - reserved
    return ConnectionLimits(total=total, per_source=min(limits.per_source, total), reserved=reserved)


def _listen(bind: Bind, *, name: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((bind.host, bind.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"{name} {bind} cannot be listened on ({error.strerror}): free it or choose another port"
        ) from None
    listener.setblocking(False)
    return listener
