"""Consent follows a notice, is separable, and can always be withdrawn."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import ConsentError
from privacy.governance.consent import (
    REFUSAL_TEXTS,
    ConsentChoices,
    ConsentEvent,
    ConsentRefusal,
    ConsentState,
    Purpose,
    advance_consent,
    refuse_consent,
)
from privacy.protocol.expressions import EXPRESSIONS

BOTH = frozenset({Purpose.CAPTURE, Purpose.CLOUD_SCORING})
choices = st.builds(
    ConsentChoices,
    purposes=st.frozensets(st.sampled_from(Purpose)),
    opted_out=st.frozensets(st.sampled_from(EXPRESSIONS)),
)


@given(choices, st.booleans(), st.booleans())
def test_a_session_is_allowed_exactly_when_crops_may_be_sent(
    chosen: ConsentChoices, is_adult: bool, is_allowed: bool
) -> None:
    refusal = refuse_consent(chosen, is_adult=is_adult, is_capture_allowed=is_allowed)
    assert (refusal is None) == (chosen.may_send_crops and is_adult and is_allowed)


@pytest.mark.parametrize(
    "chosen, is_adult, is_allowed, refusal",
    [
        (ConsentChoices(purposes=BOTH), False, True, ConsentRefusal.MINOR),
        (ConsentChoices(purposes=BOTH), True, False, ConsentRefusal.JURISDICTION),
        (ConsentChoices(purposes=BOTH - {Purpose.CAPTURE}), True, True, ConsentRefusal.MISSING_PURPOSE),
        (
            ConsentChoices(purposes=BOTH, opted_out=frozenset(EXPRESSIONS)),
            True,
            True,
            ConsentRefusal.ALL_OPTED_OUT,
        ),
    ],
)
def test_each_refusal_says_why(
    chosen: ConsentChoices, is_adult: bool, is_allowed: bool, refusal: ConsentRefusal
) -> None:
    assert refuse_consent(chosen, is_adult=is_adult, is_capture_allowed=is_allowed) is refusal
    assert REFUSAL_TEXTS[refusal]


def test_five_opted_out_expressions_are_allowed() -> None:
    chosen = ConsentChoices(purposes=BOTH, opted_out=frozenset(EXPRESSIONS[1:]))
    assert chosen.may_send_crops


@given(st.lists(st.sampled_from(ConsentEvent), max_size=12))
def test_consent_is_never_given_without_a_notice_before_it(events: list[ConsentEvent]) -> None:
    state = ConsentState.NONE
    noticed = withdrawn = False
    for event in events:
        try:
            state = advance_consent(state, event)
        except ConsentError:
            continue
        noticed |= event is ConsentEvent.NOTICE_SHOWN
        withdrawn |= event is ConsentEvent.WITHDRAWN
        assert noticed or state is not ConsentState.GIVEN
        assert (state is ConsentState.WITHDRAWN) == withdrawn


@pytest.mark.parametrize("state", ConsentState)
def test_withdrawing_is_possible_in_every_state(state: ConsentState) -> None:
    assert advance_consent(state, ConsentEvent.WITHDRAWN) is ConsentState.WITHDRAWN


def test_withdrawal_is_final() -> None:
    for event in set(ConsentEvent) - {ConsentEvent.WITHDRAWN}:
        with pytest.raises(ConsentError):
            advance_consent(ConsentState.WITHDRAWN, event)
