from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.bench.timing import ROUNDS_RANGE, Turns, median_of, ratio_of, speedup, summarise, take_turns


class Stage:
    """A clock that only its runners move; waiting costs wall-clock time but no CPU time."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.cpu_s = 0.0
        self.calls: list[str] = []

    def runner(self, name: str, *, work_s: float, wait_s: float = 0.0):
        def run() -> None:
            self.calls.append(name)
            self.now_s += work_s + wait_s
            self.cpu_s += work_s

        return run

    def measure(self, seconds: float, **work_s: float) -> dict[str, Turns]:
        runners = {name: self.runner(name, work_s=work) for name, work in work_s.items()}
        return take_turns(runners, seconds=seconds, clock=lambda: self.now_s, cpu_clock=lambda: self.cpu_s)


def turns(wall: list[float], cpu: list[float] | None = None) -> Turns:
    return Turns(wall_ms=np.array(wall), cpu_ms=np.array(cpu or wall))


def test_every_round_times_each_rival_once_in_an_order_of_its_own() -> None:
    stage = Stage()
    stage.measure(0.0, a=0.001, b=0.002, c=0.003)
    after_warm_up = stage.calls[9:]
    timed = after_warm_up[1::2]
    assert after_warm_up[::2] == timed
    rounds = ["".join(timed[at : at + 3]) for at in range(0, len(timed), 3)]
    assert all(sorted(order) == ["a", "b", "c"] for order in rounds)
    assert len(set(rounds)) > 3


def test_times_are_those_of_the_call_alone() -> None:
    measured = Stage().measure(0.0, fast=0.001, slow=0.004)
    assert measured["fast"].wall_ms == pytest.approx(1.0)
    assert measured["slow"].cpu_ms == pytest.approx(4.0)


def test_rounds_are_bounded_whatever_the_time_given() -> None:
    fewest, most = ROUNDS_RANGE
    assert len(Stage().measure(0.0, a=10.0)["a"].wall_ms) == fewest
    assert len(Stage().measure(1e9, a=1e-6)["a"].wall_ms) == most


def test_a_claim_takes_the_clock_that_claims_less() -> None:
    fast, interrupted, waiting = (
        turns([1.0] * 20),
        turns([400.0] * 20, [100.0] * 20),
        turns([10.0] * 20, [30.0] * 20),
    )
    assert speedup(interrupted, fast, by_cpu=False).value == pytest.approx(100.0)
    assert speedup(waiting, fast, by_cpu=False).value == pytest.approx(10.0)
    assert speedup(waiting, fast, by_cpu=True).value == pytest.approx(30.0)


@given(st.lists(st.floats(0.01, 100), min_size=15, max_size=40))
def test_a_median_lies_within_its_interval(times: list[float]) -> None:
    figure = median_of(np.array(times))
    assert min(times) <= figure.low <= figure.high <= max(times)
    assert figure.low <= figure.value * (1 + 1e-9) and figure.value <= figure.high * (1 + 1e-9)


def test_what_slows_both_alike_leaves_their_ratio_certain() -> None:
    load = np.array([1.0, 5.0, 2.0, 9.0, 3.0] * 8)
    ratio = ratio_of(3.0 * load, load)
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((3.0, 3.0, 3.0))


def test_a_summary_gives_both_ratios_and_the_rounds() -> None:
    found = summarise(
        {"net": turns([2.0] * 15), "rival": turns([8.0] * 15, [6.0] * 15)}, against="net", by_cpu=False
    )
    assert found["net"]["times_as_long"]["ratio"] == 1.0
    assert found["rival"]["ratio_wall"]["ratio"] == 4.0
    assert found["rival"]["ratio_cpu"]["ratio"] == found["rival"]["times_as_long"]["ratio"] == 3.0
    assert found["rival"]["times_as_fast"]["ratio"] == 0.25
    assert (found["rival"]["median_ms"], found["rival"]["cpu_ms"], found["rival"]["rounds"]) == (8.0, 6.0, 15)
