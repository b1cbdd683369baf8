"""Keys of the classifier pool and of sessions: ids, validity windows, derivation, the keyring port.

A pool key's id is the first 8 bytes of the SHA-256 of its public half, in hex, so that a name cannot be
given to another key (protocol rules K1, K2).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from privacy.crypto.jws import decode_base64url, encode_base64url, sign_document, verify_document
from privacy.crypto.small_order import is_sound_x25519
from privacy.errors import KeyringError, SignatureError
from privacy.protocol.ids import KeyId

SESSION_SECRET_BYTES = 32
FRAME_KEY_BYTES = 32
FRAME_SALT_BYTES = 12
X25519_BYTES = 32

DAY_US = 86_400 * 1_000_000
POOL_KEY_LIFETIME_US = DAY_US + 3_600 * 1_000_000
"""A day, and an hour's overlap with the next key."""

BUNDLE_TYP = "countenance-keys+jws"
BUNDLE_MAX_BYTES = 16_384
_FRAME_KEY_LABEL = b"countenance/1 frame key"
_FRAME_SALT_LABEL = b"countenance/1 frame salt"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPublicKey:
    """Public half of a classifier pool's HPKE key.

    Attributes:
        key_id: see `key_id_of`.
        public_bytes: X25519, 32 bytes.
        not_before_utc_us: no session is sealed to it before.
        not_after_utc_us: no session sealed to it outlives this.
    """

    key_id: KeyId
    public_bytes: bytes
    not_before_utc_us: int
    not_after_utc_us: int

    def is_valid(self, now_utc_us: int) -> bool:
        """Say whether sessions may be sealed to it now."""
        return self.not_before_utc_us <= now_utc_us < self.not_after_utc_us


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPrivateKey:
    """Both halves of a classifier pool's HPKE key; its `repr` hides the private one."""

    public: PoolPublicKey
    private_bytes: bytes = field(repr=False)

    @property
    def key_id(self) -> KeyId:
        """Name of the key."""
        return self.public.key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameKeys:
    """AES-256-GCM key and nonce salt of one session epoch (protocol rule K4)."""

    key: bytes = field(repr=False)
    salt: bytes = field(repr=False)

    def nonce(self, counter: int) -> bytes:
        """Give the 12-byte nonce of one frame: salt XOR big-endian counter."""
        return (int.from_bytes(self.salt, "big") ^ counter).to_bytes(FRAME_SALT_BYTES, "big")


class Keyring(Protocol):
    """Where a classify worker gets the pool's private keys."""

    def private_key(self, key_id: KeyId) -> PoolPrivateKey:
        """Give the key of this id.

        Raises:
            KeyringError: there is none.
        """
        ...


class MemoryKeyring:
    """A keyring that holds its keys in memory."""

    def __init__(self, keys: Iterable[PoolPrivateKey] = ()) -> None:
        self._keys = {key.key_id: key for key in keys}

    def private_key(self, key_id: KeyId) -> PoolPrivateKey:
        """Give the key of this id, or raise `KeyringError`."""
        try:
            return self._keys[key_id]
        except KeyError:
            raise KeyringError("no such pool key") from None

    def add(self, key: PoolPrivateKey) -> None:
        """Hold one more key."""
        self._keys[key.key_id] = key

    def drop_expired(self, now_utc_us: int) -> int:
        """Forget keys whose time is over; give how many."""
        expired = [key_id for key_id, key in self._keys.items() if now_utc_us >= key.public.not_after_utc_us]
        for key_id in expired:
            del self._keys[key_id]
        return len(expired)


def key_id_of(public_bytes: bytes) -> KeyId:
    """Name a pool key after its public half: 16 hex digits."""
    return KeyId(hashlib.sha256(public_bytes).hexdigest()[:16])


def generate_pool_key(now_utc_us: int, lifetime_us: int = POOL_KEY_LIFETIME_US) -> PoolPrivateKey:
    """Make a fresh pool key, valid from now for `lifetime_us`."""
    return _pool_key(
        X25519PrivateKey.generate().private_bytes_raw(),
        not_before_utc_us=now_utc_us,
        not_after_utc_us=now_utc_us + lifetime_us,
    )


def encode_pool_key(key: PoolPrivateKey) -> bytes:
    """Write a pool key for the custody adapter; the bytes are secret."""
    record = _PrivateRecord(
        private=encode_base64url(key.private_bytes),
        not_before_utc_us=key.public.not_before_utc_us,
        not_after_utc_us=key.public.not_after_utc_us,
    )
    return msgspec.json.encode(record)


