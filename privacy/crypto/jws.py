"""Compact JSON web signatures with Ed25519 over canonical JSON (RFC 7515, RFC 8785, RFC 9864).

Only one header is ever accepted: `{"alg":"Ed25519","typ":<typ>}`. The algorithm is not negotiated, and
`typ` keeps a document of one kind from being read as another (protocol rule K6).
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, cast

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy.crypto.small_order import is_sound_ed25519
from privacy.errors import SignatureError

SIGNATURE_BYTES = 64
PUBLIC_KEY_BYTES = 32


def canonical_json(document: object) -> bytes:
    """Write a document as RFC 8785 canonical JSON.

    Raises:
        SignatureError: it holds something that canonical JSON cannot express.
    """
    try:
        return bytes(rfc8785.dumps(cast(Any, document)))
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        raise SignatureError("document cannot be written as canonical JSON") from None


def encode_base64url(data: bytes) -> str:
    """Write bytes as base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64url(text: str) -> bytes:
    """Read base64url without padding; each byte string has exactly one accepted spelling.

    Raises:
        SignatureError: it is anything else.
    """
    try:
        raw = text.encode("ascii")
        data = base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise SignatureError("malformed base64url") from None
    if encode_base64url(data) != text:
        raise SignatureError("base64url is not in its one accepted spelling")
    return data


def sign_document(document: object, key: Ed25519PrivateKey, *, typ: str) -> str:
    """Sign the canonical JSON of a document.

    Raises:
        SignatureError: the document cannot be written as canonical JSON.
    """
    signing_input = f"{_header(typ)}.{encode_base64url(canonical_json(document))}"
    return f"{signing_input}.{encode_base64url(key.sign(signing_input.encode('ascii')))}"


def verify_document(jws: str, key: Ed25519PublicKey, *, typ: str, limit_bytes: int) -> bytes:
    """Check a signature and give the payload's bytes.

    Raises:
        SignatureError: too long, malformed, of another type, or not signed by this key.
    """
    if len(jws) > limit_bytes:
        raise SignatureError("signed document is over its bound")
    parts = jws.split(".")
    if len(parts) != 3 or parts[0] != _header(typ):
        raise SignatureError("signed document is malformed or of another type")
    payload, signature = decode_base64url(parts[1]), decode_base64url(parts[2])
    try:
        key.verify(signature, f"{parts[0]}.{parts[1]}".encode("ascii"))
    except InvalidSignature:
        raise SignatureError("signature does not verify") from None
    return payload


def load_public_key(raw: bytes) -> Ed25519PublicKey:
    """Read an Ed25519 public key from its 32 bytes.

    Raises:
        SignatureError: it is not one, is of small order, or is spelled in a second way.
    """
    if len(raw) != PUBLIC_KEY_BYTES or not is_sound_ed25519(raw):
        raise SignatureError("not an Ed25519 public key that can prove anything")
    try:
        return Ed25519PublicKey.from_public_bytes(raw)
    except ValueError:
        raise SignatureError("not an Ed25519 public key") from None


def _header(typ: str) -> str:
    return encode_base64url(canonical_json({"alg": "Ed25519", "typ": typ}))
