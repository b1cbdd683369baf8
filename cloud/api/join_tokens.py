"""The token that an invitation carries, and how its maker knows it again without having kept it.

`<tenant>.<session>.<secret><tag>`: 32 random bytes and 16 bytes of HMAC-SHA256 over tenant, session and secret, under a
key derived from the platform's signing key. What an agent does with a token needs the token's hash in the
database. Withdrawing, and fetching the receipt of a deletion, need the tag alone: they work while the database
does not answer, and after an erasure that leaves no hash (ADR 0121).
"""

from __future__ import annotations

import base64
import hmac
import secrets

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.protocol.ids import SessionId, TenantId

SECRET_BYTES = 32
TAG_BYTES = 16
_SECRET_CHARS = 43
_KEY_LABEL = b"countenance/1 join token"


def new_join_token(tenant: TenantId, session: SessionId, signing_key: Ed25519PrivateKey) -> str:
    """Make the token that an invitation carries."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    return f"{tenant.hex}.{session.hex}.{secret}{_tag(tenant, session, secret, signing_key)}"


def is_genuine(token: str, tenant: TenantId, session: SessionId, signing_key: Ed25519PrivateKey) -> bool:
    """Say whether this platform made the token, for this session of this tenant."""
    prefix = f"{tenant.hex}.{session.hex}."
    secret, tag = token[len(prefix) :][:_SECRET_CHARS], token[len(prefix) + _SECRET_CHARS :]
    expected = _tag(tenant, session, secret, signing_key)
    return token.startswith(prefix) and hmac.compare_digest(tag.encode(), expected.encode())


def _tag(tenant: TenantId, session: SessionId, secret: str, signing_key: Ed25519PrivateKey) -> str:
    key = hmac.digest(signing_key.private_bytes_raw(), _KEY_LABEL, "sha256")
    tag = hmac.digest(key, f"{tenant.hex}.{session.hex}.{secret}".encode(), "sha256")[:TAG_BYTES]
    return base64.urlsafe_b64encode(tag).rstrip(b"=").decode("ascii")
