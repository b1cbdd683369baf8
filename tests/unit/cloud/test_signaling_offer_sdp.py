"""An offer is bounded before anything parses it or sends a packet for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.errors import AdmissionError
from cloud.signaling.offer_sdp import CANDIDATES_MAX, LINE_MAX_CHARS, LINES_MAX, check_offer_sdp

HEAD = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel"]


def candidate(address: str = "192.0.2.7", port: int = 4000) -> str:
    return f"a=candidate:1 1 udp 2130706431 {address} {port} typ host"


def offer(*lines: str) -> str:
    return "\r\n".join([*HEAD, *lines]) + "\r\n"


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::1", "127.0.0.1"])
def test_an_agents_offer_passes_up_to_the_last_candidate(address: str) -> None:
    check_offer_sdp(offer(*[candidate(address, port) for port in range(CANDIDATES_MAX)]))
    check_offer_sdp(offer(*["a=x"] * (LINES_MAX - len(HEAD))))
    check_offer_sdp(offer("a=" + "x" * (LINE_MAX_CHARS - 2)))


@pytest.mark.parametrize(
    ("sdp", "reason"),
    [
        (offer(*[candidate(port=port) for port in range(CANDIDATES_MAX + 1)]), "candidates"),
        (offer(*["a=x"] * (LINES_MAX - len(HEAD) + 1)), "too long"),
        (offer("a=" + "x" * (LINE_MAX_CHARS - 1)), "too long"),
        (offer(candidate("printer.local")), "without an IP address"),
        (offer(candidate("example.org")), "without an IP address"),
        (offer("a=candidate:1 1 udp"), "without an IP address"),
        (offer("m=audio 9 UDP/TLS/RTP/SAVPF 0"), "exactly one section"),
        ("\r\n".join(HEAD[:-1]), "exactly one section"),
        ("", "exactly one section"),
    ],
)
def test_what_no_agent_would_offer_is_refused(sdp: str, reason: str) -> None:
    with pytest.raises(AdmissionError, match=reason) as refused:
        check_offer_sdp(sdp)
    assert refused.value.code == 422


@given(st.text(max_size=400))
def test_any_text_passes_or_is_refused(sdp: str) -> None:
    try:
        check_offer_sdp(sdp)
    except AdmissionError as error:
        assert error.code == 422
