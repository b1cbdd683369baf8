"""Wrong credentials are answered slower and slower, without shutting the right ones out or growing in memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.web.attempts import PER_ADDRESS, PER_PREFIX, REMEMBERED_S, Attempt, FailureLimiter
from cloud.web.connections import source_of


def attempt(address: str = "192.0.2.1", prefix: str = "key:1") -> Attempt:
    return Attempt(address=address, prefix=prefix)


def fail(limiter: FailureLimiter, times: int, of: Attempt, *, now_s: float = 0.0) -> None:
    for _ in range(times):
        limiter.failed(of, now_s=now_s)


def test_a_prefix_is_looked_at_ten_times_from_wherever_it_is_tried() -> None:
    limiter = FailureLimiter()
    for n in range(PER_PREFIX.burst):
        assert limiter.wait_s(attempt(f"192.0.2.{n}"), now_s=0) == 0
        limiter.failed(attempt(f"192.0.2.{n}"), now_s=0)
    assert limiter.wait_s(attempt("192.0.2.99"), now_s=0) == PER_PREFIX.every_s
    assert limiter.wait_s(attempt("192.0.2.99"), now_s=PER_PREFIX.every_s) == 0
    assert limiter.wait_s(attempt("192.0.2.99", "key:2"), now_s=0) == 0


def test_an_address_is_looked_at_twenty_times_whatever_it_tries() -> None:
    limiter = FailureLimiter()
    for n in range(PER_ADDRESS.burst):
        assert limiter.wait_s(attempt(prefix=f"key:{n}"), now_s=0) == 0
        limiter.failed(attempt(prefix=f"key:{n}"), now_s=0)
    assert limiter.wait_s(attempt(prefix="key:99"), now_s=0) == PER_ADDRESS.every_s
    assert limiter.wait_s(attempt(prefix=""), now_s=0) == PER_ADDRESS.every_s
    assert limiter.wait_s(attempt("192.0.2.2"), now_s=0) == 0


def test_who_was_let_in_is_not_shut_out_by_others_and_still_may_not_guess_for_ever() -> None:
    limiter = FailureLimiter()
    limiter.succeeded(attempt(), now_s=0)
    fail(limiter, 50, attempt(prefix="key:9"))
    fail(limiter, 50, attempt("198.51.100.1"))
    assert limiter.wait_s(attempt(), now_s=0) == 0
    fail(limiter, PER_PREFIX.burst, attempt())
    assert limiter.wait_s(attempt(), now_s=0) > 0
    assert limiter.wait_s(attempt(), now_s=3_600) == 0


def test_memory_is_bounded_and_the_longest_unused_goes_first() -> None:
    limiter = FailureLimiter(entries_max=10)
    for n in range(100):
        limiter.failed(attempt(f"10.0.0.{n}", prefix=""), now_s=0)
        limiter.succeeded(attempt(f"10.0.0.{n}"), now_s=0)
    assert len(limiter) == 20


def test_addresses_are_forgotten_after_an_hour_whoever_comes_next() -> None:
    limiter = FailureLimiter()
    limiter.failed(attempt(), now_s=0)
    limiter.succeeded(attempt("192.0.2.2"), now_s=0)
    limiter.succeeded(attempt("192.0.2.3"), now_s=REMEMBERED_S - 1)
    assert len(limiter) == 4
    limiter.succeeded(attempt("192.0.2.3"), now_s=REMEMBERED_S)
    assert len(limiter) == 1


def test_a_clock_that_steps_back_forgives_nothing() -> None:
    limiter = FailureLimiter()
    fail(limiter, PER_PREFIX.burst, attempt(), now_s=1_000)
    assert limiter.wait_s(attempt(), now_s=0) == PER_PREFIX.every_s


@pytest.mark.parametrize(
    ("host", "source"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("testclient", "testclient"),
        (None, "unknown"),
    ],
)
def test_an_ipv6_network_counts_as_one_source(host: str | None, source: str) -> None:
    assert source_of(host) == source


@given(st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=60))
def test_no_more_is_looked_at_than_the_burst_and_one_for_each_interval(
    tries: list[tuple[float, bool]],
) -> None:
    limiter, now_s, seen = FailureLimiter(), 0.0, 0
    for pause_s, is_short in tries:
        now_s += pause_s / 100 if is_short else pause_s
        if limiter.wait_s(attempt(), now_s=now_s) == 0:
            seen += 1
            limiter.failed(attempt(), now_s=now_s)
    assert seen <= PER_PREFIX.burst + 1 + now_s / PER_PREFIX.every_s
