"""Agent and ingest ask a TURN server for a relay with the credentials of the ticket.

The server knows the shared secret and nothing else, as coturn does with `use-auth-secret`; it is small, but it checks the
integrity of what it is sent the way RFC 8656 says, with aioice's own parser.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aioice import stun
from aioice.turn import make_integrity_key

from cloud.ingest.aiortc_peer import AiortcPeerEngine
from cloud.signaling.ice_servers import CREDENTIAL_LIFETIME_S, ice_servers
from edge_agent.consent.api_client import IceServer
from edge_agent.session.aiortc_peer import AiortcPeer
from tests.integration.test_aiortc_peer import Sink

SECRET = "a secret of enough characters"
REALM, NONCE = "relay.example", b"0123456789abcdef"
RELAYED = ("192.0.2.77", 40_000)


@dataclass
class TurnServer(asyncio.DatagramProtocol):
    """Grants allocations to whoever proves the REST scheme's password; relays nothing."""

    granted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        request = stun.parse_message(data)
        if request.message_method == stun.Method.ALLOCATE and "USERNAME" not in request.attributes:
            self._answer(request, addr, stun.Class.ERROR, {"ERROR-CODE": (401, "Unauthorized")})
            return
        username = request.attributes["USERNAME"]
        password = base64.b64encode(hmac.digest(SECRET.encode(), username.encode(), "sha1")).decode()
        key = make_integrity_key(username, REALM, password)
        is_current = time.time() < int(username.partition(":")[0]) <= time.time() + CREDENTIAL_LIFETIME_S
        if not is_current or not request.check_message_integrity(key):
            self.refused.append(username)
            self._answer(request, addr, stun.Class.ERROR, {"ERROR-CODE": (403, "Forbidden")})
            return
        if request.message_method == stun.Method.ALLOCATE:
            self.granted.append(username)
        self._answer(
            request,
            addr,
            stun.Class.RESPONSE,
            {"XOR-RELAYED-ADDRESS": RELAYED, "XOR-MAPPED-ADDRESS": addr, "LIFETIME": 600},
            key=key,
        )

    def _answer(self, request, addr, kind, attributes, *, key: bytes | None = None) -> None:
        answer = stun.Message(request.message_method, kind, request.transaction_id, attributes)
        if kind is stun.Class.ERROR:
            answer.attributes |= {"REALM": REALM, "NONCE": NONCE}
        if key is not None:
            answer.add_message_integrity(key)
        self.transport.sendto(bytes(answer), addr)


@pytest.fixture
async def turn() -> AsyncIterator[tuple[TurnServer, str]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(TurnServer, local_addr=("127.0.0.1", 0))
    yield server, f"turn:127.0.0.1:{transport.get_extra_info('sockname')[1]}?transport=udp"
    transport.close()


def servers(url: str, *, secret: str = SECRET, nonce: str = "n1"):
    return ice_servers([url], secret, now_s=int(time.time()), nonce=nonce)


def ticket_servers(url: str, **options: str) -> list[IceServer]:
    return [
        IceServer(url=server.url, username=server.username, credential=server.credential)
        for server in servers(url, **options)
    ]


async def test_both_ends_gather_a_relay_with_credentials_that_only_the_secret_can_make(
    turn: tuple[TurnServer, str],
) -> None:
    server, url = turn
    agent = AiortcPeer(
        ice_servers=ticket_servers(url, nonce="agent"), on_control=lambda _: None, on_closed=lambda: None
    )
    offer = await agent.offer()
    assert f"{RELAYED[0]} {RELAYED[1]} typ relay" in offer
    answering = await AiortcPeerEngine(lambda: servers(url, nonce="ingest")).answer(offer, Sink())
    assert "typ relay" in answering.answer_sdp
    assert [name.partition(":")[2] for name in server.granted] == ["agent", "ingest"]
    assert server.refused == []
    await answering.close()
    await agent.close()


async def test_a_credential_of_another_secret_or_of_the_past_gets_no_relay(
    turn: tuple[TurnServer, str],
) -> None:
    server, url = turn
    (past,) = ice_servers([url], SECRET, now_s=int(time.time()) - CREDENTIAL_LIFETIME_S - 1, nonce="past")
    old = IceServer(url=url, username=past.username, credential=past.credential)
    for given in (ticket_servers(url, secret="x" * 20), [old]):
        agent = AiortcPeer(ice_servers=given, on_control=lambda _: None, on_closed=lambda: None)
        assert "typ relay" not in await agent.offer()
        await agent.close()
    assert server.granted == []
    assert len(set(server.refused)) == 2, "asked again and again, and refused each time"
