"""Show the notice and take the viewer's choices, purpose by purpose."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.clocks import PlatformClock
from edge_agent.consent.api_client import ApiClient
from edge_agent.consent.consenting import (
    JoinInfo,
    check_receipt,
    consent_body,
    parse_expressions,
    refusal_text,
)
from edge_agent.consent.credential_store import CredentialStore
from edge_agent.errors import ConsentMissingError, PlatformError
from edge_agent.invite import Invite
from privacy.governance.consent import ConsentChoices, Purpose
from privacy.governance.receipts import ReceiptClaims
from privacy.protocol.expressions import EXPRESSIONS, Expression

PURPOSE_QUESTIONS = {
    Purpose.CAPTURE: "May your camera be read while you watch?",
    Purpose.CLOUD_SCORING: "May sealed pictures of your face be sent and scored?",
    Purpose.DEMOGRAPHICS: "May age group and gender be used in results, if you gave them?",
    Purpose.RESEARCH_REUSE: "May your scores be used again for research?",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAnswers:
    """Answers that came with the command; None asks.

    Attributes:
        purposes: agreed to.
        opted_out: expressions that must not be reported.
        is_adult: declared to be of age.
    """

    purposes: frozenset[Purpose] | None = None
    opted_out: frozenset[Expression] | None = None
    is_adult: bool | None = None


def give_consent(
    invite: Invite,
    *,
    store: CredentialStore,
    locale: str | None,
    given: GivenAnswers,
    ask: Callable[[str], str],
    show: Callable[[str], None],
) -> ReceiptClaims:
    """Lead the viewer through notice and choices; store the signed receipt.

    Args:
        invite: which session.
        store: where receipt and device key go.
        locale: language of the notice, None leaves it to the session.
        given: answers known beforehand; nothing is ever assumed to be agreed to.
        ask: shows a question, returns the answer.
        show: shows a text.

    Raises:
        ConsentMissingError: the choices do not allow a session; nothing was stored or sent.
        PlatformError: the platform refuses or does not answer.
    """
    api = ApiClient(invite)
    join = api.join(locale=locale)
    clock = PlatformClock(join.server_utc_us)
    notice = join.notice
    if hashlib.sha256(notice.text.encode("utf-8")).hexdigest() != notice.sha256:
        raise PlatformError("the notice differs from its digest, so it cannot be trusted")
    show(f"{join.title.name} - {join.controller}\n\n{notice.text}\n")
    api.notice_shown(sha256=notice.sha256, locale=notice.locale)
    # the first consent binds the session to this device: a changed choice is signed by the same key
    device_key = store.device_key(invite.session)
    is_adult = given.is_adult
    if is_adult is None:
        answer = ask("Are you at least 18 years old? [y/n] ")
        is_adult = _is_adult(api, notice.sha256, answer, device_key=device_key)
    choices = _choices(given, ask)
    refusal = refusal_text(choices, is_adult=is_adult, is_capture_allowed=join.capture_allowed)
    if refusal is not None:
        raise ConsentMissingError(f"{refusal} Nothing was captured and nothing was sent.")
    device_key = device_key or store.new_device_key(invite.session)
    body = consent_body(choices, notice_sha256=notice.sha256, is_adult=is_adult, device_key=device_key)
    receipt = api.consent(body)
    claims = check_receipt(receipt, join, invite=invite, device_key=device_key, now_utc_us=clock.utc_us())
    _check_choices(claims, choices, join)
    store.store_receipt(invite.session, receipt)
    return claims


def _is_adult(
    api: ApiClient, notice_sha256: str, answer: str, *, device_key: Ed25519PrivateKey | None
) -> bool:
    """Read the answer; a declared minor ends the session for good, and only that it happened is kept (U4)."""
    if answer.strip().lower() in ("n", "no"):
        signing_key = device_key or Ed25519PrivateKey.generate()
        nothing = ConsentChoices(purposes=frozenset())
        body = consent_body(nothing, notice_sha256=notice_sha256, is_adult=False, device_key=signing_key)
        with contextlib.suppress(PlatformError):
            api.consent(body)
    return _yes(answer)


def _choices(given: GivenAnswers, ask: Callable[[str], str]) -> ConsentChoices:
    purposes = given.purposes
    if purposes is None:
        purposes = frozenset(
            purpose for purpose, question in PURPOSE_QUESTIONS.items() if _yes(ask(f"{question} [y/N] "))
        )
    opted_out = given.opted_out
    if opted_out is None:
        names = ", ".join(EXPRESSIONS)
        answer = ask(f"Expressions that must not be reported ({names}), empty for none: ")
        opted_out = parse_expressions(name for name in answer.split(",") if name.strip())
    return ConsentChoices(purposes=purposes, opted_out=opted_out)


def _check_choices(claims: ReceiptClaims, choices: ConsentChoices, join: JoinInfo) -> None:
    if claims.choices != choices or claims.notice_sha256 != join.notice.sha256:
        raise PlatformError("the receipt says something else than you chose; it was not kept")


def _yes(answer: str) -> bool:
    return answer.strip().lower() in ("y", "yes")
