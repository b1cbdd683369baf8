"""Write the golden vectors of protocol version 1: `python -m tests.vectors.make_protocol_v1`.

Run once per protocol version and never again for the same one: agents in the field depend on these
bytes. Everything is fixed except HPKE's ephemeral key.
"""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.crypto.binding import setup_info
from privacy.crypto.keys import PoolPrivateKey, decode_pool_key, sign_bundle
from privacy.crypto.sealing import SessionSealer
from privacy.governance.audit.entries import AuditEntry, encode_entry
from privacy.governance.audit.tree import leaf_hash
from privacy.governance.erasure import ErasureReason, StepOutcome, plan_erasure, sign_deletion_receipt
from privacy.governance.receipts import receipt_digest, sign_receipt
from privacy.governance.tickets import TicketClaims, sign_ticket
from privacy.protocol.codec import encode_message, encode_setup
from privacy.protocol.content import Scores, encode_scores_content
from privacy.protocol.envelope import Codec
from privacy.protocol.ids import SessionId, TenantId
from privacy.protocol.messages import Ack, Clock, Gap
from privacy.protocol.payload import Features
from tests.unit.privacy.worlds import NOW_UTC_US, SESSION, TENANT, make_claims

PATH = Path(__file__).with_name("protocol_v1.json")
POOL_KEY = (
    b'{"private":"ISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0-P0A",'
    b'"not_before_utc_us":1795000000000000,"not_after_utc_us":1795090000000000}'
)
PLATFORM = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
DEVICE = Ed25519PrivateKey.from_private_bytes(bytes(range(32, 64)))


def seal_frames(sealer: SessionSealer) -> list[dict[str, object]]:
    """Seal two crops and one score."""
    scores = encode_scores_content(Scores(probabilities=bytes([10, 20, 30, 40, 50, 105]), confidence=99))
    kinds = (
        (Codec.JPEG_RGB, 96, b"first crop"),
        (Codec.RAW_GRAY, 48, bytes(48 * 48)),
        (Codec.SCORES, 0, scores),
    )
    frames = []
    for number, (codec, side, content) in enumerate(kinds):
        envelope = sealer.seal(
            now_utc_us=NOW_UTC_US,
            codec=codec,
            frame=100 + number,
            media_time_us=-5 + number,
            monotonic_us=123_456_789 + number,
            face=0,
            faces=1 + number,
            width=side,
            height=side,
            detector=2,
            segment=3,
            features=Features(
                yaw_deg=-10,
                pitch_deg=5,
                roll_deg=90,
                quality=200,
                detector_score=250,
                brightness=120,
                sharpness=80,
                attention=255,
            ),
            content=content,
        )
        frames.append({"content": content.hex(), "envelope": envelope.hex()})
    return frames


def make_vectors(pool: PoolPrivateKey) -> dict[str, object]:
    """Compute every vector."""
    claims = make_claims(DEVICE)
    receipt = sign_receipt(claims, PLATFORM)
    sealer = SessionSealer.start(
        pool.public,
        session=SessionId(SESSION),
        tenant=TenantId(TENANT),
        epoch=7,
        receipt=receipt,
        device_key=DEVICE,
        not_after_utc_us=NOW_UTC_US + 600_000_000,
    )
    ticket = TicketClaims(
        session=SESSION,
        tenant=TENANT,
        receipt_sha256=receipt_digest(receipt).hex(),
        expires_utc_us=NOW_UTC_US + 120_000_000,
        nonce="AAAAAAAAAAAAAAAAAAAAAA",
    )
    plan = plan_erasure(TENANT, SESSION, reason=ErasureReason.WITHDRAWAL)
    outcomes = tuple(StepOutcome(step=step, before=2, after=0) for step in plan.steps)
    entry = encode_entry(
        AuditEntry(
            tenant=TENANT,
            at_utc_us=NOW_UTC_US,
            actor="api_key:1",
            action="timeline.read",
            subject="session:2",
            detail={"resolution": "second", "rows": 12, "cached": False},
        ),
        seq=3,
    )
    return {
        "now_utc_us": NOW_UTC_US,
        "pool_key": POOL_KEY.decode(),
        "platform_private": PLATFORM.private_bytes_raw().hex(),
        "device_private": DEVICE.private_bytes_raw().hex(),
        "bundle": sign_bundle([pool.public], PLATFORM),
        "receipt": receipt,
        "ticket": sign_ticket(ticket, PLATFORM),
        "deletion_receipt": sign_deletion_receipt(
            plan,
            outcomes,
            PLATFORM,
            receipt_id=UUID(int=1),
            pseudonym="viewer-7",
            requested_utc_us=NOW_UTC_US,
            completed_utc_us=NOW_UTC_US + 1,
        ),
        "setup": encode_setup(sealer.setup).decode(),
        "info": setup_info(sealer.setup).hex(),
        "frame_key": sealer._keys.key.hex(),
        "frame_salt": sealer._keys.salt.hex(),
        "frames": seal_frames(sealer),
        "messages": [
            encode_message(message).decode()
            for message in (
                Clock(t1_monotonic_us=1),
                Gap(first_frame=1, last_frame=2, segment=0, media_time_us=-3, reason="dark"),
                Ack(bucket=3, mask=5, committed_utc_us=7),
            )
        ],
        "audit_entry": entry.decode(),
        "audit_leaf": leaf_hash(entry).hex(),
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(make_vectors(decode_pool_key(POOL_KEY)), indent=1) + "\n")
