from dataclasses import replace
from uuid import UUID

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.consent.consenting import (
    JoinInfo,
    NoticeText,
    Title,
    check_receipt,
    consent_body,
    decode_base64,
    parse_expressions,
    parse_purposes,
    pool_key,
    refusal_text,
)
from edge_agent.errors import ConsentMissingError, PlatformError, SettingError
from edge_agent.invite import parse_invite
from privacy.crypto.jws import canonical_json, encode_base64url
from privacy.crypto.keys import generate_pool_key, sign_bundle
from privacy.governance.consent import ConsentChoices, Purpose
from privacy.governance.receipts import ReceiptClaims, sign_receipt
from privacy.protocol.expressions import EXPRESSIONS, Expression

NOW = 1_790_000_000_000_000
SIGNING, DEVICE = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
TENANT, SESSION = UUID("a" * 32), UUID("b" * 32)
INVITE = parse_invite(f"http://127.0.0.1:8000/v1/join#{TENANT.hex}.{SESSION.hex}.{'s' * 24}")
POOL = generate_pool_key(NOW)

JOIN = JoinInfo(
    session_id=str(SESSION),
    tenant_id=str(TENANT),
    title=Title(name="Trailer", duration_ms=30_000),
    jurisdiction="DE",
    capture_allowed=True,
    notice=NoticeText(text="notice", sha256="0" * 64, locale="en"),
    controller="Studio",
    signing_public_key=encode_base64url(SIGNING.public_key().public_bytes_raw()),
    key_bundle=sign_bundle([POOL.public], SIGNING),
    ingest_url="ws://127.0.0.1:8100",
    state="consented",
)

CLAIMS = ReceiptClaims(
    receipt_id=UUID(int=1),
    session=SESSION,
    tenant=TENANT,
    study="study",
    title="Trailer",
    pseudonym="viewer-1",
    controller="Studio",
    purposes=frozenset({Purpose.CAPTURE, Purpose.CLOUD_SCORING}),
    opted_out=frozenset(),
    notice_sha256="0" * 64,
    notice_locale="en",
    jurisdiction="DE",
    device_public_key=DEVICE.public_key().public_bytes_raw(),
    issued_utc_us=NOW - 1_000_000,
    expires_utc_us=NOW + 3_600_000_000,
)


def check(claims=CLAIMS, *, key=SIGNING, join=JOIN, device=DEVICE, now=NOW):
    receipt = sign_receipt(claims, key)
    return check_receipt(receipt, join, invite=INVITE, device_key=device, now_utc_us=now)


def test_a_valid_receipt_opens_the_way_to_the_camera():
    assert check() == CLAIMS


def test_without_a_receipt_the_camera_stays_closed():
    with pytest.raises(ConsentMissingError, match="consent"):
        check_receipt(None, JOIN, invite=INVITE, device_key=DEVICE, now_utc_us=NOW)


def test_without_the_device_key_the_camera_stays_closed():
    with pytest.raises(ConsentMissingError):
        check(device=None)


@pytest.mark.parametrize(
    "change",
    [
        {"session": UUID(int=5)},
        {"tenant": UUID(int=5)},
        {"device_public_key": b"x" * 32},
        {"expires_utc_us": NOW - 1},
        {"purposes": frozenset({Purpose.CAPTURE})},
        {"purposes": frozenset({Purpose.RESEARCH_REUSE, Purpose.CLOUD_SCORING})},
    ],
)
def test_a_receipt_for_something_else_keeps_the_camera_closed(change):
    with pytest.raises(ConsentMissingError):
        check(replace(CLAIMS, **change))


def test_a_receipt_signed_by_anybody_else_is_refused():
    with pytest.raises(ConsentMissingError, match="forged"):
        check(key=Ed25519PrivateKey.generate())


def test_where_capture_is_not_allowed_no_receipt_helps():
    with pytest.raises(ConsentMissingError, match="not allowed"):
        check(join=msgspec.structs.replace(JOIN, capture_allowed=False))


def test_the_classifiers_key_comes_only_from_a_bundle_that_the_platform_signed():
    assert pool_key(JOIN, now_utc_us=NOW) == POOL.public
    forged = sign_bundle([POOL.public], Ed25519PrivateKey.generate())
    with pytest.raises(PlatformError):
        pool_key(msgspec.structs.replace(JOIN, key_bundle=forged), now_utc_us=NOW)


def test_the_device_signs_everything_else_in_the_consent():
    choices = ConsentChoices(purposes=frozenset(Purpose), opted_out=frozenset({Expression.SAD}))
    body = consent_body(choices, notice_sha256="0" * 64, is_adult=True, device_key=DEVICE)
    signature = decode_base64(str(body.pop("device_signature")))
    DEVICE.public_key().verify(signature, canonical_json(body))
    assert body["opted_out"] == ["sad"]
    assert decode_base64(str(body["device_public_key"])) == DEVICE.public_key().public_bytes_raw()


@pytest.mark.parametrize("text", ["+/+/", "-_-_", "+/+=", "AAAA", "AA"])
def test_both_base64_alphabets_are_read(text):
    assert isinstance(decode_base64(text.rstrip("=")), bytes)


def test_what_is_not_base64_is_refused():
    with pytest.raises(PlatformError):
        decode_base64("!!!!")


def test_unknown_names_are_refused_with_the_known_ones():
    with pytest.raises(SettingError, match="capture"):
        parse_purposes(["advertising"])
    with pytest.raises(SettingError, match="neutral"):
        parse_expressions(["fear"])
    assert parse_purposes([" Capture "]) == {Purpose.CAPTURE}


def test_choices_that_start_nothing_are_explained():
    required = frozenset({Purpose.CAPTURE, Purpose.CLOUD_SCORING})
    good = ConsentChoices(purposes=required)
    assert refusal_text(good, is_adult=True, is_capture_allowed=True) is None
    assert refusal_text(good, is_adult=False, is_capture_allowed=True)
    assert refusal_text(good, is_adult=True, is_capture_allowed=False)
    nothing = ConsentChoices(purposes=frozenset())
    assert refusal_text(nothing, is_adult=True, is_capture_allowed=True)
    everything_out = ConsentChoices(purposes=required, opted_out=frozenset(EXPRESSIONS))
    assert refusal_text(everything_out, is_adult=True, is_capture_allowed=True)


def test_the_join_answer_never_prints_its_receipt():
    assert "eyJ" not in repr(msgspec.structs.replace(JOIN, receipt=sign_receipt(CLAIMS, SIGNING)))
