"""What the policy says is due is due, to the microsecond."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.policy import Anchor, Artefact, load_policy
from privacy.retention import cutoff_utc_us, due, due_at_utc_us, lag_us, worst_lag_us

POLICY = load_policy()
times = st.integers(0, 10**16)


@given(st.sampled_from(Artefact), times, st.none() | times, times)
def test_due_and_lag_agree(artefact: Artefact, created: int, closed: int | None, now: int) -> None:
    facts = {"created_utc_us": created, "closed_utc_us": closed, "policy": POLICY}
    limit = due_at_utc_us(artefact, **facts)  # type: ignore[arg-type]
    is_due = due(artefact, now_utc_us=now, **facts)  # type: ignore[arg-type]
    lag = lag_us(artefact, now_utc_us=now, **facts)  # type: ignore[arg-type]
    assert is_due == (limit is not None and now >= limit)
    assert lag == (max(0, now - limit) if limit is not None else 0)


@pytest.mark.parametrize("artefact", Artefact)
def test_an_artefact_is_kept_until_its_time_and_not_a_microsecond_longer(artefact: Artefact) -> None:
    ttl = POLICY.ttl_us(artefact)
    facts = {"created_utc_us": 1_000, "closed_utc_us": 5_000, "policy": POLICY}
    start = 1_000 if POLICY.retention[artefact].anchor is Anchor.CREATED else 5_000
    assert not due(artefact, now_utc_us=start + ttl - 1, **facts)  # type: ignore[arg-type]
    assert due(artefact, now_utc_us=start + ttl, **facts)  # type: ignore[arg-type]


def test_an_open_session_keeps_what_counts_from_its_end() -> None:
    facts = {"created_utc_us": 0, "closed_utc_us": None, "policy": POLICY}
    assert not due(Artefact.TIMELINE, now_utc_us=10**18, **facts)  # type: ignore[arg-type]
    assert due(Artefact.CIPHERTEXT_CROP, now_utc_us=10**18, **facts)  # type: ignore[arg-type]


@given(st.sampled_from(Artefact), st.lists(times, max_size=10), times)
def test_the_cutoff_deletes_exactly_what_is_due(artefact: Artefact, anchors: list[int], now: int) -> None:
    cutoff = cutoff_utc_us(artefact, now_utc_us=now, policy=POLICY)
    for anchor in anchors:
        is_due = due(artefact, created_utc_us=anchor, closed_utc_us=anchor, now_utc_us=now, policy=POLICY)
        assert is_due == (anchor <= cutoff)
    expected = max((max(0, cutoff - anchor) for anchor in anchors), default=0)
    assert worst_lag_us(artefact, anchors, now_utc_us=now, policy=POLICY) == expected
