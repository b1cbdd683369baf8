"""Open what agents sealed; only `cloud.classify` may import this module (protocol rules K5, S1-S3)."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from privacy.crypto.binding import frame_aad, receipt_digest, verify_setup_signature
from privacy.crypto.keys import FrameKeys, Keyring, PoolPrivateKey, derive_frame_keys
from privacy.errors import KeyringError, OpeningError
from privacy.protocol import limits
from privacy.protocol.envelope import Header, decode_envelope
from privacy.protocol.ids import KeyId, SessionId, TenantId
from privacy.protocol.messages import SessionSetup
from privacy.protocol.payload import Features, decode_payload

_HPKE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
PLAINTEXT_MAX_BYTES = limits.PLAINTEXT_BUCKETS_BYTES[-1]
CLOCK_SKEW_US = 60_000_000
"""How far an agent's idea of UTC may be off before its epoch's end is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedFrame:
    """One opened crop; `repr` hides what it shows.

    Attributes:
        header: authenticated.
        features: what the agent measured.
        content: encoded as `header.codec` says; not yet checked, see `privacy.protocol.content.check_content`. A view of the
            buffer that the frame was opened into: it is gone when that is overwritten.
    """

    header: Header
    features: Features = field(repr=False)
    content: memoryview = field(repr=False)


class OpenSession:
    """One opened epoch of one session.

    Attributes:
        session: whose frames it opens.
        tenant: the studio's id, as the device signed it.
        epoch: whose frames it opens.
        not_after_utc_us: end of the epoch.
    """

    def __init__(self, *, setup: SessionSetup, keys: FrameKeys) -> None:
        self.session = SessionId(UUID(setup.session))
        self.tenant = TenantId(UUID(setup.tenant))
        self.epoch = setup.epoch
        self.not_after_utc_us = setup.not_after_utc_us
        self._receipt_sha256 = receipt_digest(setup.receipt)
        self._keys = keys
        self._aead = AESGCM(keys.key)

    def open(self, envelope: bytes, buffer: bytearray | None = None) -> OpenedFrame:
        """Open one envelope into a buffer, the only place that holds its plaintext.

        The replay window is not checked: a stream entry may be delivered twice (protocol rule R4).

        Args:
            envelope: sealed.
            buffer: `PLAINTEXT_MAX_BYTES` for the plaintext, for the caller to overwrite, also when this raises; None
                takes a new one.

        Raises:
            EnvelopeError: the layout or a header field is refused.
            OpeningError: another session or epoch, or the ciphertext does not authenticate.
            PayloadError: the opened plaintext's layout is refused.
        """
        # W3 length, enumerations, bounds
        header, raw_header, ciphertext = decode_envelope(envelope)
        # S1 session and epoch
        if header.session != self.session or header.epoch != self.epoch:
            raise OpeningError("envelope is of another session or epoch")
        # S2 ciphertext, header and receipt belong together
        plaintext = memoryview(bytearray(PLAINTEXT_MAX_BYTES) if buffer is None else buffer)[
            : len(ciphertext) - limits.TAG_BYTES
        ]
        aad = frame_aad(raw_header, self._receipt_sha256)
        try:
            self._aead.decrypt_into(self._keys.nonce(header.counter), ciphertext, aad, plaintext)
        except InvalidTag:
            raise OpeningError("envelope does not authenticate") from None
        # W5 inner layout
        features, content = decode_payload(plaintext)
        return OpenedFrame(header=header, features=features, content=content)

    def __repr__(self) -> str:
        return f"OpenSession(session={self.session}, epoch={self.epoch})"


def open_setup(setup: SessionSetup, keyring: Keyring, *, now_utc_us: int) -> OpenSession:
    """Open a session's setup.

    The receipt inside is bound to the setup here, but its own signature and claims are checked by
    `privacy.governance.admission.admit_setup`, which needs the platform's public key.

    Raises:
        OpeningError: malformed, not signed by its device, sealed to a key that is unknown or was not
            valid, over, too long, or it does not open.
    """
    # K5 bounds, then the device's signature: cheap before dear
    info = verify_setup_signature(setup)
    # S3 time
    if now_utc_us >= setup.not_after_utc_us + CLOCK_SKEW_US:
        raise OpeningError("epoch is over")
    if setup.not_after_utc_us > now_utc_us + limits.EPOCH_MAX_S * 1_000_000 + CLOCK_SKEW_US:
        raise OpeningError("epoch is longer than allowed")
    # K1 pool key, known and valid for the whole epoch
    key = _pool_key(keyring, setup)
    if now_utc_us < key.public.not_before_utc_us - CLOCK_SKEW_US:
        raise OpeningError("pool key is not valid yet")
    if setup.not_after_utc_us > key.public.not_after_utc_us:
        raise OpeningError("epoch outlives its pool key")
    # K3 the secret opens only under the info that both sides computed
    private = X25519PrivateKey.from_private_bytes(key.private_bytes)
    try:
        secret = _HPKE.decrypt(setup.encapsulated, private, info)
    except (InvalidTag, ValueError):
        raise OpeningError("setup does not open") from None
    return OpenSession(setup=setup, keys=derive_frame_keys(secret, info))


def _pool_key(keyring: Keyring, setup: SessionSetup) -> PoolPrivateKey:
    try:
        return keyring.private_key(KeyId(setup.key_id))
    except KeyringError:
        raise OpeningError("setup is sealed to an unknown pool key") from None
