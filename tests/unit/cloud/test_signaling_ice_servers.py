"""Credentials for STUN and TURN servers, one connection's worth."""

from __future__ import annotations

import base64
import hmac

from cloud.signaling.ice_servers import CREDENTIAL_LIFETIME_S, ice_servers

URLS = ("stun:a.example:3478", "turn:b.example?transport=udp", "turns:b.example")


def test_relays_get_a_name_that_expires_and_its_mac_and_stun_gets_none() -> None:
    first, *relays = ice_servers(URLS, "shared", now_s=1_000, nonce="abc")
    assert (first.url, first.username, first.credential) == (URLS[0], "", "")
    for relay, url in zip(relays, URLS[1:], strict=True):
        assert (relay.url, relay.username) == (url, f"{1_000 + CREDENTIAL_LIFETIME_S}:abc")
        assert base64.b64decode(relay.credential) == hmac.digest(b"shared", relay.username.encode(), "sha1")
        assert relay.credential not in repr(relay)


def test_no_servers_are_given_where_none_are_set() -> None:
    assert ice_servers((), "", now_s=1, nonce="n") == []
