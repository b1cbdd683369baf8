"""Times rivals in turns, so that a busy machine slows all of them alike; gives medians and ratios with intervals.

1. Each timed call follows an untimed one of the same rival: otherwise a small network would be charged with bringing
   back what a large rival pushed out of the caches.
2. Wall-clock time and CPU time are taken of every call. A busy machine interrupts long calls and not
   short ones, so it spoils ratios of wall-clock times. Rivals that compute on one thread and never wait are compared by
   CPU time alone, which on a quiet machine is the same; where a rival may wait or use more threads, a claim takes the
   smaller of both ratios.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Runner = Callable[[], object]
Clock = Callable[[], float]

WARM_UP_RUNS = 3
ROUNDS_RANGE = (9, 400)
RESAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A median or a ratio of medians, with its 95 % interval.

    Attributes:
        value: the point estimate.
        low: lower bound.
        high: upper bound.
    """

    value: float
    low: float
    high: float

    def as_json(self, unit: str) -> dict[str, float]:
        """Return `{unit: value, "low": low, "high": high}`, rounded to four significant digits."""
        return {unit: _rounded(self.value), "low": _rounded(self.low), "high": _rounded(self.high)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Turns:
    """What one rival took, round by round.

    Attributes:
        wall_ms: float64 (rounds,), by the clock on the wall.
        cpu_ms: float64 (rounds,), CPU time.
    """

    wall_ms: Float64Array
    cpu_ms: Float64Array


def take_turns(
    runners: Mapping[str, Runner],
    *,
    seconds: float,
    clock: Clock = time.perf_counter,
    cpu_clock: Clock = time.process_time,
) -> dict[str, Turns]:
    """Time every runner once per round, in an order drawn anew each round, so that nobody always follows the same rival.

    Args:
        runners: by name; each is called with nothing.
        seconds: how long to go on; at least 9 rounds and at most 400 are made.
        clock: seconds, monotonic.
        cpu_clock: seconds of CPU time: of the process, or of this thread where no rival uses another.

    Returns:
        By name; position i of every array is the same round.
    """
    for run in runners.values():
        for _ in range(WARM_UP_RUNS):
            run()
    names, drawn = list(runners), np.random.default_rng(0)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    began, (fewest, most) = clock(), ROUNDS_RANGE
    for number in range(most):
        if number >= fewest and clock() - began > seconds:
            break
        for name in drawn.permutation(names).tolist():
            runners[name]()
            start, cpu_start = clock(), cpu_clock()
            runners[name]()
            taken[name].append((clock() - start, cpu_clock() - cpu_start))
    table = {name: np.array(pairs) * 1e3 for name, pairs in taken.items()}
    return {name: Turns(wall_ms=both[:, 0], cpu_ms=both[:, 1]) for name, both in table.items()}


def median_of(times: Float64Array) -> Figure:
    """Return the median of some times, with its bootstrap interval over rounds."""
    draws = np.median(times[_resampled(len(times))], axis=1)
    return _figure(float(np.median(times)), draws)


def ratio_of(slow: Float64Array, fast: Float64Array) -> Figure:
    """Return how many times faster `fast` is: a ratio of medians, its interval from resampling whole rounds.

    Args:
        slow: float64 (rounds,), milliseconds.
        fast: float64 (rounds,), milliseconds of the same rounds, with a median above 0.
    """
    rounds = _resampled(len(fast))
    draws = np.median(slow[rounds], axis=1) / np.median(fast[rounds], axis=1)
    return _figure(float(np.median(slow) / np.median(fast)), draws)


def speedup(slow: Turns, fast: Turns, *, by_cpu: bool) -> Figure:
    """Return how many times faster `fast` is (rule 2).

    Args:
        slow: of the same rounds.
        fast: of the same rounds.
        by_cpu: both compute on one thread and never wait; otherwise the clock that claims less is believed.
    """
    on_cpu = ratio_of(slow.cpu_ms, fast.cpu_ms)
    if by_cpu:
        return on_cpu
    return min(ratio_of(slow.wall_ms, fast.wall_ms), on_cpu, key=lambda figure: figure.value)


def summarise(turns: Mapping[str, Turns], *, against: str, by_cpu: bool) -> dict[str, Any]:
    """Return every rival's medians in milliseconds, and its ratios to `against` both ways round.

    Args:
        turns: as `take_turns` gives them.
        against: the name that the ratios are of.
        by_cpu: as for `speedup`.
    """
    base = turns[against]
    return {
        name: {
            **median_of(taken.wall_ms).as_json("median_ms"),
            "cpu_ms": _rounded(float(np.median(taken.cpu_ms))),
            "ratio_wall": ratio_of(taken.wall_ms, base.wall_ms).as_json("ratio"),
            "ratio_cpu": ratio_of(taken.cpu_ms, base.cpu_ms).as_json("ratio"),
            "times_as_long": speedup(taken, base, by_cpu=by_cpu).as_json("ratio"),
            "times_as_fast": speedup(base, taken, by_cpu=by_cpu).as_json("ratio"),
            "rounds": len(taken.wall_ms),
        }
        for name, taken in turns.items()
    }


def _resampled(count: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(0).integers(0, count, (RESAMPLES, count))


def _figure(value: float, draws: Float64Array) -> Figure:
    low, high = (float(bound) for bound in np.quantile(draws, (0.025, 0.975)))
    return Figure(value=value, low=low, high=high)


def _rounded(number: float) -> float:
    return float(f"{number:.4g}")
