"""Make the notice a viewer reads from the policy that is enforced (protocol rule C3)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

from privacy.errors import PolicyError
from privacy.governance.policy import Anchor, Artefact, Policy

LOCALES = ("en", "de")

_UNITS: tuple[tuple[int, str], ...] = (
    (86_400_000_000, "d"),
    (3_600_000_000, "h"),
    (60_000_000, "min"),
    (1_000_000, "s"),
    (1_000, "ms"),
    (1, "us"),
)
_UNIT_NAMES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "en": {
        "d": ("day", "days"),
        "h": ("hour", "hours"),
        "min": ("minute", "minutes"),
        "s": ("second", "seconds"),
        "ms": ("millisecond", "milliseconds"),
        "us": ("microsecond", "microseconds"),
    },
    "de": {
        "d": ("Tag", "Tage"),
        "h": ("Stunde", "Stunden"),
        "min": ("Minute", "Minuten"),
        "s": ("Sekunde", "Sekunden"),
        "ms": ("Millisekunde", "Millisekunden"),
        "us": ("Mikrosekunde", "Mikrosekunden"),
    },
}
_ANCHORS: Mapping[str, Mapping[Anchor, str]] = {
    "en": {Anchor.CREATED: "at most {span}", Anchor.CLOSED: "at most {span} after the session ends"},
    "de": {Anchor.CREATED: "höchstens {span}", Anchor.CLOSED: "höchstens {span} nach Ende der Sitzung"},
}
_ARTEFACTS: Mapping[str, Mapping[Artefact, str]] = {
    "en": {
        Artefact.CIPHERTEXT_CROP: "encrypted face crops on the way to the classifier",
        Artefact.PLAINTEXT_CROP: "a decrypted face crop in the classifier's memory",
        Artefact.SESSION_SETUP: "the encrypted session key on the way to the classifier",
        Artefact.HOT_FRAMES: "your frame-by-frame expression numbers before they are encrypted",
        Artefact.TIMELINE: "your encrypted expression timeline",
        Artefact.SESSION_FACTS: "counts and gaps of your session",
        Artefact.CONSENT_EVIDENCE: "proof of your consent, under a pseudonym",
        Artefact.DELETION_RECEIPT: "proof that your data were deleted, under a pseudonym",
        Artefact.AUDIT_ENTRY: "the record of who accessed what",
    },
    "de": {
        Artefact.CIPHERTEXT_CROP: "verschlüsselte Gesichtsausschnitte auf dem Weg zum Klassifikator",
        Artefact.PLAINTEXT_CROP: "ein entschlüsselter Gesichtsausschnitt im Speicher des Klassifikators",
        Artefact.SESSION_SETUP: "der verschlüsselte Sitzungsschlüssel auf dem Weg zum Klassifikator",
        Artefact.HOT_FRAMES: "Ihre Ausdruckswerte je Bild, bevor sie verschlüsselt werden",
        Artefact.TIMELINE: "Ihr verschlüsselter Verlauf der Ausdrücke",
        Artefact.SESSION_FACTS: "Zählwerte und Lücken Ihrer Sitzung",
        Artefact.CONSENT_EVIDENCE: "der Nachweis Ihrer Einwilligung, unter einem Pseudonym",
        Artefact.DELETION_RECEIPT: "der Nachweis der Löschung, unter einem Pseudonym",
        Artefact.AUDIT_ENTRY: "das Verzeichnis, wer worauf zugegriffen hat",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A notice as it is shown.

    Attributes:
        text: Markdown.
        sha256: of the text in UTF-8, 64 hex digits; consent is bound to it.
        locale: one of `LOCALES`.
        version: the policy's.
    """

    text: str
    sha256: str
    locale: str
    version: str


def render_notice(policy: Policy, locale: str) -> Notice:
    """Write the notice for a policy in one language.

    Raises:
        PolicyError: there is no text in this language.
    """
    if locale not in LOCALES:
        raise PolicyError("no notice in this language")
    template = resources.files("privacy.governance.notices").joinpath(f"{locale}.md").read_text("utf-8")
    text = template.format(
        retention=_retention_text(policy, locale),
        disclosure_minimum=policy.disclosure_minimum,
        minimum_age_years=policy.minimum_age_years,
        consent_ttl=span_text(policy.consent_ttl_us, locale),
        version=policy.version,
    )
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Notice(text=text, sha256=digest, locale=locale, version=policy.version)


def span_text(span_us: int, locale: str) -> str:
    """Write a duration in the largest unit that divides it."""
    size_us, unit = next(
        ((size_us, unit) for size_us, unit in _UNITS if span_us and span_us % size_us == 0), (1, "us")
    )
    number = span_us // size_us
    singular, plural = _UNIT_NAMES[locale][unit]
    return f"{number} {singular if number == 1 else plural}"


def _retention_text(policy: Policy, locale: str) -> str:
    lines = []
    for artefact in Artefact:
        rule = policy.retention[artefact]
        span = span_text(rule.ttl_us, locale)
        lines.append(f"- {_ARTEFACTS[locale][artefact]}: {_ANCHORS[locale][rule.anchor].format(span=span)}")
    return "\n".join(lines)
