"""The policy: how long what is kept, where capture is allowed, how small a group may be.

One file (`policy.toml`) is both what the enforcers read and what the notice's text is made from
(protocol rules R5, C3), so that the promise and the deed cannot differ.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from types import MappingProxyType
from typing import Any

from privacy.errors import PolicyError


class Artefact(StrEnum):
    """Everything that is kept, if only for a moment."""

    CIPHERTEXT_CROP = "ciphertext_crop"
    PLAINTEXT_CROP = "plaintext_crop"
    SESSION_SETUP = "session_setup"
    HOT_FRAMES = "hot_frames"
    TIMELINE = "timeline"
    SESSION_FACTS = "session_facts"
    CONSENT_EVIDENCE = "consent_evidence"
    DELETION_RECEIPT = "deletion_receipt"
    AUDIT_ENTRY = "audit_entry"


class Anchor(StrEnum):
    """What a time to live counts from."""

    CREATED = "created"
    CLOSED = "closed"


_UNITS_US: Mapping[str, int] = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "min": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_DURATION = re.compile(r"(0|[1-9][0-9]{0,8}) (us|ms|s|min|h|d)\Z")
_JURISDICTION = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?\Z")
_VERSION = re.compile(r"[0-9A-Za-z.-]{1,32}\Z")
_CIPHERTEXT_MAX_US = 15_000_000
_KEYS = {"version", "minimum_age_years", "disclosure_minimum", "consent_ttl", "retention", "jurisdictions"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRule:
    """How long one kind of artefact lives: `ttl_us` from `anchor` on."""

    ttl_us: int
    anchor: Anchor


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One version of the policy.

    Attributes:
        version: named in notices and audit entries.
        minimum_age_years: younger viewers are refused.
        disclosure_minimum: viewers that any released figure must be about, at least.
        consent_ttl_us: longest life of a consent receipt.
        retention: a rule for every artefact.
        jurisdictions: where capture is allowed; everywhere else it is denied.
    """

    version: str
    minimum_age_years: int
    disclosure_minimum: int
    consent_ttl_us: int
    retention: Mapping[Artefact, RetentionRule]
    jurisdictions: frozenset[str]

    def ttl_us(self, artefact: Artefact) -> int:
        """Give an artefact's time to live in microseconds."""
        return self.retention[artefact].ttl_us

    def ttl_ms(self, artefact: Artefact) -> int:
        """Return an artefact's time to live in whole milliseconds."""
        return self.ttl_us(artefact) // 1_000

    def allows_capture(self, jurisdiction: str) -> bool:
        """Say whether faces may be captured there; unlisted means denied."""
        return jurisdiction in self.jurisdictions


def load_policy(text: str | None = None) -> Policy:
    """Read a policy; without a text, the one that the package carries.

    Raises:
        PolicyError: malformed, incomplete, or a value out of its bounds.
    """
    if text is None:
        text = resources.files("privacy.governance").joinpath("policy.toml").read_text("utf-8")
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        raise PolicyError("policy is not TOML") from None
    if document.keys() != _KEYS:
        raise PolicyError("policy has missing or unknown keys")
    policy = Policy(
        version=_read_version(document["version"]),
        minimum_age_years=_read_int(document["minimum_age_years"], "minimum_age_years", 18, 99),
        disclosure_minimum=_read_int(document["disclosure_minimum"], "disclosure_minimum", 2, 1_000_000),
        consent_ttl_us=parse_duration_us(document["consent_ttl"]),
        retention=_read_retention(document["retention"]),
        jurisdictions=_read_jurisdictions(document["jurisdictions"]),
    )
    if policy.ttl_us(Artefact.CIPHERTEXT_CROP) > _CIPHERTEXT_MAX_US:
        raise PolicyError("ciphertext crops must not be kept for more than 15 s")
    return policy


def parse_duration_us(text: object) -> int:
    """Read a duration such as `30 d` as microseconds.

    Raises:
        PolicyError: it is not one.
    """
    match = _DURATION.match(text) if isinstance(text, str) else None
    if match is None:
        raise PolicyError("a duration is a whole number, a space and one of us, ms, s, min, h, d")
    return int(match[1]) * _UNITS_US[match[2]]


def _read_retention(table: Any) -> Mapping[Artefact, RetentionRule]:
    if not isinstance(table, dict) or table.keys() != set(Artefact):
        raise PolicyError("policy must give a retention rule for every artefact, and for nothing else")
    rules = {}
    for name, rule in table.items():
        if not isinstance(rule, dict) or rule.keys() != {"ttl", "from"} or rule["from"] not in set(Anchor):
            raise PolicyError(f"retention rule of {name} is malformed")
        rules[Artefact(name)] = RetentionRule(
            ttl_us=parse_duration_us(rule["ttl"]), anchor=Anchor(rule["from"])
        )
    return MappingProxyType(rules)


def _read_jurisdictions(table: Any) -> frozenset[str]:
    allowed = table.get("allowed") if isinstance(table, dict) and table.keys() == {"allowed"} else None
    if not isinstance(allowed, list) or not all(
        isinstance(code, str) and _JURISDICTION.match(code) for code in allowed
    ):
        raise PolicyError("jurisdictions must list ISO 3166 codes under `allowed`")
    return frozenset(allowed)


def _read_version(value: Any) -> str:
    if not isinstance(value, str) or not _VERSION.match(value):
        raise PolicyError("policy version is malformed")
    return value


def _read_int(value: Any, name: str, bottom: int, top: int) -> int:
    if type(value) is not int or not bottom <= value <= top:
        raise PolicyError(f"{name} must be a whole number from {bottom} to {top}")
    return value
