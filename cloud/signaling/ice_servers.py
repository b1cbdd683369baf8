"""STUN and TURN servers with credentials that last one connection, as coturn's REST scheme has them.

The TURN server and this platform share a secret. A credential is a user name, `<expiry>:<random>`, and the
HMAC-SHA1 of that name under the secret, in base64 (draft-uberti-behave-turn-rest-00; coturn `use-auth-secret`). The
random part names nobody, so that a relay's log cannot tell which session it served. HMAC-SHA1 is what the scheme
prescribes; it protects bandwidth for a quarter of an hour, never a crop.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from privacy.protocol import limits

CREDENTIAL_LIFETIME_S = limits.EPOCH_MAX_S + 300
"""An epoch, which is a connection, and five minutes for what happens around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IceServer:
    """A server for one peer; user name and credential are empty for STUN."""

    url: str
    username: str = ""
    credential: str = field(default="", repr=False)


def ice_servers(urls: Sequence[str], secret: str, *, now_s: int, nonce: str) -> list[IceServer]:
    """Give the servers for one connection.

    Args:
        urls: `stun:`, `turn:` or `turns:`; checked by the settings.
        secret: shared with the TURN servers.
        now_s: seconds since the Unix epoch.
        nonce: random, without a colon.
    """
    username = f"{now_s + CREDENTIAL_LIFETIME_S}:{nonce}"
    digest = hmac.new(secret.encode(), username.encode(), hashlib.sha1).digest()
    credential = base64.b64encode(digest).decode("ascii")
    return [
        IceServer(url=url, username=username, credential=credential)
        if needs_secret(url)
        else IceServer(url=url)
        for url in urls
    ]


def needs_secret(url: str) -> bool:
    """Say whether a server wants credentials: relays do."""
    return url.startswith(("turn:", "turns:"))
