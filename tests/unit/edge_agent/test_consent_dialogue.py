import hashlib

import msgspec
import pytest

from edge_agent.consent.consenting import NoticeText, decode_base64
from edge_agent.consent.credential_store import CredentialStore
from edge_agent.consent.dialogue import GivenAnswers, give_consent
from edge_agent.errors import ConsentMissingError, PlatformError
from privacy.governance.consent import Purpose
from privacy.governance.receipts import sign_receipt
from privacy.protocol.expressions import Expression
from tests.unit.edge_agent import test_consenting as sample

TEXT = "What happens to your face."
JOIN = msgspec.structs.replace(
    sample.JOIN,
    notice=NoticeText(text=TEXT, sha256=hashlib.sha256(TEXT.encode()).hexdigest(), locale="en"),
)


class FakeApi:
    """Signs what it is asked for, unless told to sign something else."""

    def __init__(self, join=JOIN, **changes):
        self.join_info, self.changes = join, changes
        self.notices, self.consents = [], []

    def join(self, *, locale=None):
        return self.join_info

    def notice_shown(self, *, sha256, locale):
        self.notices.append((sha256, locale))

    def consent(self, body):
        self.consents.append(body)
        claims = {
            "purposes": frozenset(Purpose(p) for p in body["purposes"]),
            "opted_out": frozenset(Expression(e) for e in body["opted_out"]),
            "notice_sha256": body["notice_sha256"],
            "device_public_key": decode_base64(body["device_public_key"]),
            "issued_utc_us": 1,
            "expires_utc_us": 1 << 52,
            **self.changes,
        }
        return sign_receipt(sample.replace(sample.CLAIMS, **claims), sample.SIGNING)


@pytest.fixture
def store(tmp_path):
    return CredentialStore(tmp_path)


@pytest.fixture
def dialogue(store, monkeypatch):
    def hold(api, answers=(), **given):
        monkeypatch.setattr("edge_agent.consent.dialogue.ApiClient", lambda _invite: api)
        replies, shown = iter(answers), []
        claims = give_consent(
            sample.INVITE,
            store=store,
            locale=None,
            given=GivenAnswers(**given),
            ask=lambda _question: next(replies),
            show=shown.append,
        )
        return claims, shown

    return hold


def test_the_notice_is_shown_and_recorded_before_anything_is_agreed(dialogue, store):
    api = FakeApi()
    claims, shown = dialogue(api, ["y", "y", "yes", "n", "", "sad, angry"])
    assert TEXT in shown[0]
    assert api.notices == [(JOIN.notice.sha256, "en")]
    assert claims.purposes == {Purpose.CAPTURE, Purpose.CLOUD_SCORING}
    assert claims.opted_out == {Expression.SAD, Expression.ANGRY}
    assert store.receipt(sample.INVITE.session)
    assert store.device_key(sample.INVITE.session)


def test_silence_agrees_to_nothing(dialogue, store):
    api = FakeApi()
    with pytest.raises(ConsentMissingError):
        dialogue(api, ["y", "", "", "", "", ""])
    assert api.consents == []
    assert store.receipt(sample.INVITE.session) is None


def test_a_declared_minor_is_reported_and_stores_nothing(dialogue, store):
    class Refusing(FakeApi):
        def consent(self, body):
            self.consents.append(body)
            raise PlatformError("refused", status=403)

    api = Refusing()
    with pytest.raises(ConsentMissingError, match="adults"):
        dialogue(api, ["n", "y", "y", "y", "y", ""])
    assert [(b["adult"], b["purposes"]) for b in api.consents] == [(False, [])]
    assert store.device_key(sample.INVITE.session) is None


def test_a_changed_choice_is_signed_by_the_same_device(dialogue, store):
    api = FakeApi()
    both = frozenset({Purpose.CAPTURE, Purpose.CLOUD_SCORING})
    for opted_out in (frozenset(), frozenset({Expression.SAD})):
        dialogue(api, purposes=both, opted_out=opted_out, is_adult=True)
    assert api.consents[0]["device_public_key"] == api.consents[1]["device_public_key"]
    assert api.consents[0]["opted_out"] != api.consents[1]["opted_out"]


def test_flags_answer_without_questions(dialogue):
    claims, _ = dialogue(
        FakeApi(),
        purposes=frozenset({Purpose.CAPTURE, Purpose.CLOUD_SCORING}),
        opted_out=frozenset(),
        is_adult=True,
    )
    assert claims.opted_out == frozenset()


def test_a_receipt_that_says_more_than_was_chosen_is_not_kept(dialogue, store):
    with pytest.raises(PlatformError, match="something else"):
        dialogue(FakeApi(purposes=frozenset(Purpose)), ["y", "y", "y", "n", "n", ""])
    assert store.receipt(sample.INVITE.session) is None


def test_a_notice_that_differs_from_its_digest_is_not_shown(dialogue):
    forged = msgspec.structs.replace(JOIN.notice, text="All is well.")
    with pytest.raises(PlatformError, match="digest"):
        dialogue(FakeApi(msgspec.structs.replace(JOIN, notice=forged)), ["y"] * 6)
