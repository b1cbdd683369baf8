"""How this project talks to Redis: one client per process, errors translated, nothing retried for long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from cloud.errors import StreamError

SOCKET_TIMEOUT_S = 5.0
"""Longer than any blocking read; a server silent for this long counts as gone."""

HEALTH_TIMEOUT_S = 2.0
HEALTH_KEY = "readiness"
HEALTH_KEY_MS = 1_000

BLOCK_MAX_MS = 2_000
"""A blocking read waits at most this long, well under the socket's timeout."""


def connect(url: str) -> Redis:
    """Make a client for `redis://`, `rediss://` or `unix://`; connects on first use.

    A broken connection is tried once more at once; longer waits are the callers' loops' decision.
    """
    return Redis.from_url(
        url,
        protocol=2,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=2.0,
        retry=Retry(NoBackoff(), 1),
        max_connections=64,
    )


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn what the client raises into `StreamError`; the cause is dropped, it may quote a payload."""
    try:
        yield
    except RedisError as error:
        raise StreamError(f"Redis refuses or is gone: {type(error).__name__}") from None
    except OSError as error:
        raise StreamError(f"Redis cannot be reached: {error.strerror or type(error).__name__}") from None


async def find_fault(redis: Redis) -> str:
    """Write a little that ends by itself; give what is wrong, "" for nothing.

    A server that is full, or a replica, answers a ping and takes no entry.
    """
    try:
        async with asyncio.timeout(HEALTH_TIMEOUT_S):
            with translated():
                await redis.set(HEALTH_KEY, b"", px=HEALTH_KEY_MS)
    except TimeoutError:
        return f"does not write within {HEALTH_TIMEOUT_S:.0f} s"
    except StreamError as error:
        return str(error)
    return ""


def slot_key(prefix: str, tag: object, *rest: object) -> str:
    """Name a key so that all keys of one `tag` share a Redis Cluster slot: `prefix:{tag}:rest`."""
    return ":".join((prefix, f"{{{tag}}}", *(str(part) for part in rest)))
