"""The replay window accepts each counter once, against a set as the model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from privacy.errors import ReplayError
from privacy.protocol import limits
from privacy.protocol.replay_window import ReplayWindow


class ReplayMachine(RuleBasedStateMachine):
    @initialize(size=st.sampled_from([1, 2, 7, 64]))
    def start(self, size: int) -> None:
        self.size = size
        self.window = ReplayWindow(size)
        self.seen: set[int] = set()

    @rule(counter=st.integers(0, 200))
    def offer(self, counter: int) -> None:
        expected = counter not in self.seen and counter > max(self.seen, default=-1) - self.size
        assert self.window.is_fresh(counter) == expected
        if expected:
            assert self.window.check(counter)
            self.window.accept(counter)
            self.seen.add(counter)
        for _ in range(2):
            with pytest.raises(ReplayError):
                self.window.accept(counter)

    @invariant()
    def memory_is_bounded(self) -> None:
        if hasattr(self, "window"):
            assert self.window._seen.bit_length() <= self.size


TestReplayWindow = ReplayMachine.TestCase


@given(st.permutations(range(limits.REPLAY_WINDOW_FRAMES // 64)))
def test_any_order_within_the_window_is_accepted_once(order: list[int]) -> None:
    window = ReplayWindow()
    for counter in order:
        window.accept(counter)
    assert not any(window.is_fresh(counter) for counter in order)


def test_a_far_jump_forgets_what_lies_behind() -> None:
    window = ReplayWindow(8)
    window.accept(3)
    window.accept(10**15)
    assert not window.is_fresh(3)
    assert not window.is_fresh(10**15 - 8)
    assert window.is_fresh(10**15 - 7)


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        ReplayWindow().accept(-1)
    with pytest.raises(ValueError, match="at least one"):
        ReplayWindow(0)
