"""For how long a session that lost its connection may be taken up again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from cloud.sessions.records import SessionRecord, SessionState
from privacy.protocol.ids import SessionId, TenantId

LOST_AT = datetime(2026, 1, 1, tzinfo=UTC)


def session(**facts: object) -> SessionRecord:
    known: dict[str, object] = {
        "tenant": TenantId(UUID(int=1)),
        "id": SessionId(UUID(int=2)),
        "study_id": UUID(int=3),
        "title_id": UUID(int=4),
        "viewer_id": UUID(int=5),
        "jurisdiction": "DE",
        "locale": "en",
        "state": SessionState.CLOSED,
        "epoch": 1,
        "created_at": LOST_AT,
        "connected_at": LOST_AT,
        "closed_at": LOST_AT,
        "sealed_at": None,
        "erased_at": None,
        "receipt_jws": None,
        "receipt_sha256": None,
        "receipt_expires_at": None,
        "purposes": (),
        "opted_out": (),
        "close_reason": "lost",
    }
    return SessionRecord(**known | facts)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", [SessionState.CLOSED, SessionState.SEALED])
def test_ten_minutes_and_the_last_attempt_of_an_agent_that_backs_off(state: SessionState) -> None:
    lost = session(state=state)
    assert lost.is_resumable(LOST_AT)
    assert lost.is_resumable(LOST_AT + timedelta(minutes=10, seconds=29))
    assert not lost.is_resumable(LOST_AT + timedelta(minutes=10, seconds=30))


@pytest.mark.parametrize("reason", ["closed", "withdrawn", "erasure requested", None])
def test_a_session_that_ended_otherwise_stays_over(reason: str | None) -> None:
    assert not session(close_reason=reason).is_resumable(LOST_AT)


@pytest.mark.parametrize("state", sorted(set(SessionState) - {SessionState.CLOSED, SessionState.SEALED}))
def test_only_a_session_at_rest_can_be_taken_up_again(state: SessionState) -> None:
    assert not session(state=state).is_resumable(LOST_AT)
