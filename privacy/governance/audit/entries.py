"""Audit entries and their one canonical encoding: what a leaf of the tree is made of (protocol rule R8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from privacy.crypto.jws import canonical_json
from privacy.errors import AuditError, SignatureError
from privacy.protocol.ids import TenantId

ENTRY_MAX_BYTES = 8_192
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