def decode_pool_key(data: bytes) -> PoolPrivateKey:
    """Read a pool key that `encode_pool_key` wrote.

    Raises:
        KeyringError: it is not one.
    """
    try:
        record = msgspec.json.decode(data, type=_PrivateRecord)
        return _pool_key(
            decode_base64url(record.private),
            not_before_utc_us=record.not_before_utc_us,
            not_after_utc_us=record.not_after_utc_us,
        )
    except (msgspec.MsgspecError, SignatureError, ValueError):
        raise KeyringError("pool key is malformed") from None


def sign_bundle(keys: Sequence[PoolPublicKey], signing_key: Ed25519PrivateKey) -> str:
    """Sign the pool's public keys for agents (protocol rule K2)."""
    records = [
        {
            "key_id": key.key_id,
            "public": encode_base64url(key.public_bytes),
            "not_before_utc_us": key.not_before_utc_us,
            "not_after_utc_us": key.not_after_utc_us,
        }
        for key in keys
    ]
    return sign_document({"keys": records}, signing_key, typ=BUNDLE_TYP)


def verify_bundle(jws: str, root_public_key: Ed25519PublicKey, now_utc_us: int) -> tuple[PoolPublicKey, ...]:
    """Read a signed bundle: the keys that are valid now, the longest-lived first.

    Raises:
        KeyringError: malformed, forged, a key id that is not its key's, or no key valid now.
    """
    try:
        payload = verify_document(jws, root_public_key, typ=BUNDLE_TYP, limit_bytes=BUNDLE_MAX_BYTES)
        bundle = msgspec.json.decode(payload, type=BundleDocument)
        keys = [_read_public(record) for record in bundle.keys]
    except (SignatureError, msgspec.MsgspecError, ValueError):
        raise KeyringError("key bundle is malformed or forged") from None
    valid = sorted((key for key in keys if key.is_valid(now_utc_us)), key=lambda key: -key.not_after_utc_us)
    if not valid:
        raise KeyringError("key bundle holds no key that is valid now")
    return tuple(valid)


def derive_frame_keys(session_secret: bytes, info: bytes) -> FrameKeys:
    """Derive an epoch's key and salt: HKDF-SHA256, salted with SHA-256(info) (protocol rule K4).

    Raises:
        ValueError: the session secret has another length than 32 bytes.
    """
    if len(session_secret) != SESSION_SECRET_BYTES:
        raise ValueError("session secret must have 32 bytes")
    extracted = hmac.digest(hashlib.sha256(info).digest(), session_secret, "sha256")
    return FrameKeys(
        key=HKDFExpand(SHA256(), FRAME_KEY_BYTES, _FRAME_KEY_LABEL).derive(extracted),
        salt=HKDFExpand(SHA256(), FRAME_SALT_BYTES, _FRAME_SALT_LABEL).derive(extracted),
    )


class PoolKeyDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One key in a bundle; `public` is base64url without padding."""

    key_id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{16}$", max_length=16)]
    public: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{43}$", max_length=43)]
    not_before_utc_us: int
    not_after_utc_us: int


class BundleDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a signed bundle of pool keys says (protocol rule K2)."""

    keys: list[PoolKeyDocument]


class _PrivateRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    private: str
    not_before_utc_us: int
    not_after_utc_us: int


def _read_public(record: PoolKeyDocument) -> PoolPublicKey:
    public_bytes = decode_base64url(record.public)
    if len(public_bytes) != X25519_BYTES or record.key_id != key_id_of(public_bytes):
        raise KeyringError("pool key's id is not its own")
    if not is_sound_x25519(public_bytes):
        raise KeyringError("pool key is of small order or spelled in a second way")
    return PoolPublicKey(
        key_id=KeyId(record.key_id),
        public_bytes=public_bytes,
        not_before_utc_us=record.not_before_utc_us,
        not_after_utc_us=record.not_after_utc_us,
    )


def _pool_key(private_bytes: bytes, *, not_before_utc_us: int, not_after_utc_us: int) -> PoolPrivateKey:
    public_bytes = X25519PrivateKey.from_private_bytes(private_bytes).public_key().public_bytes_raw()
    public = PoolPublicKey(
        key_id=key_id_of(public_bytes),
        public_bytes=public_bytes,
        not_before_utc_us=not_before_utc_us,
        not_after_utc_us=not_after_utc_us,
    )
    return PoolPrivateKey(public=public, private_bytes=private_bytes)
