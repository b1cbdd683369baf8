"""Seal crops so that only the classifier pool can open them (protocol rules K3-K5, S1-S4).

One `SessionSealer` is one epoch: a fresh 32-byte session secret, sealed once to the pool's public key
with HPKE, then AES-256-GCM per frame under a counter. The counter lives in this object alone, so the
object can be neither copied, pickled nor used in a forked child.
"""

from __future__ import annotations

import os
from itertools import count

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from privacy.crypto.binding import frame_aad, receipt_digest, session_info, signed_bytes
from privacy.crypto.keys import SESSION_SECRET_BYTES, FrameKeys, PoolPublicKey, derive_frame_keys
from privacy.errors import EnvelopeError, SealingError
from privacy.protocol import limits
from privacy.protocol.envelope import Codec, Header, encode_header
from privacy.protocol.ids import SessionId, TenantId
from privacy.protocol.messages import SessionSetup
from privacy.protocol.payload import Features, encode_payload

_HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_NEW_EPOCH_MARGIN_US = 30_000_000
_NEW_EPOCH_MARGIN_FRAMES = 4_096


class SessionSealer:
    """Seals the frames of one epoch of one session.

    Attributes:
        setup: what the classify worker needs to open this epoch; sent once, at signalling.
    """

    def __init__(self, *, setup: SessionSetup, session: SessionId, keys: FrameKeys) -> None:
        """Take over keys that no other sealer has; use `start`."""
        self.setup = setup
        self._session = session
        self._keys = keys
        self._aead = AESGCM(keys.key)
        self._receipt_sha256 = receipt_digest(setup.receipt)
        self._counter = count()
        self._sealed = 0
        self._owner_pid = os.getpid()

    @classmethod
    def start(
        cls,
        pool_key: PoolPublicKey,
        *,
        session: SessionId,
        tenant: TenantId,
        epoch: int,
        receipt: str,
        device_key: Ed25519PrivateKey,
        not_after_utc_us: int,
    ) -> SessionSealer:
        """Begin an epoch with a fresh session secret.

        Args:
            pool_key: from a verified bundle.
            session: the session's id.
            tenant: the studio's id.
            epoch: from 1, larger than every epoch this session had.
            receipt: the signed consent receipt (compact JWS).
            device_key: the key whose public half the receipt names.
            not_after_utc_us: end of the epoch, at most `EPOCH_MAX_S` from now.

        Raises:
            SealingError: the epoch is out of range or would outlive the pool key.
        """
        if not 1 <= epoch < 1 << 32:
            raise SealingError("epoch out of range")
        if not 0 <= not_after_utc_us <= pool_key.not_after_utc_us:
            raise SealingError("epoch would outlive the pool key")
        device_public_key = device_key.public_key().public_bytes_raw()
        info = session_info(
            key_id=pool_key.key_id,
            session=session,
            tenant=tenant,
            receipt_sha256=receipt_digest(receipt),
            device_public_key=device_public_key,
            epoch=epoch,
            not_after_utc_us=not_after_utc_us,
        )
        secret = os.urandom(SESSION_SECRET_BYTES)
        recipient = X25519PublicKey.from_public_bytes(pool_key.public_bytes)
        encapsulated = _HPKE.encrypt(secret, recipient, info)
        setup = SessionSetup(
            session=str(session),
            tenant=str(tenant),
            epoch=epoch,
            key_id=pool_key.key_id,
            not_after_utc_us=not_after_utc_us,
            device_public_key=device_public_key,
            encapsulated=encapsulated,
            device_signature=device_key.sign(signed_bytes(info, encapsulated)),
            receipt=receipt,
        )
        return cls(setup=setup, session=session, keys=derive_frame_keys(secret, info))

    @property
    def sealed_frames(self) -> int:
        """How many frames were sealed in this epoch."""
        return self._sealed

    def needs_new_epoch(self, now_utc_us: int) -> bool:
        """Say whether to start the next epoch: half a minute or 4,096 frames before this one ends."""
        return (
            now_utc_us >= self.setup.not_after_utc_us - _NEW_EPOCH_MARGIN_US
            or self._sealed >= limits.EPOCH_MAX_FRAMES - _NEW_EPOCH_MARGIN_FRAMES
        )

    def seal(
        self,
        *,
        now_utc_us: int,
        codec: Codec,
        frame: int,
        media_time_us: int,
        monotonic_us: int,
        face: int,
        faces: int,
        width: int,
        height: int,
        detector: int,
        segment: int,
        features: Features,
        content: bytes,
    ) -> bytes:
        """Seal one crop; give its envelope, at most `ENVELOPE_MAX_BYTES` long.

        Raises:
            SealingError: the epoch's time or frames are used up, the content is too large, a field is
                out of range, or this process is a fork of the one that started the epoch.
        """
        # S4 a nonce is never used twice: the counter advances before anything can fail
        if os.getpid() != self._owner_pid:
            raise SealingError("a sealer does not survive a fork")
        counter = next(self._counter)
        if counter >= limits.EPOCH_MAX_FRAMES or now_utc_us >= self.setup.not_after_utc_us:
            raise SealingError("epoch is over")
        plaintext = encode_payload(features, content)
        header = Header(
            codec=codec,
            session=self._session,
            epoch=self.setup.epoch,
            counter=counter,
            frame=frame,
            media_time_us=media_time_us,
            monotonic_us=monotonic_us,
            face=face,
            faces=faces,
            width=width,
            height=height,
            detector=detector,
            segment=segment,
            ciphertext_length=len(plaintext) + limits.TAG_BYTES,
        )
        try:
            raw_header = encode_header(header)
        except EnvelopeError as error:
            raise SealingError(str(error)) from None
        aad = frame_aad(raw_header, self._receipt_sha256)
        self._sealed += 1
        return raw_header + self._aead.encrypt(self._keys.nonce(counter), plaintext, aad)

    def __repr__(self) -> str:
        return f"SessionSealer(epoch={self.setup.epoch}, sealed_frames={self._sealed})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a sealer cannot be copied or pickled: its nonces would repeat")
