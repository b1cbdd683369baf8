"""Consent: purposes, opt-outs, states and the transitions between them (protocol rules C1-C5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from privacy.errors import ConsentError
from privacy.protocol.expressions import EXPRESSIONS, Expression


class Purpose(StrEnum):
    """What a viewer may agree to, each on its own; none is ticked beforehand."""

    CAPTURE = "capture"
    CLOUD_SCORING = "cloud_scoring"
    DEMOGRAPHICS = "demographics"
    RESEARCH_REUSE = "research_reuse"


REQUIRED_TO_SEND = frozenset({Purpose.CAPTURE, Purpose.CLOUD_SCORING})
"""C2: a crop leaves the machine only under both."""


class ConsentState(StrEnum):
    """Where a session's consent stands."""

    NONE = "none"
    NOTICED = "noticed"
    GIVEN = "given"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class ConsentEvent(StrEnum):
    """What can happen to a session's consent; each is stored and never changed."""

    NOTICE_SHOWN = "notice_shown"
    GIVEN = "given"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"


class ConsentRefusal(StrEnum):
    """Why choices do not allow a session; the value is for machines, `REFUSAL_TEXTS` for people."""

    MINOR = "minor"
    JURISDICTION = "jurisdiction"
    MISSING_PURPOSE = "missing_purpose"
    ALL_OPTED_OUT = "all_opted_out"


REFUSAL_TEXTS: Mapping[ConsentRefusal, str] = {
    ConsentRefusal.MINOR: "Only adults may take part.",
    ConsentRefusal.JURISDICTION: "Capture is not allowed where you are.",
    ConsentRefusal.MISSING_PURPOSE: "Without capture and cloud scoring nothing can be measured.",
    ConsentRefusal.ALL_OPTED_OUT: "With every expression opted out nothing is left to measure.",
}

_TRANSITIONS: Mapping[tuple[ConsentState, ConsentEvent], ConsentState] = {
    # C3 no consent without a notice shown before it
    (ConsentState.NONE, ConsentEvent.NOTICE_SHOWN): ConsentState.NOTICED,
    (ConsentState.NOTICED, ConsentEvent.NOTICE_SHOWN): ConsentState.NOTICED,
    (ConsentState.NOTICED, ConsentEvent.GIVEN): ConsentState.GIVEN,
    (ConsentState.NOTICED, ConsentEvent.DECLINED): ConsentState.DECLINED,
    (ConsentState.DECLINED, ConsentEvent.NOTICE_SHOWN): ConsentState.NOTICED,
    # a changed choice is a new consent under a new receipt
    (ConsentState.GIVEN, ConsentEvent.NOTICE_SHOWN): ConsentState.GIVEN,
    (ConsentState.GIVEN, ConsentEvent.GIVEN): ConsentState.GIVEN,
    (ConsentState.GIVEN, ConsentEvent.WITHDRAWN): ConsentState.WITHDRAWN,
    (ConsentState.GIVEN, ConsentEvent.EXPIRED): ConsentState.EXPIRED,
    (ConsentState.EXPIRED, ConsentEvent.NOTICE_SHOWN): ConsentState.NOTICED,
    (ConsentState.EXPIRED, ConsentEvent.WITHDRAWN): ConsentState.WITHDRAWN,
    # C5 withdrawing is always possible, and final for this session
    (ConsentState.NONE, ConsentEvent.WITHDRAWN): ConsentState.WITHDRAWN,
    (ConsentState.NOTICED, ConsentEvent.WITHDRAWN): ConsentState.WITHDRAWN,
    (ConsentState.DECLINED, ConsentEvent.WITHDRAWN): ConsentState.WITHDRAWN,
    (ConsentState.WITHDRAWN, ConsentEvent.WITHDRAWN): ConsentState.WITHDRAWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentChoices:
    """What a viewer chose.

    Attributes:
        purposes: agreed to.
        opted_out: expressions that must be removed before a result leaves the worker.
    """

    purposes: frozenset[Purpose]
    opted_out: frozenset[Expression] = frozenset()

    @property
    def may_send_crops(self) -> bool:
        """Whether crops may leave the machine under these choices."""
        return self.purposes >= REQUIRED_TO_SEND and len(self.opted_out) < len(EXPRESSIONS)


def refuse_consent(
    choices: ConsentChoices, *, is_adult: bool, is_capture_allowed: bool
) -> ConsentRefusal | None:
    """Say why these choices do not allow a session, None if they do.

    Args:
        choices: what the viewer chose.
        is_adult: the viewer declares to have the policy's minimum age.
        is_capture_allowed: the policy and the study allow the viewer's jurisdiction.
    """
    if not is_adult:
        return ConsentRefusal.MINOR
    if not is_capture_allowed:
        return ConsentRefusal.JURISDICTION
    if not choices.purposes >= REQUIRED_TO_SEND:
        return ConsentRefusal.MISSING_PURPOSE
    if len(choices.opted_out) >= len(EXPRESSIONS):
        return ConsentRefusal.ALL_OPTED_OUT
    return None


def advance_consent(state: ConsentState, event: ConsentEvent) -> ConsentState:
    """Give the state after an event.

    Raises:
        ConsentError: the event cannot happen in this state.
    """
    try:
        return _TRANSITIONS[state, event]
    except KeyError:
        raise ConsentError(f"{event} cannot follow {state}") from None
