"""Write what another implementation can check itself by: `python -m tests.vectors.make_interop`.

Every computation of docs/protocol/client.md with its inputs and its results, bytes in hexadecimal. All of it is
fixed: secrets, ephemeral key and times are constants, so that running this again gives the same files.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from privacy.crypto.binding import frame_aad, receipt_digest, session_info, signed_bytes
from privacy.crypto.jws import canonical_json, encode_base64url
from privacy.crypto.keys import decode_pool_key, derive_frame_keys, sign_bundle
from privacy.governance.erasure import ErasureReason, StepOutcome, plan_erasure, sign_deletion_receipt
from privacy.governance.receipts import sign_receipt
from privacy.governance.tickets import TicketClaims, sign_ticket
from privacy.protocol import limits
from privacy.protocol.codec import encode_message, encode_setup
from privacy.protocol.content import Scores, encode_scores_content
from privacy.protocol.envelope import Codec, DatagramKind, Header, encode_header, wrap_datagram
from privacy.protocol.messages import (
    Ack,
    Answer,
    Bye,
    Clock,
    ClockOffset,
    ClockReply,
    Counters,
    Gap,
    Offer,
    Refusals,
    Refused,
    Revoked,
    Segment,
    SessionSetup,
    Withdraw,
)
from privacy.protocol.payload import Features, encode_payload
from tests.unit.privacy.worlds import NOW_UTC_US, SESSION, TENANT, make_claims
from tests.vectors.make_protocol_v1 import DEVICE, PLATFORM, POOL_KEY

FOLDER = Path(__file__).with_name("interop")
CANVAS = Path(__file__).with_name("canvas_96px.jpg")
"""What Chromium's canvas wrote for a drawing of two discs: APP0, then an ICC profile in APP2."""

POOL = decode_pool_key(POOL_KEY)
EPHEMERAL = X25519PrivateKey.from_private_bytes(bytes(range(64, 96)))
SECRET = bytes(range(96, 128))
EPOCH = 7
NOT_AFTER_UTC_US = NOW_UTC_US + 600_000_000
RECEIPT = sign_receipt(make_claims(DEVICE), PLATFORM)
FEATURES = Features(yaw_deg=-10, pitch_deg=5, roll_deg=90, quality=200, detector_score=250, attention=255)


def hpke_seal(public: bytes, info: bytes, plaintext: bytes) -> dict[str, str]:
    """RFC 9180, base mode, one message, with every value on the way (KEM 0x0020, KDF 0x0001, AEAD 0x0002)."""
    kem, suite = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x02"

    def extract(salt: bytes, label: bytes, ikm: bytes, suite_id: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite_id + label + ikm, "sha256")

    def expand(prk: bytes, label: bytes, context: bytes, length: int, suite_id: bytes) -> bytes:
        block = struct.pack(">H", length) + b"HPKE-v1" + suite_id + label + context + b"\x01"
        return hmac.digest(prk, block, "sha256")[:length]

    enc = EPHEMERAL.public_key().public_bytes_raw()
    shared = EPHEMERAL.exchange(X25519PublicKey.from_public_bytes(public))
    eae_prk = extract(b"", b"eae_prk", shared, kem)
    shared_secret = expand(eae_prk, b"shared_secret", enc + public, 32, kem)
    context = b"\x00" + extract(b"", b"psk_id_hash", b"", suite) + extract(b"", b"info_hash", info, suite)
    secret = extract(shared_secret, b"secret", b"", suite)
    key = expand(secret, b"key", context, 32, suite)
    nonce = expand(secret, b"base_nonce", context, 12, suite)
    return {
        "ephemeral_private": EPHEMERAL.private_bytes_raw().hex(),
        "recipient_private": POOL.private_bytes.hex(),
        "recipient_public": public.hex(),
        "info": info.hex(),
        "plaintext": plaintext.hex(),
        "enc": enc.hex(),
        "dh": shared.hex(),
        "shared_secret": shared_secret.hex(),
        "key_schedule_context": context.hex(),
        "key": key.hex(),
        "base_nonce": nonce.hex(),
        "blob": (enc + AESGCM(key).encrypt(nonce, plaintext, b"")).hex(),
    }


