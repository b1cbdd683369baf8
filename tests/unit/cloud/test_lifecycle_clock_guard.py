"""When a clock is doubted, and what ends the doubt."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from cloud.lifecycle.clock_guard import HOLD_MAX, SKEW_MAX, STEP_MAX, ClockGuard, is_time

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def asked(
    guard: ClockGuard, *, step: timedelta, skew: timedelta = timedelta(), ran: timedelta = timedelta()
) -> str:
    return guard.objection(
        NOW, database_now=NOW - skew, believed_at=NOW - step, monotonic_s=ran.total_seconds()
    )


def test_a_clock_that_runs_on_is_believed_and_one_that_went_back_deletes_late_and_no_more() -> None:
    for step in (timedelta(), timedelta(seconds=10), STEP_MAX, -timedelta(days=400)):
        assert asked(ClockGuard(), step=step) == ""


@pytest.mark.parametrize("skew", [SKEW_MAX, -SKEW_MAX])
def test_clocks_that_differ_are_doubted_on_either_side(skew: timedelta) -> None:
    assert asked(ClockGuard(), step=timedelta(), skew=skew) == ""
    assert "differ" in asked(ClockGuard(), step=timedelta(), skew=skew * 1.01)


def test_a_jump_is_doubted_until_the_platform_ran_for_two_days_in_that_state() -> None:
    guard = ClockGuard()
    assert "ahead" in asked(guard, step=timedelta(days=40))
    assert "ahead" in asked(guard, step=timedelta(days=400), ran=HOLD_MAX - timedelta(seconds=1))
    assert asked(guard, step=timedelta(days=40), ran=HOLD_MAX) == ""


def test_an_operator_ends_the_doubt_by_naming_the_day_and_by_no_other() -> None:
    assert asked(ClockGuard(confirmed=date(2026, 5, 1)), step=timedelta(days=40)) == ""
    assert "ahead" in asked(ClockGuard(confirmed=date(2026, 3, 22)), step=timedelta(days=40))
    same_day = ClockGuard(confirmed=date(2026, 5, 1))
    assert "differ" in asked(same_day, step=timedelta(), skew=timedelta(days=40))


def test_a_clock_that_was_set_right_begins_anew() -> None:
    guard = ClockGuard()
    assert "ahead" in asked(guard, step=timedelta(days=40))
    assert asked(guard, step=timedelta(), ran=timedelta(hours=1)) == ""
    assert "ahead" in asked(guard, step=timedelta(days=40), ran=HOLD_MAX + timedelta(minutes=1))


def test_what_is_done_periodically_is_not_put_off_by_a_clock_that_was_set_back() -> None:
    period = timedelta(seconds=10)
    assert is_time(NOW, last=None, period=period)
    assert not is_time(NOW, last=NOW, period=period)
    assert is_time(NOW + period, last=NOW, period=period)
    assert is_time(NOW - timedelta(days=40), last=NOW, period=period)
