"""Why a crop got no score; each is counted, none stops the worker."""

from enum import StrEnum


class Refusal(StrEnum):
    """Reason that a single crop was not scored; the metrics' label."""

    ENVELOPE = "envelope"
    STALE = "stale"
    NO_SETUP = "no_setup"
    REVOKED = "revoked"
    SEAL = "seal"
    PAYLOAD = "payload"
    SCORES = "scores"
    FACE = "face"
