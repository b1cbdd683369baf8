"""Consent on the viewer's side: what is asked, what is answered, whether the camera may open.

Obligations of this module (compliance rules A1, A3, G1, U4):

1. nothing is agreed to unless the viewer named it;
2. capture and cloud scoring are both needed, or nothing is captured;
3. the camera opens only under a receipt that verifies against the platform's key, names this session, tenant
   and device, has not expired and agrees to both.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from enum import StrEnum
from typing import TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge_agent.errors import ConsentMissingError, PlatformError, SettingError
from edge_agent.invite import Invite
from privacy.crypto.jws import canonical_json, load_public_key
from privacy.crypto.keys import PoolPublicKey, verify_bundle
from privacy.errors import KeyringError, ReceiptError, SignatureError
from privacy.governance.consent import REFUSAL_TEXTS, ConsentChoices, ConsentRefusal, Purpose, refuse_consent
from privacy.governance.receipts import ReceiptClaims, verify_receipt
from privacy.protocol.expressions import EXPRESSIONS, Expression
from privacy.protocol.ids import SessionId, TenantId

E = TypeVar("E", bound=StrEnum)


class Title(msgspec.Struct, frozen=True, kw_only=True):
    """What is watched."""

    name: str
    duration_ms: int


class NoticeText(msgspec.Struct, frozen=True, kw_only=True):
    """The notice as it must be shown."""

    text: str
    sha256: str
    locale: str
    version: str | int = ""


class JoinInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the platform tells an invited agent; unknown fields are ignored."""

    session_id: str
    tenant_id: str
    title: Title
    jurisdiction: str
    capture_allowed: bool
    notice: NoticeText
    controller: str
    signing_public_key: str
    key_bundle: str
    ingest_url: str
    state: str
    study: object = None
    receipt: str | None = None
    server_utc_us: int | None = None

    def __repr__(self) -> str:
        return f"JoinInfo(session_id={self.session_id!r}, state={self.state!r})"


def decode_base64(text: str) -> bytes:
    """Read base64 in either alphabet, padded or not.

    Raises:
        PlatformError: it is not base64.
    """
    normal = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(normal + "=" * (-len(normal) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise PlatformError("the platform sent a malformed key") from None


def platform_key(join: JoinInfo) -> Ed25519PublicKey:
    """Read the key that signs receipts and key bundles.

    Raises:
        PlatformError: it is not an Ed25519 key.
    """
    try:
        return load_public_key(decode_base64(join.signing_public_key))
    except SignatureError:
        raise PlatformError("the platform sent a malformed key") from None


def pool_key(join: JoinInfo, *, now_utc_us: int) -> PoolPublicKey:
    """Return the classifier pool's key that stays valid longest.

    Raises:
        PlatformError: the bundle is forged or holds no valid key.
    """
    try:
        keys = verify_bundle(join.key_bundle, platform_key(join), now_utc_us)
    except KeyringError as error:
        raise PlatformError(f"the classifiers' keys are refused: {error}") from None
    return max(keys, key=lambda key: key.not_after_utc_us)


def parse_purposes(names: Iterable[str]) -> frozenset[Purpose]:
    """Read purposes by name.

    Raises:
        SettingError: an unknown name.
    """
    return frozenset(_member(Purpose, name, what="purpose") for name in names)


def parse_expressions(names: Iterable[str]) -> frozenset[Expression]:
    """Read expressions by name.

    Raises:
        SettingError: an unknown name.
    """
    return frozenset(_member(Expression, name, what="expression") for name in names)


def refusal_text(choices: ConsentChoices, *, is_adult: bool, is_capture_allowed: bool) -> str | None:
    """Say in words why these choices start nothing, None if they start a session."""
    refusal = refuse_consent(choices, is_adult=is_adult, is_capture_allowed=is_capture_allowed)
    return REFUSAL_TEXTS[ConsentRefusal(refusal)] if refusal is not None else None


def consent_body(
    choices: ConsentChoices, *, notice_sha256: str, is_adult: bool, device_key: Ed25519PrivateKey
) -> dict[str, object]:
    """Write the consent as it is sent; the device key signs the canonical JSON of everything else in it."""
    body: dict[str, object] = {
        "purposes": [purpose.value for purpose in Purpose if purpose in choices.purposes],
        "opted_out": [name.value for name in EXPRESSIONS if name in choices.opted_out],
        "notice_sha256": notice_sha256,
        "device_public_key": _b64(device_key.public_key().public_bytes_raw()),
        "adult": is_adult,
    }
    return {**body, "device_signature": _b64(device_key.sign(canonical_json(body)))}


def check_receipt(
    receipt: str | None,
    join: JoinInfo,
    *,
    invite: Invite,
    device_key: Ed25519PrivateKey | None,
    now_utc_us: int,
) -> ReceiptClaims:
    """Decide whether the camera may open (obligation 3).

    Raises:
        ConsentMissingError: there is no receipt, or it is not good for this.
        PlatformError: the platform's key is malformed.
    """
    if receipt is None or device_key is None:
        raise ConsentMissingError(
            "there is no consent for this session yet; run `countenance-agent consent` first"
        )
    if not join.capture_allowed:
        raise ConsentMissingError("capture is not allowed where you are")
    try:
        claims = verify_receipt(
            receipt,
            platform_key(join),
            now_utc_us=now_utc_us,
            session=SessionId(invite.session),
            tenant=TenantId(invite.tenant),
        )
    except ReceiptError as error:
        raise ConsentMissingError(f"the consent receipt is refused: {error}") from None
    if claims.device_public_key != device_key.public_key().public_bytes_raw():
        raise ConsentMissingError("the consent receipt was given on another machine")
    if not claims.choices.may_send_crops:
        raise ConsentMissingError("the consent receipt does not agree to capture and cloud scoring")
    return claims


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _member(kind: type[E], name: str, *, what: str) -> E:
    try:
        return kind(name.strip().lower())
    except ValueError:
        known = ", ".join(member.value for member in kind)
        raise SettingError(f"unknown {what} {name.strip()!r}; known: {known}") from None
