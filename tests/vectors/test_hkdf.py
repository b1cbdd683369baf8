"""Key derivation: RFC 5869's vectors, and ours against an independent HKDF that passes them."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from privacy.crypto.keys import derive_frame_keys


def extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.new(salt or bytes(32), secret, hashlib.sha256).digest()


def expand(key: bytes, info: bytes, length: int) -> bytes:
    output, block = b"", b""
    for counter in range(1, 256):
        block = hmac.new(key, block + info + bytes((counter,)), hashlib.sha256).digest()
        output += block
        if len(output) >= length:
            break
    return output[:length]


RFC_5869 = {
    "A.1": (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    "A.3": (
        "0b" * 22,
        "",
        "",
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
    ),
}


@pytest.mark.parametrize("case", RFC_5869)
def test_the_vectors_of_rfc_5869_hold(case: str) -> None:
    secret, salt, info, extracted, output = map(bytes.fromhex, RFC_5869[case])
    assert extract(salt, secret) == extracted
    assert expand(extracted, info, 42) == output
    assert hmac.digest(salt, secret, "sha256") == extracted
    assert HKDFExpand(SHA256(), 42, info).derive(extracted) == output


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_our_derivation_is_hkdf_with_two_labels(secret: bytes, info: bytes) -> None:
    extracted = extract(hashlib.sha256(info).digest(), secret)
    keys = derive_frame_keys(secret, info)
    assert keys.key == expand(extracted, b"countenance/1 frame key", 32)
    assert keys.salt == expand(extracted, b"countenance/1 frame salt", 12)