INFO = session_info(
    key_id=POOL.key_id,
    session=SESSION,
    tenant=TENANT,
    receipt_sha256=receipt_digest(RECEIPT),
    device_public_key=DEVICE.public_key().public_bytes_raw(),
    epoch=EPOCH,
    not_after_utc_us=NOT_AFTER_UTC_US,
)
HPKE = hpke_seal(POOL.public.public_bytes, INFO, SECRET)
BLOB = bytes.fromhex(HPKE["blob"])
KEYS = derive_frame_keys(SECRET, INFO)
SETUP = SessionSetup(
    session=str(SESSION),
    tenant=str(TENANT),
    epoch=EPOCH,
    key_id=POOL.key_id,
    not_after_utc_us=NOT_AFTER_UTC_US,
    device_public_key=DEVICE.public_key().public_bytes_raw(),
    encapsulated=BLOB,
    device_signature=DEVICE.sign(signed_bytes(INFO, BLOB)),
    receipt=RECEIPT,
)


def epoch_vectors() -> dict[str, Any]:
    """Steps 3 of the page: info, HPKE, signature, key schedule, setup."""
    signed = signed_bytes(INFO, BLOB)
    return {
        "session": str(SESSION),
        "tenant": str(TENANT),
        "key_id": POOL.key_id,
        "epoch": EPOCH,
        "not_after_utc_us": NOT_AFTER_UTC_US,
        "receipt": RECEIPT,
        "receipt_sha256": receipt_digest(RECEIPT).hex(),
        "info": INFO.hex(),
        "hpke": HPKE,
        "device_private": DEVICE.private_bytes_raw().hex(),
        "device_public": DEVICE.public_key().public_bytes_raw().hex(),
        "signed": signed.hex(),
        "device_signature": DEVICE.sign(signed).hex(),
        "session_secret": SECRET.hex(),
        "prk": hmac.digest(hashlib.sha256(INFO).digest(), SECRET, "sha256").hex(),
        "frame_key": KEYS.key.hex(),
        "frame_salt": KEYS.salt.hex(),
        "setup": encode_setup(SETUP).decode(),
    }


def frame_vectors() -> list[dict[str, Any]]:
    """Step 5: plaintext, header, nonce, AAD, envelope, datagram."""
    scores = encode_scores_content(Scores(probabilities=bytes([10, 20, 30, 40, 50, 105]), confidence=99))
    canvas = CANVAS.read_bytes()
    kinds = [
        (0, Codec.JPEG_RGB, 96, canvas, DatagramKind.LIVE),
        (1, Codec.RAW_GRAY, 48, bytes(range(48)) * 48, DatagramKind.LIVE),
        (258, Codec.SCORES, 0, scores, DatagramKind.LATE),
        (limits.EPOCH_MAX_FRAMES - 1, Codec.RAW_GRAY, 16, bytes(256), DatagramKind.LIVE),
    ]
    return [_frame(*kind, number=number) for number, kind in enumerate(kinds)]


def _frame(
    counter: int, codec: Codec, side: int, content: bytes, kind: DatagramKind, *, number: int
) -> dict[str, Any]:
    plaintext = encode_payload(FEATURES, content)
    fields = {
        "codec": codec.value,
        "epoch": EPOCH,
        "counter": counter,
        "frame": 100 + number,
        "media_time_us": -5 + number,
        "monotonic_us": 123_456_789 + number,
        "face": 0,
        "faces": 1 + number,
        "width": side,
        "height": side,
        "detector": 2,
        "segment": 3,
        "ciphertext_length": len(plaintext) + limits.TAG_BYTES,
    }
    header = encode_header(Header(**(fields | {"codec": codec, "session": SESSION})))
    nonce, aad = KEYS.nonce(counter), frame_aad(header, receipt_digest(RECEIPT))
    envelope = header + AESGCM(KEYS.key).encrypt(nonce, plaintext, aad)
    return {
        "fields": {"session": str(SESSION)} | fields,
        "features": {name: getattr(FEATURES, name) for name in Features.__dataclass_fields__},
        "content": content.hex(),
        "plaintext": plaintext.hex(),
        "header": header.hex(),
        "nonce": nonce.hex(),
        "aad": aad.hex(),
        "envelope": envelope.hex(),
        "kind": kind.value,
        "datagram": wrap_datagram(kind, envelope).hex(),
    }


