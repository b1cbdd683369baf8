"""The policy file is complete, strict, and what the notice says."""

from __future__ import annotations

from importlib import resources

import pytest

from privacy.errors import PolicyError
from privacy.governance.policy import Anchor, Artefact, load_policy, parse_duration_us

TEXT = resources.files("privacy.governance").joinpath("policy.toml").read_text("utf-8")


def test_the_shipped_policy_keeps_ciphertext_for_two_seconds_and_timelines_for_thirty_days() -> None:
    policy = load_policy()
    assert policy.ttl_us(Artefact.CIPHERTEXT_CROP) == 2_000_000
    assert policy.ttl_us(Artefact.TIMELINE) == 30 * 86_400_000_000
    assert policy.retention[Artefact.TIMELINE].anchor is Anchor.CLOSED
    assert policy.minimum_age_years == 18


def test_an_unlisted_jurisdiction_is_denied() -> None:
    policy = load_policy()
    assert policy.allows_capture("DE")
    for code in ("", "de", "XX", "DE ", "CN", "US-ZZ"):
        assert not policy.allows_capture(code)


@pytest.mark.parametrize(
    "old, new",
    [
        ('ttl = "2 s"', 'ttl = "16 s"'),
        ('ttl = "2 s"', 'ttl = "2s"'),
        ('ttl = "2 s"', "ttl = 2"),
        ('from = "closed"', 'from = "opened"'),
        ("[retention.timeline]", "[retention.timelines]"),
        ("minimum_age_years = 18", "minimum_age_years = 13"),
        ("minimum_age_years = 18", "minimum_age_years = true"),
        ("disclosure_minimum = 10", "disclosure_minimum = 1"),
        ("disclosure_minimum = 10", ""),
        ('consent_ttl = "1 d"', 'consent_ttl = "-1 d"'),
        ('"AT"', '"Austria"'),
        ('"AT"', "1"),
        ("allowed =", "denied ="),
        ('version = "2026-11-24"', "version = 3"),
        ("[jurisdictions]", "[jurisdictions"),
    ],
)
def test_a_policy_with_one_mistake_is_refused(old: str, new: str) -> None:
    assert old in TEXT
    with pytest.raises(PolicyError):
        load_policy(TEXT.replace(old, new, 1))


def test_durations_have_one_spelling() -> None:
    assert parse_duration_us("11 min") == 660_000_000
    for text in ("", "11", "min", "011 s", "1  s", "1 s\n", "1 y", None, 5):
        with pytest.raises(PolicyError):
            parse_duration_us(text)
