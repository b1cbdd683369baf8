"""What an SDP offer may hold, checked line by line before a parser or a network sees it.

Rules:

O1  Exactly one media section, for data channels: a peer that could carry audio or video is one we do not want.
O2  Bounded: lines, their length, and candidates. ICE pairs every remote candidate with every local one and
    sends packets to it, so an offer with hundreds would make ingest knock at hundreds of doors.
O3  Candidates are literal IP addresses: a name would make ingest look it up on a network of the agent's choice.
    Names under `.local`, which browsers offer instead of their addresses, are passed over and never looked up.
O4  Candidates that point back at ingest's own machine or link (loopback, link-local, multicast, unspecified,
    reserved, or IPv4 inside IPv6) are passed over, so that no offer makes ingest knock there. They count where
    ingest has no other address itself: there everybody who can speak to it is on the same machine or cable.

What is passed over does not refuse the offer: the agent's own checks arrive from an address that ingest learns.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from cloud.errors import AdmissionError

LINES_MAX = 128
LINE_MAX_CHARS = 512
CANDIDATES_MAX = 32
"""A machine with eight interfaces, v4 and v6 each, has sixteen; server-reflexive and relayed ones come on top."""

_CANDIDATE = "a=candidate:"
_END_OF_CANDIDATES = "a=end-of-candidates"
_ADDRESS_AT = 4
"""Foundation, component, transport, priority, then the address (RFC 8839, section 5.1)."""

_MULTICAST_DNS = ".local"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_offer_sdp(sdp: str, *, is_alone: bool = False) -> str:
    """Check an offer (O1 to O4).

    Args:
        sdp: the offer.
        is_alone: whether ingest has no address but loopback and link-local ones (`is_alone_with`).

    Returns:
        The offer without the candidates that are passed over. Where there were any it does not say that its
        candidates end, so that ICE waits for the agent's own checks.

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
    candidates = [line for line in lines if line.startswith(_CANDIDATE)]
    # O2
    if len(candidates) > CANDIDATES_MAX:
        raise AdmissionError(422, f"the offer has more than {CANDIDATES_MAX} candidates")
    # O3, O4
    passed_over = {line for line in candidates if not _is_tried(line, is_alone=is_alone)}
    if passed_over:
        lines = [line for line in lines if line not in passed_over and line != _END_OF_CANDIDATES]
    return "".join(f"{line}\r\n" for line in lines)


def is_alone_with(own_addresses: Iterable[str]) -> bool:
    """Say whether a machine with these addresses can be reached from itself and its own link only."""
    found = [ipaddress.ip_address(text) for text in own_addresses]
    return all(address.is_loopback or address.is_link_local for address in found)


def _is_tried(line: str, *, is_alone: bool) -> bool:
    """Say whether ICE may send packets to a candidate (O3, O4)."""
    fields = line.removeprefix(_CANDIDATE).split()
    text = fields[_ADDRESS_AT] if len(fields) > _ADDRESS_AT else ""
    if text.lower().endswith(_MULTICAST_DNS):
        return False
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise AdmissionError(422, "the offer has a candidate without an IP address") from None
    if address.is_loopback or address.is_link_local:
        return is_alone
    return not _leads_nowhere(address)


def _leads_nowhere(address: _Address) -> bool:
    """Say whether no agent can be at an address, or another address hides in it."""
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped is not None
        or address.sixtofour is not None
        or address.teredo is not None
        or address in _NAT64
    ):
        return True
    return address.is_unspecified or address.is_multicast or address.is_reserved
