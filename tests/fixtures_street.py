"""A consented viewer with real keys, for tests of everything between the seal and the score."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import cv2
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.streams.entries import SealedCrop
from privacy.crypto.keys import MemoryKeyring, PoolPrivateKey, generate_pool_key
from privacy.crypto.sealing import SessionSealer
from privacy.governance.consent import Purpose
from privacy.governance.receipts import ReceiptClaims, receipt_digest, sign_receipt
from privacy.governance.tickets import TicketClaims, sign_ticket
from privacy.protocol.envelope import Codec
from privacy.protocol.expressions import Expression
from privacy.protocol.ids import SessionId, TenantId
from privacy.protocol.payload import Features

Check = Callable[[], bool | Awaitable[bool]]

HOUR_US = 3_600 * 1_000_000


async def eventually(check: Check, *, within_s: float = 5.0) -> None:
    """Wait until a check holds."""
    async with asyncio.timeout(within_s):
        while True:
            found = check()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.01)


def utc_us() -> int:
    return time.time_ns() // 1_000


@dataclass
class Platform:
    """The platform's signing key and the pool's key."""

    signing_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    pool_key: PoolPrivateKey = field(default_factory=lambda: generate_pool_key(utc_us() - HOUR_US))

    @property
    def public_key(self):
        return self.signing_key.public_key()

    @property
    def keyring(self) -> MemoryKeyring:
        return MemoryKeyring([self.pool_key])


@dataclass
class Viewer:
    """One consented session on one device."""

    platform: Platform
    session: SessionId = field(default_factory=lambda: SessionId(uuid4()))
    tenant: TenantId = field(default_factory=lambda: TenantId(UUID(int=42)))
    purposes: Sequence[Purpose] = (Purpose.CAPTURE, Purpose.CLOUD_SCORING)
    opted_out: Sequence[Expression] = ()
    device_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    expires_in_us: int = HOUR_US
    jurisdiction: str = "DE"
    receipt: str = ""

    def __post_init__(self) -> None:
        self.receipt = self.receipt or self.sign(self.platform.signing_key)

    def sign(self, signing_key: Ed25519PrivateKey) -> str:
        now = utc_us()
        return sign_receipt(
            ReceiptClaims(
                receipt_id=uuid4(),
                session=self.session,
                tenant=self.tenant,
                study="study",
                title="title",
                pseudonym="viewer-1",
                controller="a studio",
                purposes=frozenset(self.purposes),
                opted_out=frozenset(self.opted_out),
                notice_sha256="0" * 64,
                notice_locale="en",
                jurisdiction=self.jurisdiction,
                device_public_key=self.device_key.public_key().public_bytes_raw(),
                issued_utc_us=now - 2 * HOUR_US,
                expires_utc_us=now + self.expires_in_us,
            ),
            signing_key,
        )

    def ticket(self, *, signing_key: Ed25519PrivateKey | None = None, expires_in_us: int = 60_000_000) -> str:
        claims = TicketClaims(
            session=self.session,
            tenant=self.tenant,
            receipt_sha256=receipt_digest(self.receipt).hex(),
            expires_utc_us=utc_us() + expires_in_us,
            nonce="n" * 16,
        )
        return sign_ticket(claims, signing_key or self.platform.signing_key)

    def sealer(self, *, epoch: int = 1, lifetime_us: int = 300_000_000) -> SessionSealer:
        return SessionSealer.start(
            self.platform.pool_key.public,
            session=self.session,
            tenant=self.tenant,
            epoch=epoch,
            receipt=self.receipt,
            device_key=self.device_key,
            not_after_utc_us=utc_us() + lifetime_us,
        )


def picture(seed: int = 0, side_px: int = 96) -> np.ndarray:
    """A smooth uint8 (side, side, 3) picture, different for each seed."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (6, 6, 3), np.uint8)
    return cv2.resize(small, (side_px, side_px), interpolation=cv2.INTER_CUBIC)


def jpeg(pixels: np.ndarray, quality: int = 75) -> bytes:
    done, data = cv2.imencode(
        ".jpg", pixels[..., ::-1] if pixels.ndim == 3 else pixels, [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert done
    return data.tobytes()


def seal(
    sealer: SessionSealer,
    frame: int = 0,
    *,
    content: bytes | None = None,
    codec: Codec = Codec.JPEG_RGB,
    side_px: int = 96,
    monotonic_us: int = 1_000_000,
    attention: int = 200,
    face: int = 0,
) -> bytes:
    """Seal one frame; a picture of its own unless content is given."""
    return sealer.seal(
        now_utc_us=utc_us(),
        codec=codec,
        frame=frame,
        media_time_us=frame * 33_333,
        monotonic_us=monotonic_us,
        face=face,
        faces=face + 1,
        width=0 if codec is Codec.SCORES else side_px,
        height=0 if codec is Codec.SCORES else side_px,
        detector=1,
        segment=0,
        features=Features(attention=attention),
        content=jpeg(picture(frame, side_px)) if content is None else content,
    )


def sealed_crop(
    envelope: bytes, *, late: bool = False, age_us: int = 0, clock_offset_us: int = 0
) -> SealedCrop:
    return SealedCrop(
        late=late, received_utc_us=utc_us() - age_us, clock_offset_us=clock_offset_us, envelope=envelope
    )
