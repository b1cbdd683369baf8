"""Which model scored a frame."""

from __future__ import annotations

from dataclasses import dataclass, field

MODEL_TEXT_MAX_CHARS = 64
DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringModel:
    """One file of an artifact, as the classify worker loaded it.

    Attributes:
        name: of the artifact.
        version: of the artifact; empty where it is not known.
        variant: which file of the family; empty where it is not known.
        sha256: of that file, 32 bytes; zeros where it is not known.
    """

    name: str
    version: str
    variant: str
    sha256: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what does not fit a stream entry.

        Raises:
            ValueError: a text is too long or not printable ASCII, or the digest is not 32 bytes.
        """
        for text in (self.name, self.version, self.variant):
            if len(text) > MODEL_TEXT_MAX_CHARS or not (text.isascii() and text.isprintable()):
                raise ValueError("a model's name, version and variant are short printable ASCII")
        if not self.name or len(self.sha256) != DIGEST_BYTES:
            raise ValueError("a model has a name and a SHA-256 digest")


ON_DEVICE = ScoringModel(name="on-device", version="", variant="", sha256=bytes(DIGEST_BYTES))
"""Scores that an agent sent in place of a crop (protocol rule W12): it does not say by which model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredFrames:
    """How many of a session's stored frames one model scored."""

    model: ScoringModel
    frames: int
