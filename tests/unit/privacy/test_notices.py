"""The notice says what the policy does."""

from __future__ import annotations

import hashlib
import re
from importlib import resources

import pytest

from privacy.errors import PolicyError
from privacy.governance.notices import LOCALES, render_notice
from privacy.governance.notices.rendering import span_text
from privacy.governance.policy import Artefact, load_policy

TEXT = resources.files("privacy.governance").joinpath("policy.toml").read_text("utf-8")


@pytest.mark.parametrize(("locale", "says"), [("en", "is taken for you"), ("de", "wird für Sie gehalten")])
def test_the_notice_says_who_is_taken_for_the_viewer(locale: str, says: str) -> None:
    assert says in render_notice(load_policy(), locale).text


@pytest.mark.parametrize("locale", LOCALES)
def test_a_notice_is_complete_and_bound_by_its_digest(locale: str) -> None:
    notice = render_notice(load_policy(), locale)
    assert notice.sha256 == hashlib.sha256(notice.text.encode()).hexdigest()
    assert not re.search(r"[{}]", notice.text)
    assert "18" in notice.text and notice.version in notice.text
    policy = load_policy()
    for artefact in Artefact:
        assert span_text(policy.ttl_us(artefact), locale) in notice.text


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize(
    "change",
    [('"30 d"', '"31 d"'), ("disclosure_minimum = 10", "disclosure_minimum = 11"), ('"1 d"', '"2 d"')],
)
def test_a_changed_policy_changes_the_notice(locale: str, change: tuple[str, str]) -> None:
    before = render_notice(load_policy(), locale)
    after = render_notice(load_policy(TEXT.replace(*change, 1)), locale)
    assert before.text != after.text
    assert before.sha256 != after.sha256


def test_an_unknown_language_is_refused() -> None:
    for locale in ("fr", "", "../en", "en.md"):
        with pytest.raises(PolicyError):
            render_notice(load_policy(), locale)


def test_spans_are_written_in_the_largest_whole_unit() -> None:
    assert span_text(1_000_000, "en") == "1 second"
    assert span_text(90_000_000, "en") == "90 seconds"
    assert span_text(86_400_000_000, "de") == "1 Tag"
    assert span_text(0, "en") == "0 microseconds"