def document_vectors() -> dict[str, Any]:
    """Step 2: signed documents that verify, and such as must not."""
    ticket = TicketClaims(
        session=SESSION,
        tenant=TENANT,
        receipt_sha256=receipt_digest(RECEIPT).hex(),
        expires_utc_us=NOW_UTC_US + 60_000_000,
        nonce="AAAAAAAAAAAAAAAAAAAAAA",
    )
    plan = plan_erasure(TENANT, SESSION, reason=ErasureReason.WITHDRAWAL)
    deletion = sign_deletion_receipt(
        plan,
        tuple(StepOutcome(step=step, before=2, after=0) for step in plan.steps),
        PLATFORM,
        receipt_id=UUID(int=1),
        pseudonym="viewer-7",
        requested_utc_us=NOW_UTC_US,
        completed_utc_us=NOW_UTC_US + 1,
    )
    documents = {
        "bundle": ("countenance-keys+jws", sign_bundle([POOL.public], PLATFORM)),
        "receipt": ("countenance-receipt+jws", RECEIPT),
        "ticket": ("countenance-ticket+jws", sign_ticket(ticket, PLATFORM)),
        "deletion_receipt": ("countenance-deletion+jws", deletion),
    }
    return {
        "now_utc_us": NOW_UTC_US,
        "platform_private": PLATFORM.private_bytes_raw().hex(),
        "platform_public": PLATFORM.public_key().public_bytes_raw().hex(),
        "good": [{"kind": kind, "typ": typ, "jws": jws} for kind, (typ, jws) in documents.items()],
        "bad": [{"typ": "countenance-ticket+jws", "jws": jws, "why": why} for why, jws in _forged(documents)],
    }


def _forged(documents: dict[str, tuple[str, str]]) -> list[tuple[str, str]]:
    header, payload, signature = documents["ticket"][1].split(".")
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    none = encode_base64url(b'{"alg":"none","typ":"countenance-ticket+jws"}')
    spaced = encode_base64url(b'{"alg": "Ed25519","typ":"countenance-ticket+jws"}')
    changed = encode_base64url(canonical_json({"session": str(TENANT)}))
    return [
        ("another typ", documents["receipt"][1]),
        (
            "another key",
            f"{header}.{payload}.{encode_base64url(stranger.sign(f'{header}.{payload}'.encode()))}",
        ),
        ("no algorithm", f"{none}.{payload}."),
        (
            "a header spelled otherwise, signed all the same",
            f"{spaced}.{payload}.{encode_base64url(PLATFORM.sign(f'{spaced}.{payload}'.encode()))}",
        ),
        ("a changed payload", f"{header}.{changed}.{signature}"),
        ("padding", f"{header}.{payload}.{signature}=="),
        (
            "spare bits that are not zero",
            f"{header}.{payload}.{signature[:-1]}{'B' if signature[-1] == 'A' else 'R'}",
        ),
        ("two parts", f"{header}.{payload}"),
        ("four parts", f"{header}.{payload}.{signature}."),
    ]


def consent_vectors() -> dict[str, Any]:
    """Step 1.6: what the device signs in a consent."""
    body = {
        "purposes": ["capture", "cloud_scoring"],
        "opted_out": ["sad"],
        "notice_sha256": "ab" * 32,
        "device_public_key": encode_base64url(DEVICE.public_key().public_bytes_raw()),
        "adult": True,
    }
    canonical = canonical_json(body)
    return {
        "body": body,
        "canonical": canonical.decode(),
        "device_signature": encode_base64url(DEVICE.sign(canonical)),
    }


