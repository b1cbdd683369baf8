"""A ticket comes with STUN and TURN servers, in the form that the agent reads and hands to its connection."""

from __future__ import annotations

import base64
import hmac
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from cloud.config import Role, Settings, load_settings
from edge_agent import app
from edge_agent.consent.api_client import IceServer, Ticket
from privacy.governance.receipts import receipt_digest
from privacy.protocol.messages import MINOR
from tests.fixtures_postgres import Database
from tests.integration.api_client import Studio, state_with_admin_token
from tests.integration.test_api import client, clock, revoker, studio  # noqa: F401 - fixtures

SECRET = "a secret of enough characters"
URLS = ["stun:stun.example:3478", "turn:turn.example:3478?transport=udp"]


@pytest.fixture
def settings(database: Database, redis_url: str, tmp_path) -> Settings:
    return load_settings(
        Role.API,
        environ={"COUNTENANCE_ICE_URLS": ",".join(URLS), "COUNTENANCE_TURN_SECRET": SECRET},
        flags={
            "STATE_DIR": str(state_with_admin_token(tmp_path)),
            "DATABASE_URL": database.app_url,
            "REDIS_URL": redis_url,
        },
    )


async def test_every_ticket_has_servers_with_a_credential_of_its_own(studio: Studio) -> None:  # noqa: F811
    viewer = await studio.invite()
    receipt = (await viewer.consent())["receipt"]
    tickets = []
    for _ in range(2):
        body = {"receipt_sha256": receipt_digest(receipt).hex()}
        answer = await viewer.ask("POST", "/ticket", body)
        assert answer.status_code == 201, answer.text
        assert SECRET not in answer.text
        tickets.append(msgspec.json.decode(answer.content, type=Ticket))
        assert tickets[-1].protocol_minor == MINOR
    stun, turn = tickets[0].ice_servers
    assert [stun, turn.url] == [IceServer(url=URLS[0]), URLS[1]]
    mac = hmac.digest(SECRET.encode(), turn.username.encode(), "sha1")
    assert turn.credential == base64.b64encode(mac).decode()
    assert viewer.session not in turn.username
    assert tickets[1].ice_servers[1].username != turn.username


@pytest.mark.parametrize("url", ["https://x", "turn:" + "x" * 300, "stun:", "stun:[::1]:3478"])
def test_an_agent_takes_no_server_of_another_kind(url: str) -> None:
    answer = {"ticket": "t", "ingest_url": "ws://x", "ice_servers": [{"url": url}]}
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(answer), type=Ticket)


async def test_the_agent_connects_by_its_own_servers_and_those_of_the_latest_ticket(monkeypatch) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(app, "AiortcPeer", lambda **options: made.append(options))
    granted = IceServer(url=URLS[1], username="u", credential="c")
    tickets = [
        Ticket(ticket="1", ingest_url="ws://x", ice_servers=(granted,)),
        Ticket(ticket="2", ingest_url="ws://x"),
    ]
    api: Any = SimpleNamespace(ticket=lambda **_: tickets.pop(0))
    keys: Any = SimpleNamespace(renew=_nothing)
    run: Any = SimpleNamespace(ice_servers=("stun:own.example",))
    factories = app._factories(run, api, SimpleNamespace(receipt="r"), keys)
    for _ in range(2):
        await factories.ticket()
        factories.peer(lambda _: None, lambda: None)
    assert [options["ice_servers"] for options in made] == [
        ["stun:own.example", granted],
        ["stun:own.example"],
    ]


@pytest.mark.parametrize(("platform", "offered"), [(None, 0), (0, 0), (1, 1), (MINOR + 1, MINOR)])
async def test_the_agent_offers_no_minor_version_that_the_platform_did_not_name(
    platform: int | None, offered: int
) -> None:
    answer = {"ticket": "1", "ingest_url": "ws://x"} | (
        {} if platform is None else {"protocol_minor": platform}
    )
    ticket = msgspec.json.decode(msgspec.json.encode(answer), type=Ticket)
    keys: Any = SimpleNamespace(renew=_nothing)
    run: Any = SimpleNamespace(ice_servers=())
    factories = app._factories(
        run, SimpleNamespace(ticket=lambda **_: ticket), SimpleNamespace(receipt="r"), keys
    )
    await factories.ticket()
    assert factories.minor() == offered


async def _nothing() -> None:
    """Stand in for the renewal of pool keys."""
