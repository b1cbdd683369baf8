"""The vectors for other implementations are what this one computes, reads and refuses."""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from jsonschema import Draft202012Validator

from cloud.api.protocol_schemas import protocol_schemas
from privacy.crypto.jws import decode_base64url, verify_document
from privacy.crypto.keys import MemoryKeyring, decode_pool_key, verify_bundle
from privacy.crypto.opening import open_setup
from privacy.errors import ContentError, MessageError, SignatureError
from privacy.governance.admission import admit_setup
from privacy.governance.erasure import verify_deletion_receipt
from privacy.governance.receipts import verify_receipt
from privacy.governance.tickets import verify_ticket
from privacy.protocol.codec import (
    decode_control_from_agent,
    decode_control_from_ingest,
    decode_setup,
    decode_signalling,
    encode_message,
)
from privacy.protocol.envelope import Codec, unwrap_datagram
from privacy.protocol.jpeg import check_jpeg
from privacy.protocol.payload import Features
from tests.vectors.make_interop import FOLDER, interop_vectors
from tests.vectors.make_protocol_v1 import POOL_KEY

VECTORS: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
NOW: int = VECTORS["documents"]["now_utc_us"]
PLATFORM = Ed25519PublicKey.from_public_bytes(bytes.fromhex(VECTORS["documents"]["platform_public"]))
DECODERS = {
    "ctl_from_client": decode_control_from_agent,
    "ctl_from_ingest": decode_control_from_ingest,
    "signalling": decode_signalling,
    "offer": decode_signalling,
}


def test_the_files_are_what_the_script_writes() -> None:
    assert interop_vectors() == VECTORS, "run `python -m tests.vectors.make_interop`"


def test_the_setup_is_admitted_and_opens_to_the_secret() -> None:
    epoch = VECTORS["epoch"]
    setup = decode_setup(epoch["setup"].encode())
    admit_setup(setup, PLATFORM, now_utc_us=NOW)
    opened = open_setup(setup, MemoryKeyring([decode_pool_key(POOL_KEY)]), now_utc_us=NOW)
    assert (str(opened.session), opened.epoch) == (epoch["session"], epoch["epoch"])
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
    hpke = {name: bytes.fromhex(value) for name, value in epoch["hpke"].items()}
    recipient = X25519PrivateKey.from_private_bytes(hpke["recipient_private"])
    assert suite.decrypt(hpke["blob"], recipient, hpke["info"]).hex() == epoch["session_secret"]
    with pytest.raises(InvalidTag):
        suite.decrypt(hpke["blob"], recipient, hpke["info"] + b"\0")


@pytest.mark.parametrize("frame", VECTORS["frames"], ids=lambda frame: str(frame["fields"]["frame"]))
def test_each_frame_opens_to_its_content(frame: dict[str, Any]) -> None:
    setup = decode_setup(VECTORS["epoch"]["setup"].encode())
    opener = open_setup(setup, MemoryKeyring([decode_pool_key(POOL_KEY)]), now_utc_us=NOW)
    kind, envelope = unwrap_datagram(bytes.fromhex(frame["datagram"]))
    opened = opener.open(envelope)
    assert (kind.value, envelope.hex(), opened.content.hex()) == (
        frame["kind"],
        frame["envelope"],
        frame["content"],
    )
    assert opened.features == Features(**frame["features"])
    fields = {name: getattr(opened.header, name) for name in frame["fields"]}
    assert fields | {"session": str(fields["session"])} == frame["fields"]


@pytest.mark.parametrize("document", VECTORS["documents"]["good"], ids=lambda document: document["kind"])
def test_each_signed_document_verifies_and_has_the_form_of_its_schema(document: dict[str, Any]) -> None:
    payload = verify_document(document["jws"], PLATFORM, typ=document["typ"], limit_bytes=1 << 14)
    Draft202012Validator(protocol_schemas()[document["kind"]]).validate(json.loads(payload))
    readers = {
        "bundle": lambda jws: verify_bundle(jws, PLATFORM, NOW),
        "receipt": lambda jws: verify_receipt(jws, PLATFORM, now_utc_us=NOW),
        "ticket": lambda jws: verify_ticket(jws, PLATFORM, now_utc_us=NOW),
        "deletion_receipt": lambda jws: verify_deletion_receipt(jws, PLATFORM),
    }
    assert readers[document["kind"]](document["jws"])


@pytest.mark.parametrize("document", VECTORS["documents"]["bad"], ids=lambda document: document["why"])
def test_no_forged_document_verifies(document: dict[str, Any]) -> None:
    with pytest.raises(SignatureError):
        verify_document(document["jws"], PLATFORM, typ=document["typ"], limit_bytes=1 << 14)


def test_the_consents_signature_is_the_devices() -> None:
    consent = VECTORS["consent"]
    device = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(VECTORS["epoch"]["device_private"]))
    device.public_key().verify(decode_base64url(consent["device_signature"]), consent["canonical"].encode())
    body = consent["body"] | {"device_signature": consent["device_signature"]}
    Draft202012Validator(protocol_schemas()["consent"]).validate(body)


@pytest.mark.parametrize("case", VECTORS["jpeg"], ids=lambda case: case["name"])
def test_each_jpeg_is_accepted_or_refused_as_it_says(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["jpeg"])
    assert case["codec"] == Codec.JPEG_RGB
    if case["refused"] is None:
        check_jpeg(data, width=case["width"], height=case["height"], components=3)
        plain = bytes.fromhex(VECTORS["jpeg"][1]["jpeg"])
        assert np.array_equal(*(cv2.imdecode(np.frombuffer(one, np.uint8), 1) for one in (data, plain)))
    else:
        with pytest.raises(ContentError):
            check_jpeg(data, width=case["width"], height=case["height"], components=3)


@pytest.mark.parametrize("case", VECTORS["messages"], ids=lambda case: case["text"][:60])
def test_each_message_is_read_or_refused_as_it_says_and_by_its_schema(case: dict[str, Any]) -> None:
    validator = Draft202012Validator(protocol_schemas()[case["schema"]])
    assert validator.is_valid(json.loads(case["text"])) is case["accepted"]
    if case["accepted"]:
        assert encode_message(DECODERS[case["schema"]](case["text"].encode())).decode() == case["text"]
    else:
        with pytest.raises(MessageError):
            DECODERS[case["schema"]](case["text"].encode())
