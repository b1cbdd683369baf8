"""Signed documents: one header, one spelling, one type; interoperable with another implementation."""

from __future__ import annotations

import contextlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from privacy.crypto.jws import (
    canonical_json,
    decode_base64url,
    encode_base64url,
    load_public_key,
    sign_document,
    verify_document,
)
from privacy.errors import SignatureError

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
TYP = "test+jws"
documents = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53) + 1, 2**53 - 1),
        st.text(st.characters(codec="utf-8"), max_size=20),
    ),
    max_size=5,
)


def verify(jws: str, *, typ: str = TYP, limit_bytes: int = 4_096) -> bytes:
    return verify_document(jws, KEY.public_key(), typ=typ, limit_bytes=limit_bytes)


@given(documents)
def test_what_is_signed_verifies_and_is_canonical(document: dict[str, object]) -> None:
    payload = verify(sign_document(document, KEY, typ=TYP))
    assert json.loads(payload) == document
    assert payload == canonical_json(document)


@given(st.text(max_size=200))
def test_garbage_raises_only_the_documented_error(text: str) -> None:
    with pytest.raises(SignatureError):
        verify(text)
    with contextlib.suppress(SignatureError):
        assert encode_base64url(decode_base64url(text)) == text


def test_every_changed_character_is_refused() -> None:
    jws = sign_document({"a": 1, "b": "x"}, KEY, typ=TYP)
    for place, character in enumerate(jws):
        for other in "Ab-.=":
            if other != character:
                with pytest.raises(SignatureError):
                    verify(jws[:place] + other + jws[place + 1 :])


def test_another_type_key_length_or_algorithm_is_refused() -> None:
    jws = sign_document({"a": 1}, KEY, typ=TYP)
    with pytest.raises(SignatureError, match="type"):
        verify(jws, typ="other+jws")
    with pytest.raises(SignatureError, match="bound"):
        verify(jws, limit_bytes=len(jws) - 1)
    with pytest.raises(SignatureError, match="verify"):
        verify(sign_document({"a": 1}, Ed25519PrivateKey.generate(), typ=TYP))
    unsigned = encode_base64url(canonical_json({"alg": "none", "typ": TYP}))
    for forged in (f"{unsigned}.{jws.split('.')[1]}.", f"{unsigned}.{jws.split('.')[1]}.{jws.split('.')[2]}"):
        with pytest.raises(SignatureError):
            verify(forged)


def test_another_implementation_reads_and_writes_the_same_documents() -> None:
    from joserfc import jws as peer
    from joserfc.jwk import OKPKey

    key = OKPKey.import_key(
        {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": encode_base64url(KEY.public_key().public_bytes_raw()),
            "d": encode_base64url(KEY.private_bytes_raw()),
        }
    )
    ours = sign_document({"a": 1}, KEY, typ=TYP)
    theirs_read = peer.deserialize_compact(ours, key, algorithms=["Ed25519"])
    assert theirs_read.payload == b'{"a":1}'
    theirs = peer.serialize_compact({"alg": "Ed25519", "typ": TYP}, b'{"a":1}', key, algorithms=["Ed25519"])
    assert verify(theirs) == b'{"a":1}'


def test_what_canonical_json_cannot_say_is_refused() -> None:
    for document in ({"a": float("nan")}, {"a": 2**53}, {"a": "\ud800"}, {"a": object()}):
        with pytest.raises(SignatureError):
            sign_document(document, KEY, typ=TYP)


def test_a_public_key_of_another_length_is_refused() -> None:
    for raw in (b"", bytes(31), bytes(33)):
        with pytest.raises(SignatureError):
            load_public_key(raw)
