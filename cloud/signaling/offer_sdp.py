"""What an SDP offer may hold, checked line by line before a parser or a network sees it.

Rules:

O1  Exactly one media section, for data channels: a peer that could carry audio or video is one we do not want.
O2  Bounded: lines, their length, and candidates. ICE pairs every remote candidate with every local one and
    sends packets to it, so an offer with hundreds would make ingest knock at hundreds of doors.
O3  Candidates are literal IP addresses: a name would make ingest look it up on a network of the agent's choice.
"""

from __future__ import annotations

import ipaddress

from cloud.errors import AdmissionError

LINES_MAX = 128
LINE_MAX_CHARS = 512
CANDIDATES_MAX = 32
"""A machine with eight interfaces, v4 and v6 each, has sixteen; server-reflexive and relayed ones come on top."""

_CANDIDATE = "a=candidate:"
_ADDRESS_AT = 4
"""Foundation, component, transport, priority, then the address (RFC 8839, section 5.1)."""


def check_offer_sdp(sdp: str) -> None:
    """Check an offer (O1 to O3).

    Raises:
        AdmissionError: it holds what no agent of ours would offer (code 422).
    """
    lines = sdp.splitlines()
    # O2
    if len(lines) > LINES_MAX or any(len(line) > LINE_MAX_CHARS for line in lines):
        raise AdmissionError(422, "the offer is too long")
    # O1
    media = [line for line in lines if line.startswith("m=")]
    if len(media) != 1 or not media[0].startswith("m=application "):
        raise AdmissionError(422, "the offer must have exactly one section, for data channels")
    candidates = [line.removeprefix(_CANDIDATE).split() for line in lines if line.startswith(_CANDIDATE)]
    # O2
    if len(candidates) > CANDIDATES_MAX:
        raise AdmissionError(422, f"the offer has more than {CANDIDATES_MAX} candidates")
    # O3
    if not all(_is_literal(candidate) for candidate in candidates):
        raise AdmissionError(422, "the offer has a candidate without an IP address")


def _is_literal(candidate: list[str]) -> bool:
    try:
        ipaddress.ip_address(candidate[_ADDRESS_AT])
    except (IndexError, ValueError):
        return False
    return True
