"""Keys of the platform: one state directory, closed to everybody but its owner.

| file | what | read by |
|---|---|---|
| `signing.key`, `signing.pub` | platform Ed25519 key (PEM): receipts, tickets, bundles | api, lifecycle; public half by all |
| `pool/<key id>.key` | a classifier pool key | classify |
| `pool/bundle.jws` | the pool's public halves, signed | api, which hands it to agents |
| `keys/` | the sessions' data keys, see `cloud.keys.custody` | api; aggregate and lifecycle write it |
| `admin.token` | registers studios | api |

Files are written beside their place and renamed into it, so a crash leaves no half of one. In a fleet
each process is given only the files it reads.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cloud.errors import ConfigError
from privacy.crypto.keys import (
    POOL_KEY_LIFETIME_US,
    PoolPrivateKey,
    decode_pool_key,
    encode_pool_key,
    generate_pool_key,
    sign_bundle,
)
from privacy.errors import KeyringError
from privacy.protocol.ids import KeyId

RENEW_BEFORE_US = 2 * 3_600 * 1_000_000
"""A new pool key is made when the newest has less than this to live."""

KEEP_EXPIRED_US = 900 * 1_000_000
"""An expired pool key may still be asked for by crops in flight; then it is deleted."""

_BUNDLE = "pool/bundle.jws"


def init_state(state_dir: Path, *, now_utc_us: int | None = None) -> list[str]:
    """Make whatever is missing in a state directory; keep what is there.

    Returns:
        Names of the files that were made now, in order; empty where all was there.

    Raises:
        ConfigError: the directory cannot be made or closed to others.
    """
    made: list[str] = []
    try:
        for directory in (state_dir, state_dir / "pool"):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _close_to_others(state_dir)
        if not (state_dir / "signing.key").exists():
            _write(state_dir / "signing.key", _private_pem(Ed25519PrivateKey.generate()))
            made.append("signing.key")
        public = _public_pem(load_signing_key(state_dir).public_key())
        if not _holds(state_dir / "signing.pub", public):
            _write(state_dir / "signing.pub", public)
            made.append("signing.pub")
        if not (state_dir / "admin.token").exists():
            _write(state_dir / "admin.token", b"cnta_" + secrets.token_urlsafe(32).encode())
            made.append("admin.token")
        made += ensure_pool_key(state_dir, now_utc_us=now_utc_us)
    except OSError as error:
        raise ConfigError(f"STATE_DIR {state_dir} cannot be written ({error.strerror})") from None
    return made


def ensure_pool_key(state_dir: Path, *, now_utc_us: int | None = None) -> list[str]:
    """Renew the classifier pool's key in time, delete expired ones, and sign the bundle again.

    Returns:
        Names of the files that were made now.
    """
    now = time.time_ns() // 1_000 if now_utc_us is None else now_utc_us
    keys = load_pool_keys(state_dir)
    for key in [k for k in keys if k.public.not_after_utc_us + KEEP_EXPIRED_US < now]:
        (state_dir / "pool" / f"{key.key_id}.key").unlink(missing_ok=True)
        keys.remove(key)
    made = []
    if all(key.public.not_after_utc_us - now < RENEW_BEFORE_US for key in keys):
        fresh = generate_pool_key(now, POOL_KEY_LIFETIME_US)
        _write(state_dir / "pool" / f"{fresh.key_id}.key", encode_pool_key(fresh))
        keys.append(fresh)
        made.append(f"pool/{fresh.key_id}.key")
    if made or not (state_dir / _BUNDLE).exists():
        bundle = sign_bundle([key.public for key in keys], load_signing_key(state_dir))
        _write(state_dir / _BUNDLE, bundle.encode())
        made.append(_BUNDLE)
    return made


def load_signing_key(state_dir: Path) -> Ed25519PrivateKey:
    """Read the platform's private signing key.

    Raises:
        ConfigError: it is missing or not an Ed25519 key.
    """
    try:
        key = serialization.load_pem_private_key(_read(state_dir / "signing.key"), password=None)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{state_dir / 'signing.key'} is not an Ed25519 private key in PEM")
    return key


def load_signing_public_key(state_dir: Path) -> Ed25519PublicKey:
    """Read the platform's public signing key.

    Raises:
        ConfigError: it is missing or not an Ed25519 key.
    """
    try:
        key = serialization.load_pem_public_key(_read(state_dir / "signing.pub"))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{state_dir / 'signing.pub'} is not an Ed25519 public key in PEM")
    return key


def read_admin_token(state_dir: Path) -> str:
    """Read the token that registers studios.

    Raises:
        ConfigError: it is missing or too short to be safe.
    """
    token = _read(state_dir / "admin.token").decode("utf-8", "replace").strip()
    if len(token) < 32:
        raise ConfigError(f"{state_dir / 'admin.token'} must hold at least 32 characters")
    return token


def read_key_bundle(state_dir: Path) -> str:
    """Read the signed bundle of pool keys; it changes when a key is renewed.

    Raises:
        ConfigError: it is missing.
    """
    return _read(state_dir / _BUNDLE).decode("ascii", "replace").strip()


def load_pool_keys(state_dir: Path) -> list[PoolPrivateKey]:
    """Read every pool key, oldest first.

    Raises:
        ConfigError: one of them is malformed.
    """
    keys = []
    for path in sorted((state_dir / "pool").glob("*.key")):
        try:
            keys.append(decode_pool_key(_read(path)))
        except KeyringError:
            raise ConfigError(f"{path} is not a pool key: remove it") from None
    return sorted(keys, key=lambda key: key.public.not_after_utc_us)


class DirectoryKeyring:
    """A keyring over `<state>/pool`; a key that was renewed meanwhile is found when it is asked for."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._keys: dict[KeyId, PoolPrivateKey] = {}
        self._reload()

    def private_key(self, key_id: KeyId) -> PoolPrivateKey:
        """Give the key of this id.

        Raises:
            KeyringError: there is none.
        """
        if key_id not in self._keys and _is_key_id(key_id) and self._path(key_id).exists():
            self._reload()
        try:
            return self._keys[key_id]
        except KeyError:
            raise KeyringError("no such pool key") from None

    def _path(self, key_id: KeyId) -> Path:
        return self._state_dir / "pool" / f"{key_id}.key"

    def _reload(self) -> None:
        self._keys = {key.key_id: key for key in load_pool_keys(self._state_dir)}


def _is_key_id(text: str) -> bool:
    return len(text) == 16 and all(c in "0123456789abcdef" for c in text)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}): run `countenance init --state {path.parent}` first"
        ) from None


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _holds(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content


def _close_to_others(directory: Path) -> None:
    mode = directory.stat().st_mode
    # Passing through stays possible: an embedded PostgreSQL may run as another account below it.
    if mode & 0o066:
        directory.chmod(mode & ~0o066 & 0o7777)


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public_pem(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
