"""When what deletions leave is cleaned, and that a failure is tried again."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from cloud.errors import StoreError
from cloud.lifecycle.cleaning import CLEAN_AFTER, CLEAN_PERIOD, RETRY_PERIOD, Cleaner

NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Parts:
    """Keys and remains that note what was done to them."""

    def __init__(self) -> None:
        self.rotations = 0
        self.cleanings = 0
        self.is_away = False

    def rotate(self) -> int:
        self.rotations += 1
        return 0

    def forget_destroyed(self, *, before_s: float) -> int:
        assert before_s < NOW.timestamp()
        return 0

    async def clean(self) -> bool:
        if self.is_away:
            raise StoreError("PostgreSQL cannot be reached")
        self.cleanings += 1
        return True


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def cleaner(parts: Parts) -> Cleaner:
    return Cleaner(parts, parts)


async def test_nothing_is_cleaned_while_nothing_was_erased(cleaner: Cleaner, parts: Parts) -> None:
    await cleaner.clean(NOW + timedelta(days=1))
    assert (parts.rotations, parts.cleanings) == (0, 0)


async def test_erasures_of_a_while_are_cleaned_after_together_and_all_of_them_within_six_minutes(
    cleaner: Cleaner, parts: Parts
) -> None:
    cleaned: list[timedelta] = []
    for second in range(0, 1_200, 10):
        at = timedelta(seconds=second)
        if second <= 600:
            cleaner.note_erasure(NOW + at)
        before = parts.cleanings
        await cleaner.clean(NOW + at)
        if parts.cleanings > before:
            cleaned.append(at)
    assert cleaned[0] == CLEAN_AFTER
    assert all(later - earlier >= CLEAN_PERIOD for earlier, later in itertools.pairwise(cleaned))
    assert timedelta(seconds=600) < cleaned[-1] <= timedelta(seconds=600) + CLEAN_AFTER + CLEAN_PERIOD
    assert parts.rotations == parts.cleanings


async def test_a_cleaning_that_failed_is_done_again_soon(cleaner: Cleaner, parts: Parts) -> None:
    cleaner.note_erasure(NOW)
    parts.is_away = True
    with pytest.raises(StoreError):
        await cleaner.clean(NOW + CLEAN_AFTER)
    parts.is_away = False
    await cleaner.clean(NOW + CLEAN_AFTER + timedelta(seconds=1))
    assert parts.cleanings == 0, "not at every turn: it takes a checkpoint"
    await cleaner.clean(NOW + CLEAN_AFTER + RETRY_PERIOD)
    assert parts.cleanings == 1
