"""A session that lost its connection gets tickets for ten minutes more; one that ended gets none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures_postgres import Database
from tests.integration.api_client import Clock, Studio, Viewer, problem, rows
from tests.integration.test_api import client, clock, revoker, settings, studio  # noqa: F401 - fixtures

CLOSE = "UPDATE session SET state = '{state}', closed_at = '{at}', close_reason = '{reason}' RETURNING id"


async def ended(
    studio: Studio,  # noqa: F811
    database: Database,
    clock: Clock,  # noqa: F811
    *,
    state: str,
    reason: str,
) -> tuple[Viewer, dict[str, Any]]:
    """Give a viewer whose session ended this moment, with a ticket request."""
    viewer = await studio.invite()
    given = await viewer.consent()
    await rows(database, studio.tenant, CLOSE.format(state=state, at=clock.now.isoformat(), reason=reason))
    return viewer, {"receipt_sha256": given["receipt_sha256"]}


@pytest.mark.parametrize("state", ["closed", "sealed"])
async def test_a_lost_session_gets_tickets_for_ten_minutes(
    studio: Studio,  # noqa: F811
    database: Database,
    clock: Clock,  # noqa: F811
    state: str,
) -> None:
    viewer, request = await ended(studio, database, clock, state=state, reason="lost")
    for seconds in (0, 600):
        clock.turn(seconds=seconds)
        assert (await viewer.ask("POST", "/ticket", request)).status_code == 201
    clock.turn(seconds=31)
    refused = await viewer.ask("POST", "/ticket", request)
    assert refused.status_code == 410 and problem(refused) == "session-over"


async def test_a_session_that_said_goodbye_gets_none(
    studio: Studio,  # noqa: F811
    database: Database,
    clock: Clock,  # noqa: F811
) -> None:
    viewer, request = await ended(studio, database, clock, state="closed", reason="closed")
    refused = await viewer.ask("POST", "/ticket", request)
    assert refused.status_code == 410 and problem(refused) == "session-over"


async def test_a_lost_session_can_be_withdrawn_and_its_choices_cannot_change(
    studio: Studio,  # noqa: F811
    database: Database,
    clock: Clock,  # noqa: F811
) -> None:
    viewer, request = await ended(studio, database, clock, state="sealed", reason="lost")
    changed = await viewer.ask("POST", "/consent", viewer.consent_body("0" * 64))
    assert changed.status_code == 410 and problem(changed) == "session-over"
    withdrawn = await viewer.ask("POST", "/withdraw")
    assert withdrawn.json()["deletion"] == "queued"
    refused = await viewer.ask("POST", "/ticket", request)
    assert refused.status_code == 410 and problem(refused) == "session-over"
