"""Keys, receipts and sealers that the privacy tests share."""

from __future__ import annotations

import dataclasses
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.crypto.keys import MemoryKeyring, PoolPrivateKey, generate_pool_key
from privacy.crypto.sealing import SessionSealer
from privacy.governance.consent import Purpose
from privacy.governance.receipts import ReceiptClaims, sign_receipt
from privacy.protocol.envelope import Codec
from privacy.protocol.ids import SessionId, TenantId
from privacy.protocol.payload import Features

NOW_UTC_US = 1_795_000_000_000_000
SESSION = SessionId(UUID("11111111-2222-4333-8444-555555555555"))
TENANT = TenantId(UUID("aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class World:
    """One platform, one device, one pool key and a receipt that binds them."""

    platform: Ed25519PrivateKey
    device: Ed25519PrivateKey
    pool: PoolPrivateKey
    claims: ReceiptClaims
    receipt: str

    @property
    def keyring(self) -> MemoryKeyring:
        return MemoryKeyring([self.pool])

    def start(self, *, epoch: int = 1, **changes: object) -> SessionSealer:
        arguments: dict[str, object] = {
            "session": SESSION,
            "tenant": TENANT,
            "epoch": epoch,
            "receipt": self.receipt,
            "device_key": self.device,
            "not_after_utc_us": NOW_UTC_US + 600_000_000,
        }
        pool_key = changes.pop("pool_key", self.pool.public)
        return SessionSealer.start(pool_key, **(arguments | changes))  # type: ignore[arg-type]


def make_claims(device: Ed25519PrivateKey, **changes: object) -> ReceiptClaims:
    claims = ReceiptClaims(
        receipt_id=UUID("99999999-0000-4000-8000-000000000001"),
        session=SESSION,
        tenant=TENANT,
        study="study-1",
        title="A trailer",
        pseudonym="viewer-7",
        controller="Example Studio",
        purposes=frozenset({Purpose.CAPTURE, Purpose.CLOUD_SCORING}),
        opted_out=frozenset(),
        notice_sha256="ab" * 32,
        notice_locale="en",
        jurisdiction="DE",
        device_public_key=device.public_key().public_bytes_raw(),
        issued_utc_us=NOW_UTC_US,
        expires_utc_us=NOW_UTC_US + 86_400_000_000,
    )
    return dataclasses.replace(claims, **changes)  # type: ignore[arg-type]


def make_world() -> World:
    platform = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    device = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))
    claims = make_claims(device)
    return World(
        platform=platform,
        device=device,
        pool=generate_pool_key(NOW_UTC_US),
        claims=claims,
        receipt=sign_receipt(claims, platform),
    )


def seal(sealer: SessionSealer, *, content: bytes = b"crop", **changes: object) -> bytes:
    fields: dict[str, object] = {
        "now_utc_us": NOW_UTC_US,
        "codec": Codec.JPEG_RGB,
        "frame": 3,
        "media_time_us": 100_000,
        "monotonic_us": 5_000_000,
        "face": 0,
        "faces": 1,
        "width": 96,
        "height": 96,
        "detector": 1,
        "segment": 0,
        "features": Features(yaw_deg=-7, quality=200),
        "content": content,
    }
    return sealer.seal(**(fields | changes))  # type: ignore[arg-type]
