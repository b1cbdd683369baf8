"""Read an invitation link."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import UUID

from edge_agent.errors import InviteError

_TOKEN = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{32})\.([A-Za-z0-9_-]{16,128})\Z")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """Where to join, and the right to do so; the token is not shown.

    Attributes:
        base_url: scheme, host and port of the platform.
        host: name or address, without port.
        port: TCP port.
        is_secure: TLS.
        session: the session's id.
        tenant: the studio's id.
        token: bearer token of this one session.
    """

    base_url: str
    host: str
    port: int
    is_secure: bool
    session: UUID
    tenant: UUID
    token: str = field(repr=False)


def parse_invite(link: str) -> Invite:
    """Take an invitation apart: `https://host[:port]/v1/join#tenant.session.secret`.

    Raises:
        InviteError: it is no invitation, or it would send the token in the clear to another machine.
    """
    try:
        parts = urlsplit(link.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise InviteError("the invitation is not a link") from None
    if parts.scheme not in ("http", "https") or not host:
        raise InviteError("the invitation must be an http or https link")
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise InviteError("an invitation to another machine must be an https link")
    token = _TOKEN.match(parts.fragment)
    if token is None:
        raise InviteError("the invitation holds no join token after its #; copy the whole link")
    is_secure = parts.scheme == "https"
    port = port or (443 if is_secure else 80)
    shown = f"[{host}]" if ":" in host else host
    return Invite(
        base_url=f"{parts.scheme}://{shown}:{port}",
        host=host,
        port=port,
        is_secure=is_secure,
        tenant=UUID(hex=token[1]),
        session=UUID(hex=token[2]),
        token=parts.fragment,
    )
