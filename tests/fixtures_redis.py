"""A real Redis for the tests: one embedded server per test process, emptied for each test."""

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis

from cloud.embedded import redis as embedded
from cloud.streams.redis_connection import connect


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.EmbeddedRedis]:
    server = embedded.start(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
async def redis_client(redis_server: embedded.EmbeddedRedis) -> AsyncIterator[Redis]:
    client = connect(redis_server.url)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def redis_url(redis_server: embedded.EmbeddedRedis, redis_client: Redis) -> str:
    """The address of the emptied server."""
    return redis_server.url
