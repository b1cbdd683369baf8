"""Seal records at rest under a session's data key, and the data key under a key-encryption key.

    blob = version (1) | nonce (12, random) | ciphertext with a 16-byte tag
    pack = AES-256-XTS over 16-byte slots; the tweak is the pack's place

A data key seals a handful of blobs and a key-encryption key some millions of data keys, both far below
the 2^32 that random nonces allow. A pack of hot frames is sealed slot by slot and without growing, so that the database
can merge packs that it cannot read: what XTS hides is the content, not that a slot was written twice alike; it does not
authenticate (protocol rule R6).
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from privacy.errors import OpeningError

KEY_BYTES = 32
_VERSION = b"\x01"
_NONCE_BYTES = 12
_TAG_BYTES = 16
WRAPPED_BYTES = 1 + _NONCE_BYTES + KEY_BYTES + _TAG_BYTES
"""Length of a wrapped data key."""

_RECORD_LABEL = b"countenance/1 record\0"
_KEY_LABEL = b"countenance/1 data key\0"
_SLOT_LABEL = b"countenance/1 hot slots\0"
_SLOT_KEY_BYTES = 64
SLOT_BYTES = 16


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


class SlotSealer:
    """Seals and opens packs of 16-byte slots under a session's data key, each slot on its own."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError("key must have 32 bytes")
        self._algorithm = algorithms.AES(HKDFExpand(SHA256(), _SLOT_KEY_BYTES, _SLOT_LABEL).derive(key))

    def __repr__(self) -> str:
        return "SlotSealer()"

    def seal(self, slots: bytes, *, place: bytes) -> bytes:
        """Seal a pack.

        Args:
            slots: whole slots of `SLOT_BYTES` each.
            place: 16 bytes that no other pack of the session has.
        """
        encryptor = Cipher(self._algorithm, modes.XTS(place)).encryptor()
        return encryptor.update(_whole(slots)) + encryptor.finalize()

    def open(self, sealed: bytes, *, place: bytes) -> bytes:
        """Open a pack, whichever of its slots were sealed together; what was sealed otherwise becomes noise."""
        decryptor = Cipher(self._algorithm, modes.XTS(place)).decryptor()
        return decryptor.update(_whole(sealed)) + decryptor.finalize()


def _whole(slots: bytes) -> bytes:
    # a part of a slot would make XTS steal from its neighbour, and slots could no longer be merged
    if not slots or len(slots) % SLOT_BYTES:
        raise ValueError("a pack must hold whole slots")
    return slots


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
