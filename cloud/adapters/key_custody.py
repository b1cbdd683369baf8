"""Custody of the sessions' data keys: wrapped under a key-encryption key that one machine keeps in a file.

In a fleet the same three methods are a call to a key management service.
"""

from __future__ import annotations

import hashlib

from cloud.errors import CustodyError
from privacy.at_rest import new_data_key, unwrap_key, wrap_key
from privacy.errors import OpeningError
from privacy.ids import SessionId, TenantId

_ID_LABEL = b"countenance/1 kek id\0"


class LocalKeyCustody:
    """Wraps and unwraps data keys with a key-encryption key held in RAM.

    Attributes:
        kek_id: names the key-encryption key without telling anything of it.
    """

    def __init__(self, kek: bytes) -> None:
        self._kek = kek
        self.kek_id = hashlib.sha256(_ID_LABEL + kek).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"LocalKeyCustody(kek_id={self.kek_id!r})"

    def new_key(self, tenant: TenantId, session: SessionId) -> tuple[bytes, bytes]:
        """Make a session's data key; returns it, 32 bytes, and its wrapped form for the store."""
        key = new_data_key()
        return key, wrap_key(self._kek, key, _aad(tenant, session, self.kek_id))

    def open_key(self, tenant: TenantId, session: SessionId, *, wrapped: bytes, kek_id: str) -> bytes:
        """Unwrap a session's data key.

        Raises:
            CustodyError: it was wrapped under another key-encryption key, or belongs elsewhere.
        """
        if kek_id != self.kek_id:
            raise CustodyError("the data key was wrapped under another key-encryption key")
        try:
            return unwrap_key(self._kek, wrapped, _aad(tenant, session, kek_id))
        except OpeningError:
            raise CustodyError("the data key does not unwrap") from None


def _aad(tenant: TenantId, session: SessionId, kek_id: str) -> bytes:
    return tenant.bytes + session.bytes + kek_id.encode()
