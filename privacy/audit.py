"""Audit entries: their one canonical encoding, their hashes, and the port that appends them.

Each tenant's log numbers its entries from 0. An entry's leaf hash is that of an RFC 6962 tree; beside
it, each stored entry chains to the one before, so that a changed, dropped or reordered entry is found by
walking the log (protocol rule R8). Tree heads and inclusion proofs are not part of this version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from privacy.errors import AuditError, SignatureError
from privacy.ids import TenantId
from privacy.jws import canonical_json

HASH_BYTES = 32
GENESIS_HASH = bytes(HASH_BYTES)
ENTRY_MAX_BYTES = 8_192
_LEAF_PREFIX = b"\x00"
_CHAIN_PREFIX = b"countenance/1 audit chain\0"
_TEXT_MAX_CHARS = 200

AuditValue = str | int | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One thing that somebody did.

    Attributes:
        tenant: whose log it is in.
        at_utc_us: when.
        actor: who, as a pseudonym: `api_key:<id>`, `session:<id>`, `worker:lifecycle`.
        action: what, as `noun.verb`: `consent.given`, `timeline.read`.
        subject: to what, as `kind:<id>`.
        detail: flat facts; never personal data, tokens or keys.
    """

    tenant: TenantId
    at_utc_us: int
    actor: str
    action: str
    subject: str
    detail: Mapping[str, AuditValue] = field(default_factory=dict)


class AuditLog(Protocol):
    """Where audit entries go; nothing is ever changed or taken away."""

    async def append(self, entry: AuditEntry) -> int:
        """Write an entry; give its number in its tenant's log, from 0."""
        ...


def encode_entry(entry: AuditEntry, *, seq: int) -> bytes:
    """Write an entry and its number as canonical JSON: what is hashed.

    Raises:
        AuditError: a field is out of its bounds or cannot be written.
    """
    texts = (entry.actor, entry.action, entry.subject)
    if seq < 0 or entry.at_utc_us < 0 or not all(0 < len(text) <= _TEXT_MAX_CHARS for text in texts):
        raise AuditError("audit entry has a field out of its bounds")
    if not all(value is None or isinstance(value, str | int) for value in entry.detail.values()):
        raise AuditError("audit entry's detail must be flat texts, whole numbers or truth values")
    document = {
        "tenant": str(entry.tenant),
        "seq": seq,
        "at_utc_us": entry.at_utc_us,
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "detail": dict(entry.detail),
    }
    try:
        encoded = canonical_json(document)
    except SignatureError:
        raise AuditError("audit entry cannot be written as canonical JSON") from None
    if len(encoded) > ENTRY_MAX_BYTES:
        raise AuditError("audit entry is over its bound")
    return encoded


def leaf_hash(encoded: bytes) -> bytes:
    """Hash an encoded entry as an RFC 6962 leaf, 32 bytes."""
    return hashlib.sha256(_LEAF_PREFIX + encoded).digest()


def chain_hash(previous: bytes, leaf: bytes) -> bytes:
    """Chain a leaf to the entry before it; the first one to `GENESIS_HASH`."""
    if len(previous) != HASH_BYTES or len(leaf) != HASH_BYTES:
        raise AuditError("audit hashes must have 32 bytes")
    return hashlib.sha256(_CHAIN_PREFIX + previous + leaf).digest()


def verify_chain(entries: Iterable[tuple[AuditEntry, bytes]], *, tenant: TenantId) -> bytes:
    """Walk a tenant's whole log, entry by entry with its stored hash; give the last hash.

    Truncation at the end is found by comparing the result with a hash kept elsewhere.

    Raises:
        AuditError: an entry was changed, dropped, added, reordered or belongs to another tenant.
    """
    head = GENESIS_HASH
    for seq, (entry, stored) in enumerate(entries):
        head = chain_hash(head, leaf_hash(encode_entry(entry, seq=seq)))
        if entry.tenant != tenant or head != stored:
            raise AuditError(f"audit log does not verify at entry {seq}")
    return head
