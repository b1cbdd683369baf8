"""Plan the erasure of one session and sign what was done (protocol rule R7).

The order is the promise: first nothing new can arrive, then what exists is made unreadable, then it is
deleted, then that is written down. A step may run twice; each counts what was there before it, and what was
measured when all of them were done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from privacy.crypto.jws import sign_document, verify_document
from privacy.errors import ErasureError, SignatureError
from privacy.protocol.ids import SessionId, TenantId

DELETION_TYP = "countenance-deletion+jws"
DELETION_MAX_BYTES = 8_192


class ErasureReason(StrEnum):
    """Why a session is erased."""

    WITHDRAWAL = "withdrawal"
    REQUEST = "request"
    RETENTION = "retention"


class ErasureStep(StrEnum):
    """One step of an erasure; the value also names the store in the deletion receipt's counts."""

    REVOKE_SESSION = "revoke_session"
    PURGE_SETUPS = "purge_setups"
    PURGE_STREAMS = "purge_streams"
    PURGE_RESULTS = "purge_results"
    DESTROY_KEY = "destroy_key"
    DELETE_FRAMES = "delete_frames"
    DELETE_TIMELINES = "delete_timelines"
    DELETE_FACTS = "delete_facts"
    MARK_ERASED = "mark_erased"


_ORDER = (
    ErasureStep.REVOKE_SESSION,
    ErasureStep.PURGE_SETUPS,
    ErasureStep.PURGE_STREAMS,
    ErasureStep.PURGE_RESULTS,
    ErasureStep.DESTROY_KEY,
    ErasureStep.DELETE_FRAMES,
    ErasureStep.DELETE_TIMELINES,
    ErasureStep.DELETE_FACTS,
    ErasureStep.MARK_ERASED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasurePlan:
    """What to do, in this order, to erase one session."""

    tenant: TenantId
    session: SessionId
    reason: ErasureReason
    steps: tuple[ErasureStep, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """What one step met: records before it, and what was measured once all steps were done."""

    step: ErasureStep
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionClaims:
    """What a deletion receipt says.

    Attributes:
        receipt_id: of this receipt.
        tenant: the studio's id.
        session: that was erased.
        pseudonym: of the viewer.
        reason: why.
        counts: records before each step of the plan, and as measured after all of them; frames and reports for
            the streams.
        key_destroyed: the session's data key no longer exists in any live store.
        requested_utc_us: when erasure was asked for.
        completed_utc_us: when the last step was done.
    """

    receipt_id: UUID
    tenant: TenantId
    session: SessionId
    pseudonym: str
    reason: ErasureReason
    counts: Mapping[str, tuple[int, int]]
    key_destroyed: bool
    requested_utc_us: int
    completed_utc_us: int


def plan_erasure(tenant: TenantId, session: SessionId, *, reason: ErasureReason) -> ErasurePlan:
    """Plan the erasure of one session: every step, whatever the reason, since a receipt states what was measured.

    Args:
        tenant: the studio's id.
        session: to be erased.
        reason: why.
    """
    return ErasurePlan(tenant=tenant, session=session, reason=reason, steps=_ORDER)


def check_outcomes(plan: ErasurePlan, outcomes: tuple[StepOutcome, ...]) -> None:
    """Refuse to call an erasure complete when it is not.

    Raises:
        ErasureError: a step is missing, out of order, or left something.
    """
    if tuple(outcome.step for outcome in outcomes) != plan.steps:
        raise ErasureError("erasure steps are missing or out of order")
    for outcome in outcomes:
        if outcome.after != 0 or outcome.before < 0:
            raise ErasureError(f"{outcome.step} left {outcome.after} records")


def sign_deletion_receipt(
    plan: ErasurePlan,
    outcomes: tuple[StepOutcome, ...],
    signing_key: Ed25519PrivateKey,
    *,
    receipt_id: UUID,
    pseudonym: str,
    requested_utc_us: int,
    completed_utc_us: int,
) -> str:
    """Sign what an erasure did.

    Raises:
        ErasureError: the erasure is not complete, or its times are out of order.
    """
    check_outcomes(plan, outcomes)
    if not 0 <= requested_utc_us <= completed_utc_us:
        raise ErasureError("erasure's times are out of order")
    document = {
        "receipt_id": str(receipt_id),
        "tenant": str(plan.tenant),
        "session": str(plan.session),
        "pseudonym": pseudonym,
        "reason": plan.reason.value,
        "counts": {outcome.step.value: [outcome.before, outcome.after] for outcome in outcomes},
        "key_destroyed": True,
        "requested_utc_us": requested_utc_us,
        "completed_utc_us": completed_utc_us,
    }
    try:
        return sign_document(document, signing_key, typ=DELETION_TYP)
    except SignatureError as error:
        raise ErasureError(str(error)) from None


def verify_deletion_receipt(jws: str, public_key: Ed25519PublicKey) -> DeletionClaims:
    """Check a deletion receipt and read its claims; it never expires.

    Raises:
        ErasureError: malformed, forged, or it says that something was left.
    """
    try:
        payload = verify_document(jws, public_key, typ=DELETION_TYP, limit_bytes=DELETION_MAX_BYTES)
        record = msgspec.json.decode(payload, type=DeletionDocument)
        claims = DeletionClaims(
            receipt_id=UUID(record.receipt_id),
            tenant=TenantId(UUID(record.tenant)),
            session=SessionId(UUID(record.session)),
            pseudonym=record.pseudonym,
            reason=record.reason,
            counts={step.value: counts for step, counts in record.counts.items()},
            key_destroyed=record.key_destroyed,
            requested_utc_us=record.requested_utc_us,
            completed_utc_us=record.completed_utc_us,
        )
    except (SignatureError, msgspec.MsgspecError, ValueError):
        raise ErasureError("deletion receipt is malformed or forged") from None
    if any(after != 0 or before < 0 for before, after in claims.counts.values()):
        raise ErasureError("deletion receipt says that something was left")
    return claims


class DeletionDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a signed deletion receipt says; `counts` are records before and after, by step."""

    receipt_id: str
    tenant: str
    session: str
    pseudonym: str
    reason: ErasureReason
    counts: dict[ErasureStep, tuple[int, int]]
    key_destroyed: bool
    requested_utc_us: int
    completed_utc_us: int
