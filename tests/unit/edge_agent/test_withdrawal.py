"""Withdrawing from the viewer's machine: locally first, then the platform, then the receipt of the deletion."""

from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.consent.credential_store import CredentialStore
from edge_agent.consent.withdrawal import withdraw
from edge_agent.errors import PlatformAwayError, PlatformError
from privacy.crypto.jws import encode_base64url
from privacy.governance.erasure import ErasureReason, StepOutcome, plan_erasure, sign_deletion_receipt
from privacy.protocol.ids import SessionId, TenantId
from tests.unit.edge_agent import test_consenting as sample

SESSION = SessionId(sample.INVITE.session)
TENANT = TenantId(sample.INVITE.tenant)


def receipt(key=sample.SIGNING, *, session=SESSION, tenant=TENANT):
    plan = plan_erasure(tenant, session, reason=ErasureReason.WITHDRAWAL)
    return sign_deletion_receipt(
        plan,
        tuple(StepOutcome(step=step, before=1, after=0) for step in plan.steps),
        key,
        receipt_id=uuid4(),
        pseudonym="viewer-1",
        requested_utc_us=1,
        completed_utc_us=2,
    )


class FakeApi:
    """A platform that records a withdrawal after some asking, and deletes after some more."""

    def __init__(self, store, *, receipts=(None,), recorded=(True,)):
        self.store, self.receipts, self.recorded = store, list(receipts), list(recorded)
        self.withdrawals = 0

    def withdraw(self):
        assert self.store.device_key(SESSION) is None, "the platform was asked before the key was gone"
        assert self.store.has_withdrawn(SESSION)
        self.withdrawals += 1
        return self.recorded.pop(0) if len(self.recorded) > 1 else self.recorded[0]

    def deletion_receipt(self):
        said = self.receipts.pop(0) if len(self.receipts) > 1 else self.receipts[0]
        if isinstance(said, Exception):
            raise said
        return said

    def signing_public_key(self):
        return encode_base64url(sample.SIGNING.public_key().public_bytes_raw())


@pytest.fixture
def store(tmp_path):
    kept = CredentialStore(tmp_path)
    kept.new_device_key(SESSION)
    kept.store_receipt(SESSION, "receipt")
    return kept


def carry_out(api, store, **options):
    ticks = iter(range(1_000))
    return withdraw(
        sample.INVITE, api=api, store=store, sleep=lambda _s: None, now_s=lambda: next(ticks), **options
    )


def test_the_receipt_is_waited_for_verified_and_kept(store):
    signed = receipt()
    away = PlatformAwayError("away")
    found = carry_out(FakeApi(store, receipts=[None, away, None, signed]), store)
    assert found.claims.session == SESSION and found.claims.key_destroyed
    assert found.kept_at.read_text() == signed
    assert store.receipt(SESSION) is None


def test_a_withdrawal_that_is_not_recorded_yet_is_repeated_until_it_is(store):
    api = FakeApi(store, receipts=[None, None, None, receipt()], recorded=[False, False, True])
    assert carry_out(api, store) is not None
    assert api.withdrawals == 3


def test_waiting_ends_and_no_wait_does_not_begin(store):
    api = FakeApi(store)
    assert carry_out(api, store, wait_s=5) is None
    api.receipts = [AssertionError("it was asked for")]
    assert carry_out(api, store, wait_s=0) is None
    assert api.withdrawals == 2


@pytest.mark.parametrize(
    "forged",
    [
        "nonsense",
        receipt(Ed25519PrivateKey.generate()),
        receipt(session=SessionId(uuid4())),
        receipt(tenant=TenantId(uuid4())),
    ],
)
def test_a_receipt_that_does_not_verify_is_refused_and_not_kept(store, forged):
    with pytest.raises(PlatformError, match="deletion receipt"):
        carry_out(FakeApi(store, receipts=[forged]), store)
    assert not list(store.home.glob("*.deletion"))


def test_a_platform_that_gives_viewers_no_receipt_is_no_error_and_any_other_refusal_is(store):
    assert carry_out(FakeApi(store, receipts=[PlatformError("x", status=404)]), store) is None
    with pytest.raises(PlatformError, match="401"):
        carry_out(FakeApi(store, receipts=[PlatformError("401", status=401)]), store)