def jpeg_vectors() -> list[dict[str, Any]]:
    """W10: what a canvas writes and what is made of it, accepted or not."""
    canvas = CANVAS.read_bytes()
    icc_at = canvas.index(b"\xff\xe2")
    icc_ends = icc_at + 2 + int.from_bytes(canvas[icc_at + 2 : icc_at + 4], "big")
    icc, plain = canvas[icc_at:icc_ends], canvas[:icc_at] + canvas[icc_ends:]
    frame_at = plain.index(b"\xff\xc0")
    exif = b"\xff\xe1\x00\x10Exif\0\0" + bytes(8)
    bare = plain[:2] + plain[plain.index(b"\xff\xdb") :]
    oversized = b"ICC_PROFILE\0\x01\x01" + bytes(1_011)
    cases = [
        ("as the canvas wrote it, with an ICC profile in APP2", canvas, None),
        ("the same without the profile", plain, None),
        ("the same without APP0 either", bare, None),
        ("Exif in APP1", plain[:2] + exif + plain[2:], "no APPn but one APP0 and one APP2"),
        ("two profiles", canvas[:icc_at] + icc + canvas[icc_at:], "one APP2 at most"),
        (
            "one of two chunks of a profile",
            canvas.replace(b"PROFILE\0\x01\x01", b"PROFILE\0\x01\x02"),
            "whole profile",
        ),
        (
            "a profile over 1,024 bytes",
            plain[:2] + b"\xff\xe2" + struct.pack(">H", 2 + len(oversized)) + oversized + plain[2:],
            "APP2 of at most 1,024 bytes",
        ),
        (
            "an APP2 that holds no profile",
            plain[:2] + b"\xff\xe2\x00\x06MPF\0" + plain[2:],
            "APP2 is for a profile",
        ),
        ("a comment", plain[:2] + b"\xff\xfe\x00\x05abc" + plain[2:], "no comment"),
        ("bytes after EOI", plain + b"\0", "EOI is last"),
        ("no EOI", plain[:-2], "EOI is last"),
        ("progressive", plain[:frame_at] + b"\xff\xc2" + plain[frame_at + 2 :], "baseline"),
        (
            "another height than the header's",
            plain[: frame_at + 5] + b"\x00\x61" + plain[frame_at + 7 :],
            "the header's width and height",
        ),
    ]
    return [
        {"name": name, "width": 96, "height": 96, "codec": 1, "jpeg": data.hex(), "refused": why}
        for name, data, why in cases
    ]


def message_vectors() -> list[dict[str, Any]]:
    """Messages of both directions, and such as are refused; `text` is what is on the wire."""
    from_client = [
        Clock(t1_monotonic_us=1),
        ClockOffset(offset_us=-5, error_us=2),
        Segment(segment=0, media_time_us=0, monotonic_us=1, rate_permille=1_000),
        Counters(captured=3, with_face=2, sent=1, skipped={"no_face": 1, "busy_channel": 1}),
        Gap(first_frame=1, last_frame=2, segment=0, media_time_us=-3, reason="dark"),
        Withdraw(monotonic_us=9),
        Bye(last_frame=-1),
    ]
    from_ingest = [
        ClockReply(t1_monotonic_us=1, t2_utc_us=2, t3_utc_us=3),
        Ack(bucket=3, mask=5, committed_utc_us=7),
        Refusals(counts={"content": 90, "stale": 1}),
        Revoked(reason="consent was withdrawn"),
    ]
    signalling = [
        Answer(sdp="v=0"),
        Refused(code=503, reason="no room for another session", retry_after_ms=2_000),
        Revoked(reason="consent has expired"),
    ]
    offers = [Offer(ticket="t", sdp="v=0", setup=SETUP), Offer(ticket="t", sdp="v=0", setup=SETUP, minor=1)]
    good = {
        "ctl_from_client": from_client,
        "ctl_from_ingest": from_ingest,
        "signalling": signalling,
        "offer": offers,
    }
    bad = {
        "ctl_from_client": [
            '{"type":"clock","t1_monotonic_us":-1}',
            '{"type":"clock","t1_monotonic_us":1,"extra":1}',
            '{"type":"clock","t1_monotonic_us":1.5}',
            '{"type":"bye"}',
            '{"type":"hello"}',
            '{"type":"ack","bucket":0,"mask":1,"committed_utc_us":1}',
            '{"type":"counters","captured":1,"with_face":1,"sent":0,"skipped":{"bored":1}}',
            '{"t1_monotonic_us":1}',
            "[]",
        ],
        "ctl_from_ingest": [
            '{"type":"refusals","counts":{"bored":1}}',
            '{"type":"clock","t1_monotonic_us":1}',
        ],
    }
    return [
        {"schema": name, "text": encode_message(message).decode(), "accepted": True}
        for name, messages in good.items()
        for message in messages
    ] + [{"schema": name, "text": text, "accepted": False} for name, texts in bad.items() for text in texts]


def interop_vectors() -> dict[str, Any]:
    """Give each file's content by its name without suffix."""
    return {
        "epoch": epoch_vectors(),
        "frames": frame_vectors(),
        "documents": document_vectors(),
        "consent": consent_vectors(),
        "jpeg": jpeg_vectors(),
        "messages": message_vectors(),
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, content in interop_vectors().items():
        (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
