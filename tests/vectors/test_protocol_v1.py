"""Protocol version 1 is frozen: these bytes are read, and written, as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from privacy.crypto.binding import frame_aad, receipt_digest, setup_info, signed_bytes
from privacy.crypto.keys import MemoryKeyring, decode_pool_key, derive_frame_keys, sign_bundle, verify_bundle
from privacy.crypto.opening import open_setup
from privacy.governance.admission import admit_setup
from privacy.governance.audit.entries import AuditEntry, encode_entry
from privacy.governance.audit.tree import leaf_hash
from privacy.governance.erasure import ErasureReason, verify_deletion_receipt
from privacy.governance.receipts import sign_receipt, verify_receipt
from privacy.governance.tickets import sign_ticket, verify_ticket
from privacy.protocol.codec import (
    decode_control_from_agent,
    decode_control_from_ingest,
    decode_setup,
    encode_message,
    encode_setup,
)
from privacy.protocol.envelope import decode_envelope, encode_header
from privacy.protocol.payload import Features, encode_payload
from tests.unit.privacy.worlds import TENANT, make_claims

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("protocol_v1.json").read_text())
NOW: int = VECTORS["now_utc_us"]
PLATFORM = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(VECTORS["platform_private"]))
DEVICE = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(VECTORS["device_private"]))
POOL = decode_pool_key(VECTORS["pool_key"].encode())
SETUP = decode_setup(VECTORS["setup"].encode())
FEATURES = Features(
    yaw_deg=-10,
    pitch_deg=5,
    roll_deg=90,
    quality=200,
    detector_score=250,
    brightness=120,
    sharpness=80,
    attention=255,
)


def test_the_setup_is_bound_signed_and_admitted_as_it_was() -> None:
    assert encode_setup(SETUP).decode() == VECTORS["setup"]
    info = bytes.fromhex(VECTORS["info"])
    assert setup_info(SETUP) == info
    assert info.startswith(b"countenance/1 session\x01\x10")
    assert DEVICE.sign(signed_bytes(info, SETUP.encapsulated)) == SETUP.device_signature
    assert admit_setup(SETUP, PLATFORM.public_key(), now_utc_us=NOW) == make_claims(DEVICE)


def test_the_frame_keys_are_derived_as_they_were() -> None:
    opened = open_setup(SETUP, MemoryKeyring([POOL]), now_utc_us=NOW)
    assert opened._keys.key.hex() == VECTORS["frame_key"]
    assert opened._keys.salt.hex() == VECTORS["frame_salt"]
    assert derive_frame_keys(bytes(32), b"info").key.hex() == (
        "a965acb735a3078ac53afc5c929f4f299b0a27873d621e8e5f44ceba85a26c53"
    )


@pytest.mark.parametrize("number", range(3))
def test_each_frame_opens_and_is_sealed_to_the_same_bytes(number: int) -> None:
    content, envelope = (bytes.fromhex(VECTORS["frames"][number][name]) for name in ("content", "envelope"))
    frame = open_setup(SETUP, MemoryKeyring([POOL]), now_utc_us=NOW).open(envelope)
    assert (frame.content, frame.features) == (content, FEATURES)
    assert (frame.header.counter, frame.header.frame, frame.header.epoch) == (number, 100 + number, 7)
    raw_header = encode_header(frame.header)
    nonce = (int(VECTORS["frame_salt"], 16) ^ number).to_bytes(12, "big")
    sealed = AESGCM(bytes.fromhex(VECTORS["frame_key"])).encrypt(
        nonce, encode_payload(FEATURES, content), frame_aad(raw_header, receipt_digest(SETUP.receipt))
    )
    assert raw_header + sealed == envelope
    assert decode_envelope(envelope)[1] == raw_header


def test_signed_documents_are_read_and_written_as_they_were() -> None:
    root = PLATFORM.public_key()
    assert verify_bundle(VECTORS["bundle"], root, NOW) == (POOL.public,)
    assert sign_bundle([POOL.public], PLATFORM) == VECTORS["bundle"]
    claims = verify_receipt(VECTORS["receipt"], root, now_utc_us=NOW)
    assert sign_receipt(claims, PLATFORM) == VECTORS["receipt"]
    ticket = verify_ticket(VECTORS["ticket"], root, now_utc_us=NOW)
    assert sign_ticket(ticket, PLATFORM) == VECTORS["ticket"]
    deletion = verify_deletion_receipt(VECTORS["deletion_receipt"], root)
    assert deletion.reason is ErasureReason.WITHDRAWAL


def test_messages_are_read_and_written_as_they_were() -> None:
    clock, gap, ack = (text.encode() for text in VECTORS["messages"])
    for data in (clock, gap):
        assert encode_message(decode_control_from_agent(data)) == data
    assert encode_message(decode_control_from_ingest(ack)) == ack


def test_an_audit_entry_is_encoded_and_hashed_as_it_was() -> None:
    entry = AuditEntry(
        tenant=TENANT,
        at_utc_us=NOW,
        actor="api_key:1",
        action="timeline.read",
        subject="session:2",
        detail={"resolution": "second", "rows": 12, "cached": False},
    )
    encoded = encode_entry(entry, seq=3)
    assert encoded.decode() == VECTORS["audit_entry"]
    assert leaf_hash(encoded).hex() == VECTORS["audit_leaf"]
