"""Wrong credentials at the real API: 429 with Retry-After, by source and by key, and never for the right one.

Nor for anybody who withdraws or erases: no neighbour's failures keep a viewer's data where it is (rule F3).
"""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from cloud.api.routes import sessions
from cloud.consents.registry import Registry
from cloud.web.attempts import LAST_RESORT_WIDTH, PER_ADDRESS, PER_PREFIX
from tests.integration.api_client import ADMIN, Clock, Studio, Viewer
from tests.integration.test_api import client, clock, problem, revoker, settings, studio  # noqa: F401 - fixtures

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


def wrong_token(viewer: Viewer, number: int) -> str:
    """A token that is well formed, of a session that nobody has."""
    return f"{viewer.token.partition('.')[0]}.{number:032x}.{'s' * 43}"


async def present(client: httpx.AsyncClient, token: str, *, door: str = "/withdraw") -> httpx.Response:  # noqa: F811
    method = "POST" if door else "GET"
    headers = {"Authorization": f"Bearer {token}"}
    return await client.request(method, f"/v1/join{door}", headers=headers)


@pytest.mark.parametrize("guess", ["another session's", "this session's"])
async def test_a_neighbour_who_fails_keeps_nobody_from_withdrawing(
    client: httpx.AsyncClient,  # noqa: F811
    studio: Studio,  # noqa: F811
    guess: str,
) -> None:
    viewer = await studio.invite()
    for number in range(PER_ADDRESS.burst):
        token = wrong(viewer.token) if guess == "this session's" else wrong_token(viewer, number)
        await present(client, token, door="")
    assert (await viewer.ask("GET")).status_code == 429
    withdrawn = await viewer.ask("POST", "/withdraw")
    assert withdrawn.status_code == 200, withdrawn.text
    session = await studio.ask("GET", f"/v1/sessions/{viewer.session}")
    assert session.json()["state"] == "withdrawn"


async def test_a_neighbour_who_fails_keeps_nobody_from_erasing(
    client: httpx.AsyncClient,  # noqa: F811
    studio: Studio,  # noqa: F811
    clock: Clock,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sessions, "ERASURE_WAIT_S", 0.0)
    viewer = await studio.invite()
    made = await studio.make("/v1/keys", {"role": "compliance"})
    key: str = made["api_key"]
    clock.turn(hours=1)
    await statuses(client, [other_key(key, n) for n in range(PER_ADDRESS.burst)], source="127.0.0.1")
    await statuses(client, [wrong(key)] * PER_PREFIX.burst, source="203.0.113.9")
    assert (await ask(client, key)).status_code == 429
    erase = f"/v1/sessions/{viewer.session}"
    assert (await studio.ask("POST", f"{erase}/erase", key=wrong(key))).status_code == 401
    assert (await studio.ask("POST", f"{erase}/erase", key=key)).status_code == 202
    assert (await studio.ask("GET", f"{erase}/deletion-receipts", key=key)).status_code == 200


async def test_a_flood_of_wrong_withdrawals_is_looked_at_two_at_a_time_and_the_right_one_with_them(
    client: httpx.AsyncClient,  # noqa: F811
    studio: Studio,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    viewer = await studio.invite()
    for number in range(PER_ADDRESS.burst):
        await present(client, wrong_token(viewer, number))
    find, now, peak = Registry.find_session_by_join_token, 0, 0

    async def watched(*arguments: Any) -> Any:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        try:
            return await find(*arguments)
        finally:
            now -= 1

    monkeypatch.setattr(Registry, "find_session_by_join_token", watched)
    tokens = [wrong_token(viewer, number) for number in range(100)]
    answers = await asyncio.gather(*(present(client, token) for token in [*tokens, viewer.token]))
    assert [answer.status_code for answer in answers] == [401] * 100 + [200]
    assert peak == LAST_RESORT_WIDTH


async def test_wrong_withdrawals_count_like_any_others_and_never_for_longer(
    client: httpx.AsyncClient,  # noqa: F811
    studio: Studio,  # noqa: F811
    clock: Clock,  # noqa: F811
) -> None:
    viewer = await studio.invite()
    for number in range(3 * PER_ADDRESS.burst):
        assert (await present(client, wrong_token(viewer, number))).status_code == 401
    shut_out = await present(client, viewer.token, door="")
    assert (shut_out.status_code, shut_out.headers["retry-after"]) == (429, "3")
    clock.turn(seconds=PER_ADDRESS.every_s)
    assert (await present(client, viewer.token, door="")).status_code == 200
