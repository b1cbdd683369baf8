"""Signed heads of a tenant's audit tree, to be kept elsewhere: what they cover can no longer be changed unseen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy.crypto.jws import sign_document, verify_document
from privacy.errors import AuditError, SignatureError
from privacy.protocol.ids import TenantId

CHECKPOINT_TYP = "countenance-audit-checkpoint+jws"
CHECKPOINT_MAX_BYTES = 1_024

_ROOT_HEX = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One head.

    Attributes:
        tenant: whose log.
        size: how many entries it covers.
        root: the tree's root over them, 32 bytes.
        at_utc_us: when it was signed.
    """

    tenant: TenantId
    size: int
    root: bytes
    at_utc_us: int


class CheckpointDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a signed checkpoint says (protocol rule R8)."""

    tenant: str
    size: int
    root_sha256: str
    at_utc_us: int


def sign_checkpoint(checkpoint: Checkpoint, signing_key: Ed25519PrivateKey) -> str:
    """Sign a head with the platform's key."""
    document = {
        "tenant": str(checkpoint.tenant),
        "size": checkpoint.size,
        "root_sha256": checkpoint.root.hex(),
        "at_utc_us": checkpoint.at_utc_us,
    }
    return sign_document(document, signing_key, typ=CHECKPOINT_TYP)


def verify_checkpoint(jws: str, public_key: Ed25519PublicKey) -> Checkpoint:
    """Check a checkpoint's signature and read it.

    Raises:
        AuditError: malformed or forged.
    """
    try:
        payload = verify_document(jws, public_key, typ=CHECKPOINT_TYP, limit_bytes=CHECKPOINT_MAX_BYTES)
        record = msgspec.json.decode(payload, type=CheckpointDocument)
        tenant = TenantId(UUID(record.tenant))
    except (SignatureError, msgspec.MsgspecError, ValueError):
        raise AuditError("audit checkpoint is malformed or forged") from None
    if record.size < 0 or not _ROOT_HEX.match(record.root_sha256):
        raise AuditError("audit checkpoint is malformed or forged")
    return Checkpoint(
        tenant=tenant, size=record.size, root=bytes.fromhex(record.root_sha256), at_utc_us=record.at_utc_us
    )
