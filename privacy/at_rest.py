"""Seal records at rest under a session's data key, and the data key under a key-encryption key.

    blob = version (1) | nonce (12, random) | ciphertext with a 16-byte tag

A data key seals a handful of blobs and a key-encryption key some millions of data keys, both far below
the 2^32 that random nonces allow (protocol rule R6).
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from privacy.errors import OpeningError

KEY_BYTES = 32
_VERSION = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16
_RECORD_LABEL = b"countenance/1 record\0"
_KEY_LABEL = b"countenance/1 data key\0"


def new_data_key() -> bytes:
    """Make a fresh 32-byte key."""
    return os.urandom(KEY_BYTES)


def seal_at_rest(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    """Seal one record.

    Args:
        key: 32 bytes, from `new_data_key` or `unwrap_key`.
        plaintext: anything.
        aad: where the record belongs (tenant, session, level); the same bytes open it.
    """
    return _seal(key, plaintext, _RECORD_LABEL + aad)


def open_at_rest(key: bytes, blob: bytes, aad: bytes) -> bytes:
    """Open one record.

    Raises:
        OpeningError: malformed, another key, or it belongs elsewhere.
    """
    return _open(key, blob, _RECORD_LABEL + aad)


def wrap_key(kek: bytes, key: bytes, aad: bytes) -> bytes:
    """Seal a data key under a key-encryption key, both 32 bytes."""
    if len(key) != KEY_BYTES:
        raise ValueError("data key must have 32 bytes")
    return _seal(kek, key, _KEY_LABEL + aad)


def unwrap_key(kek: bytes, wrapped: bytes, aad: bytes) -> bytes:
    """Open a data key.

    Raises:
        OpeningError: malformed, another key-encryption key, or it belongs elsewhere.
    """
    return _open(kek, wrapped, _KEY_LABEL + aad)


def _seal(key: bytes, plaintext: bytes, aad: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise ValueError("key must have 32 bytes")
    nonce = os.urandom(_NONCE_BYTES)
    return _VERSION + nonce + AESGCM(key).encrypt(nonce, plaintext, aad)


def _open(key: bytes, blob: bytes, aad: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise OpeningError("key must have 32 bytes")
    if len(blob) < 1 + _NONCE_BYTES + _TAG_BYTES or blob[:1] != _VERSION:
        raise OpeningError("sealed record is malformed")
    try:
        return AESGCM(key).decrypt(bytes(blob[1 : 1 + _NONCE_BYTES]), bytes(blob[1 + _NONCE_BYTES :]), aad)
    except InvalidTag:
        raise OpeningError("sealed record does not open") from None
