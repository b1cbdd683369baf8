from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.audit.comparisons import Group, adjust_fdr, fisher_exact, rank_sum, simultaneous_gaps


def group(name: str, hits: int, total: int, attribute: str = "a") -> Group:
    return Group(attribute=attribute, name=name, hits=np.arange(total) < hits)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_p_values_are_those_of_benjamini_and_hochberg(p_values: list[float]) -> None:
    np.testing.assert_allclose(adjust_fdr(p_values), stats.false_discovery_control(p_values), atol=1e-12)


@given(st.integers(0, 40), st.integers(1, 40), st.integers(0, 60), st.integers(1, 60))
def test_exact_p_values_are_those_of_fisher(hits: int, total: int, other: int, other_total: int) -> None:
    hits, other = min(hits, total), min(other, other_total)
    expected = stats.fisher_exact([[hits, total - hits], [other, other_total - other]]).pvalue
    assert fisher_exact(hits, total, other, other_total) == pytest.approx(expected, rel=1e-6)


def test_rank_sums_with_ties_are_those_of_mann_and_whitney() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 9, 80) / 3.0, rng.integers(1, 10, 120) / 3.0
    expected = stats.mannwhitneyu(first, second, method="asymptotic").pvalue
    assert rank_sum(first, second) == pytest.approx(expected, rel=1e-9)
    assert rank_sum(np.ones(5), np.ones(9)) == 1.0
    assert rank_sum(np.ones(0), np.ones(9)) == 1.0


def test_gaps_are_listed_widest_first_within_each_attribute() -> None:
    gaps = simultaneous_gaps(
        [
            group("x", 50, 100),
            group("y", 80, 100),
            group("z", 60, 100),
            group("p", 1, 9, "b"),
            group("q", 1, 9, "b"),
        ]
    )
    assert [gap["groups"] for gap in gaps[:2]] == [["y", "x"], ["y", "z"]]
    assert gaps[0]["points"] == pytest.approx(30.0)
    assert gaps[0]["lower95_points"] < 30.0 < gaps[0]["upper95_points"]
    assert len(gaps) == 4
    assert simultaneous_gaps([group("only", 1, 2)]) == []


def test_simultaneous_bounds_hold_for_all_gaps_together_in_19_of_20_worlds() -> None:
    rng = np.random.default_rng(2)
    false_alarms = 0
    for world in range(200):
        groups = [Group(attribute="a", name=str(i), hits=rng.random(200) < 0.4) for i in range(5)]
        false_alarms += any(
            gap["lower95_points"] > 0 for gap in simultaneous_gaps(groups, rounds=1000, seed=world)
        )
    assert 1 <= false_alarms <= 20


def test_shares_of_nought_do_not_claim_certainty() -> None:
    (gap,) = simultaneous_gaps([group("x", 0, 50), group("y", 1, 50)])
    assert gap["lower95_points"] == 0.0
    assert gap["upper95_points"] > 4.0
