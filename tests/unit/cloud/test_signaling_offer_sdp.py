"""An offer is bounded before anything parses it or sends a packet for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.errors import AdmissionError
from cloud.signaling.offer_sdp import (
    CANDIDATES_MAX,
    LINE_MAX_CHARS,
    LINES_MAX,
    check_offer_sdp,
    is_alone_with,
)

HEAD = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", "m=application 9 UDP/DTLS/SCTP webrtc-datachannel"]


def candidate(address: str = "192.0.2.7", port: int = 4000) -> str:
    return f"a=candidate:1 1 udp 2130706431 {address} {port} typ host"


def offer(*lines: str) -> str:
    return "\r\n".join([*HEAD, *lines]) + "\r\n"


@pytest.mark.parametrize("address", ["192.0.2.7", "10.1.2.3", "2001:db8::1", "fd00::2"])
def test_an_agents_offer_passes_unchanged_up_to_the_last_candidate(address: str) -> None:
    sdp = offer(*[candidate(address, port) for port in range(CANDIDATES_MAX)], "a=end-of-candidates")
    assert check_offer_sdp(sdp) == sdp
    check_offer_sdp(offer(*["a=x"] * (LINES_MAX - len(HEAD))))
    check_offer_sdp(offer("a=" + "x" * (LINE_MAX_CHARS - 2)))


@pytest.mark.parametrize(
    ("sdp", "reason"),
    [
        (offer(*[candidate(port=port) for port in range(CANDIDATES_MAX + 1)]), "candidates"),
        (offer(*["a=x"] * (LINES_MAX - len(HEAD) + 1)), "too long"),
        (offer("a=" + "x" * (LINE_MAX_CHARS - 1)), "too long"),
        (offer(candidate("printer.local.example.org")), "without an IP address"),
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


BROWSERS_NAME = "2f6a3f0e-5f0c-4f0a-9a52-0c1d3b6e7a11.local"
POINTING_BACK = ["127.0.0.1", "127.9.9.9", "::1", "169.254.169.254", "fe80::1", "fe80::1%eth0"]
LEADING_NOWHERE = [
    "0.0.0.0",
    "::",
    "224.0.0.251",
    "255.255.255.255",
    "ff02::fb",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
]


@pytest.mark.parametrize("address", [BROWSERS_NAME, BROWSERS_NAME.upper(), *POINTING_BACK, *LEADING_NOWHERE])
def test_a_name_of_the_local_link_and_an_address_of_our_own_are_passed_over(address: str) -> None:
    kept = candidate("192.0.2.7")
    assert check_offer_sdp(offer(candidate(address), kept, "a=end-of-candidates")) == offer(kept)


def test_an_offer_of_nothing_but_names_waits_for_the_agents_own_checks() -> None:
    assert check_offer_sdp(offer(candidate(BROWSERS_NAME), "a=end-of-candidates")) == offer()


@pytest.mark.parametrize("address", POINTING_BACK)
def test_where_ingest_is_alone_with_itself_its_own_addresses_are_tried(address: str) -> None:
    sdp = offer(candidate(address))
    assert check_offer_sdp(sdp, is_alone=True) == sdp


@pytest.mark.parametrize("address", LEADING_NOWHERE)
def test_not_even_there_what_leads_nowhere(address: str) -> None:
    assert check_offer_sdp(offer(candidate(address)), is_alone=True) == offer()


def test_what_is_passed_over_still_counts() -> None:
    names = [candidate(BROWSERS_NAME, port) for port in range(CANDIDATES_MAX + 1)]
    with pytest.raises(AdmissionError, match="candidates"):
        check_offer_sdp(offer(*names))


@pytest.mark.parametrize(
    ("own", "is_alone"),
    [
        (["127.0.0.1"], True),
        (["127.0.0.1", "::1", "169.254.3.4"], True),
        (["192.168.1.4"], False),
        (["127.0.0.1", "fd00::2"], False),
    ],
)
def test_a_machine_is_alone_with_loopback_and_link_local_addresses(own: list[str], is_alone: bool) -> None:
    assert is_alone_with(own) is is_alone


@given(st.text(max_size=400))
def test_any_text_passes_or_is_refused(sdp: str) -> None:
    try:
        check_offer_sdp(sdp)
    except AdmissionError as error:
        assert error.code == 422
