"""Wrong credentials at the real API: 429 with Retry-After, by source and by key, and never for the right one."""

from __future__ import annotations

import httpx
import pytest

from cloud.api.attempts import PER_ADDRESS, PER_PREFIX
from tests.integration.api_client import ADMIN, Clock, Studio
from tests.integration.test_api import client, clock, problem, settings, studio  # noqa: F401 - fixtures

STUDIES = "/v1/studies"


def wrong(key: str) -> str:
    return key[:-1] + ("A" if key[-1] != "A" else "B")


def other_key(key: str, number: int) -> str:
    _, tenant, _, secret = key.split("_", 3)
    return f"cnt_{tenant}_{number:032x}_{secret}"


async def ask(client: httpx.AsyncClient, key: str, *, source: str = "127.0.0.1") -> httpx.Response:  # noqa: F811
    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    transport.client = (source, 1)
    return await client.get(STUDIES, headers={"X-API-Key": key})


async def statuses(client: httpx.AsyncClient, keys: list[str], *, source: str) -> list[int]:  # noqa: F811
    return [(await ask(client, key, source=source)).status_code for key in keys]


async def test_guesses_at_one_key_are_shut_out_and_its_studio_is_not(
    client: httpx.AsyncClient,  # noqa: F811
    studio: Studio,  # noqa: F811
    clock: Clock,  # noqa: F811
) -> None:
    assert (await ask(client, studio.key)).status_code != 401
    guesses = [wrong(studio.key)] * PER_PREFIX.burst
    assert await statuses(client, guesses, source="203.0.113.9") == [401] * PER_PREFIX.burst
    shut_out = await ask(client, wrong(studio.key), source="203.0.113.10")
    assert (shut_out.status_code, problem(shut_out)) == (429, "too-many-failures")
    assert shut_out.headers["retry-after"] == "6"
    assert (await ask(client, studio.key, source="203.0.113.10")).status_code == 429, "it was not looked at"
    assert (await ask(client, studio.key)).status_code not in (401, 429), "the studio's own place"
    clock.turn(seconds=6)
    assert (await ask(client, wrong(studio.key), source="203.0.113.10")).status_code == 401


async def test_a_source_that_tries_many_keys_is_shut_out_and_others_are_not(
    client: httpx.AsyncClient,  # noqa: F811
    studio: Studio,  # noqa: F811
) -> None:
    guesses = [other_key(studio.key, number) for number in range(PER_ADDRESS.burst)]
    assert await statuses(client, guesses, source="203.0.113.9") == [401] * PER_ADDRESS.burst
    shut_out = await ask(client, other_key(studio.key, 99), source="203.0.113.9")
    assert (shut_out.status_code, shut_out.headers["retry-after"]) == (429, "3")
    assert (await ask(client, other_key(studio.key, 99), source="203.0.113.8")).status_code == 401


@pytest.mark.parametrize("header", ["X-Admin-Token", "Authorization"])
async def test_admin_and_join_tokens_are_limited_too_and_a_missing_one_is_no_guess(
    client: httpx.AsyncClient,  # noqa: F811
    header: str,
) -> None:
    async def attempt(value: str) -> int:
        headers = {header: value} if value else {}
        if header == "Authorization":
            return (await client.get("/v1/join", headers=headers)).status_code
        return (await client.post("/v1/studios", json={"name": "x"}, headers=headers)).status_code

    assert [await attempt("") for _ in range(2 * PER_ADDRESS.burst)] == [401] * 2 * PER_ADDRESS.burst
    token = f"Bearer {1:032x}.{2:032x}.{'s' * 43}" if header == "Authorization" else "wrong"
    assert [await attempt(token) for _ in range(PER_PREFIX.burst)] == [401] * PER_PREFIX.burst
    assert await attempt(token) == 429
    if header == "X-Admin-Token":
        assert await attempt(ADMIN) == 429, "it was not looked at"
