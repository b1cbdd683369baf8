"""Withdraw consent, then wait a while for the platform's signed word that everything is deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_agent.consent.api_client import ApiClient
from edge_agent.consent.consenting import decode_base64
from edge_agent.consent.credential_store import CredentialStore
from edge_agent.errors import PlatformAwayError, PlatformError
from edge_agent.invite import Invite
from privacy.crypto.jws import load_public_key
from privacy.errors import ErasureError, SignatureError
from privacy.governance.erasure import DeletionClaims, verify_deletion_receipt

WAIT_S = 20.0
"""A deletion takes a few seconds: what is on the way must age out first."""

POLL_S = 0.5
HTTP_NOT_FOUND = 404


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A deletion whose receipt verifies.

    Attributes:
        claims: what the receipt says.
        kept_at: file that holds the receipt.
    """

    claims: DeletionClaims
    kept_at: Path


def withdraw(
    invite: Invite,
    *,
    api: ApiClient,
    store: CredentialStore,
    wait_s: float = WAIT_S,
    sleep: Callable[[float], None] = time.sleep,
    now_s: Callable[[], float] = time.monotonic,
) -> Deletion | None:
    """Withdraw consent for good; give the deletion's verified receipt if it comes in time.

    Args:
        invite: to which session.
        api: the platform.
        store: forgets the session's keys, and keeps the receipt.
        wait_s: how long to wait for the deletion; 0 does not ask.
        sleep: waits.
        now_s: a clock that never steps, in seconds.

    Raises:
        PlatformError: the withdrawal was refused or had no answer, or the receipt is not to be trusted.
        CredentialError: the receipt cannot be kept.
    """
    # Locally first: whatever the network does, nothing more is sealed for this session from here.
    store.forget(invite.session)
    is_recorded = api.withdraw()
    until_s = now_s() + wait_s
    while now_s() < until_s:
        try:
            if not is_recorded:
                is_recorded = api.withdraw()
            receipt = api.deletion_receipt()
            if receipt is not None:
                return _keep(receipt, invite, api=api, store=store)
        except PlatformAwayError:
            pass
        except PlatformError as error:
            if error.status != HTTP_NOT_FOUND:
                raise
            # a platform of an earlier version gives viewers no receipt
            return None
        sleep(POLL_S)
    return None


def _keep(receipt: str, invite: Invite, *, api: ApiClient, store: CredentialStore) -> Deletion:
    try:
        claims = verify_deletion_receipt(receipt, load_public_key(decode_base64(api.signing_public_key())))
    except (ErasureError, SignatureError) as error:
        raise PlatformError(f"consent is withdrawn, but the deletion receipt is refused: {error}") from None
    if (claims.session, claims.tenant) != (invite.session, invite.tenant):
        raise PlatformError("consent is withdrawn, but the deletion receipt is of another session")
    return Deletion(claims=claims, kept_at=store.store_deletion(invite.session, receipt))
