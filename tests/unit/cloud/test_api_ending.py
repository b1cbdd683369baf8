"""Ending a session: telling and recording side by side, and what is answered when one of them is not done in time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.api import ending
from cloud.api.ending import Ended, Ender
from cloud.api.join_tokens import is_genuine, new_join_token
from cloud.api.revoking import Revoker
from cloud.errors import NotFoundError, StoreError
from cloud.sessions.records import ErasureJob
from privacy.protocol.ids import SessionId, TenantId
from tests.fakes.streams import MemoryRevocations

SESSION, TENANT = SessionId(UUID(int=7)), TenantId(UUID(int=1))
JOB = ErasureJob(
    tenant=TENANT,
    id=UUID(int=2),
    session=SESSION,
    reason="withdrawal",
    requested_at=datetime(2026, 1, 1, tzinfo=UTC),
    done_at=None,
)


class Hanging(MemoryRevocations):
    """A server that takes the word and does not answer until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def revoke(self, session: SessionId) -> None:
        await self.go.wait()
        await super().revoke(session)


async def recorded() -> ErasureJob | None:
    return JOB


async def test_when_both_stores_answer_all_but_the_deletion_is_done() -> None:
    revocations = MemoryRevocations()
    ended = await Ender(Revoker(revocations)).end(SESSION, "withdraw", recorded)
    assert ended == Ended(is_told=True, is_recorded=True, waiting=JOB) and ended.is_settled
    assert await revocations.is_revoked(SESSION)


async def test_a_server_that_hangs_is_not_waited_for_and_told_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "ANSWER_WITHIN_S", 0.01)
    revocations = Hanging()
    ender = Ender(Revoker(revocations))
    ended = await ender.end(SESSION, "withdraw", recorded)
    assert (ended.is_told, ended.is_recorded, ended.is_settled) == (False, True, False)
    revocations.go.set()
    await ender.close()
    assert await revocations.is_revoked(SESSION)


async def test_a_database_that_is_away_is_asked_again_and_only_once_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "ANSWER_WITHIN_S", 0.01)
    monkeypatch.setattr(ending, "RETRY_S", 0.02)
    asked, is_away = 0, True

    async def record() -> ErasureJob | None:
        nonlocal asked
        asked += 1
        if is_away:
            raise StoreError("away")
        return JOB

    ender = Ender(Revoker(MemoryRevocations()))
    for _ in range(5):
        ended = await ender.end(SESSION, "withdraw", record)
        assert (ended.is_told, ended.is_recorded) == (True, False)
    assert asked < 5, "five requests tried five times at once"
    is_away = False
    await ender.close()
    assert (await ender.end(SESSION, "withdraw", record)).is_settled


async def test_a_session_that_does_not_exist_is_said_so() -> None:
    async def nothing() -> ErasureJob | None:
        raise NotFoundError("no such session")

    with pytest.raises(NotFoundError):
        await Ender(Revoker(MemoryRevocations())).end(SESSION, "withdraw", nothing)


async def test_what_is_not_recorded_at_the_end_of_the_process_does_not_hold_it_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "ANSWER_WITHIN_S", 0.01)
    monkeypatch.setattr(ending, "CLOSE_WITHIN_S", 0.01)

    async def away() -> ErasureJob | None:
        raise StoreError("away")

    ender = Ender(Revoker(MemoryRevocations()))
    await ender.end(SESSION, "withdraw", away)
    async with asyncio.timeout(5):
        await ender.close()


def test_a_token_is_known_again_by_its_maker_alone_and_for_its_own_session() -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    token = new_join_token(TENANT, SESSION, key)
    assert is_genuine(token, TENANT, SESSION, key)
    assert not is_genuine(token, TENANT, SESSION, other)
    assert not is_genuine(token, TENANT, SessionId(UUID(int=8)), key)
    assert not is_genuine(token, TenantId(UUID(int=8)), SESSION, key)
    prefix, _, own = token.rpartition(".")
    for changed in ("", own[:-1], own + "A", f"{own[:43]}", f"x.{own}", "\xe9" + own[1:]):
        assert not is_genuine(f"{prefix}.{changed}", TENANT, SESSION, key)
