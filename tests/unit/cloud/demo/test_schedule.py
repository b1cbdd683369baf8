from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.demo.schedule import balanced_agreement, make_schedule, write_schedule

THREE = make_schedule(["neutral", "happy", "surprised"], each_ms=2000)


def test_moments_follow_one_another_without_holes() -> None:
    ends = [moment.end_ms for moment in THREE.moments]
    starts = [moment.start_ms for moment in THREE.moments]
    assert starts == [0, *ends[:-1]]
    assert THREE.duration_ms == 6000


@pytest.mark.parametrize(
    ("media_time_ms", "expression"),
    [
        (0, None),
        (599, None),
        (600, "neutral"),
        (1999, "neutral"),
        (2000, None),
        (2600, "happy"),
        (6000, None),
        (-1, None),
    ],
)
def test_no_expression_is_settled_during_a_change_or_outside_the_schedule(
    media_time_ms: int, expression: str | None
) -> None:
    assert THREE.settled_expression(media_time_ms) == expression


@given(st.floats(0, 5999.9))
def test_a_settled_expression_is_the_one_of_its_moment(media_time_ms: float) -> None:
    shown = THREE.settled_expression(media_time_ms)
    assert shown in (None, THREE.moments[THREE.moment_at(media_time_ms)].expression)


def test_agreement_is_balanced_over_expressions_not_over_frames() -> None:
    times = [700.0, 800.0, 900.0, 3000.0]
    shares = balanced_agreement(THREE, times, ["neutral", "neutral", "neutral", "sad"])
    assert shares == {"neutral": 1.0, "happy": 0.0, "surprised": 0.0, "balanced": pytest.approx(1 / 3)}


def test_frames_during_a_change_are_not_judged() -> None:
    assert balanced_agreement(THREE, [2100.0, 2700.0], ["sad", "happy"])["happy"] == 1.0


def test_an_expression_of_which_no_frame_arrived_counts_as_missed() -> None:
    assert balanced_agreement(THREE, [], [])["balanced"] == 0.0


def test_the_written_schedule_says_when_each_expression_is_settled(tmp_path: Path) -> None:
    write_schedule(THREE, tmp_path / "schedule.json")
    written = json.loads((tmp_path / "schedule.json").read_text())
    assert written["duration_ms"] == 6000
    assert written["moments"][1] == {
        "start_ms": 2000,
        "settled_from_ms": 2600,
        "end_ms": 4000,
        "expression": "happy",
    }
