"""Which offers ingest refuses, and how it says so."""

import msgspec
import pytest
from aiortc import RTCConfiguration, RTCPeerConnection

from cloud.ingest.sockets import OFFERS_BURST
from privacy.governance.consent import Purpose
from privacy.protocol.codec import encode_message
from privacy.protocol.messages import Offer, Refused
from tests.fixtures_street import Platform, Viewer
from tests.integration.ingest_street import MakeStreet, join


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("ticket of another platform", 401),
        ("expired ticket", 401),
        ("receipt of another platform", 403),
        ("expired receipt", 403),
        ("receipt without cloud scoring", 403),
        ("ticket for another receipt", 403),
        ("setup of another session", 422),
        ("setup of another device", 403),
        ("epoch that lasts too long", 422),
        ("epoch that is over", 422),
    ],
)
async def test_an_offer_that_does_not_prove_itself_is_refused(street, peers, case: str, code: int) -> None:
    platform = street.platform
    viewer = Viewer(platform)
    stranger = Platform()
    ticket, setup = viewer.ticket(), viewer.sealer().setup
    if case == "ticket of another platform":
        ticket = viewer.ticket(signing_key=stranger.signing_key)
    elif case == "expired ticket":
        ticket = viewer.ticket(expires_in_us=-1)
    elif case == "receipt of another platform":
        viewer.receipt = viewer.sign(stranger.signing_key)
        ticket, setup = viewer.ticket(), viewer.sealer().setup
    elif case == "expired receipt":
        expired = Viewer(platform, expires_in_us=-1)
        ticket, setup = expired.ticket(), expired.sealer().setup
    elif case == "receipt without cloud scoring":
        partial = Viewer(platform, purposes=[Purpose.CAPTURE])
        ticket, setup = partial.ticket(), partial.sealer().setup
    elif case == "ticket for another receipt":
        viewer.receipt = viewer.sign(platform.signing_key)
        setup = viewer.sealer().setup
    elif case == "setup of another session":
        setup = Viewer(platform).sealer().setup
    elif case == "setup of another device":
        thief = Viewer(platform, session=viewer.session, receipt=viewer.receipt)
        setup = thief.sealer().setup
    elif case == "epoch that lasts too long":
        setup = viewer.sealer(lifetime_us=3_000_000_000).setup
    elif case == "epoch that is over":
        setup = viewer.sealer(lifetime_us=0).setup
    refused = await peers(street).offer(ticket, setup)
    assert isinstance(refused, Refused)
    assert refused.code == code, refused
    assert await street.setups.fenced_epoch(viewer.session) == 0


async def test_the_device_signature_is_checked_before_a_setup_is_stored(street, peers) -> None:
    viewer = Viewer(street.platform)
    setup = viewer.sealer().setup
    forged = msgspec.structs.replace(setup, encapsulated=setup.encapsulated[:-1] + b"\0")
    refused = await peers(street).offer(viewer.ticket(), forged)
    assert isinstance(refused, Refused)
    assert refused.code == 422
    assert await street.setups.setup(viewer.session, epoch=1) is None


async def test_over_the_cap_an_agent_is_told_when_to_come_back(serving: MakeStreet, peers) -> None:
    street = await serving(max_sessions=1)
    await join(peers(street), Viewer(street.platform))
    viewer = Viewer(street.platform)
    refused = await peers(street).offer(viewer.ticket(), viewer.sealer().setup)
    assert isinstance(refused, Refused)
    assert refused.code == 503
    assert 2_000 <= refused.retry_after_ms <= 10_000


async def test_a_session_served_here_may_come_back_although_the_process_is_full(
    serving: MakeStreet, peers
) -> None:
    street = await serving(max_sessions=1)
    viewer = Viewer(street.platform)
    await join(peers(street), viewer, epoch=1)
    await join(peers(street), viewer, epoch=2)


async def test_too_many_offers_on_one_connection_are_refused(street, peers) -> None:
    peer, viewer = peers(street), Viewer(street.platform)
    await join(peer, viewer)
    replies = [await peer.say(b"{}") for _ in range(OFFERS_BURST)]
    assert [reply.code for reply in replies[:-1]] == [422] * (OFFERS_BURST - 1)
    assert replies[-1].code == 429


@pytest.mark.parametrize("message", [b"{}", b"\xff\xfe", b'{"type":"answer","sdp":"x"}', b"[" * 1_000])
async def test_a_message_that_is_no_offer_is_refused(street, peers, message: bytes) -> None:
    peer = peers(street)
    if message == b"\xff\xfe":
        message = b'"\\ud800"'
    refused = await peer.say(message)
    assert isinstance(refused, Refused)
    assert refused.code == 422


async def test_an_offer_that_makes_no_sense_to_webrtc_is_refused(street, peers) -> None:
    viewer = Viewer(street.platform)
    good = await offer_sdp()
    lines = good.splitlines(keepends=True)
    bad = ["v=0\r\n", good.replace("m=application", "m=audio"), good + good, good.replace("ice-pwd", "ice-x")]
    bad += ["".join(lines[:cut]) for cut in range(4, len(lines), 3)]
    for sdp in bad:
        reply = await peers(street).say(
            encode_message(Offer(ticket=viewer.ticket(), sdp=sdp, setup=viewer.sealer().setup))
        )
        if isinstance(reply, Refused):
            assert reply.code == 422, (reply, sdp)
        else:
            # aiortc can live without the line that is missing; then the epoch is taken
            viewer = Viewer(street.platform)


async def test_an_offer_that_would_make_ingest_knock_at_many_doors_is_refused(street, peers) -> None:
    viewer = Viewer(street.platform)
    good = await offer_sdp()
    candidate = next(line for line in good.splitlines() if line.startswith("a=candidate"))
    for flooded in (good + f"{candidate}\r\n" * 33, good.replace(candidate.split()[4], "printer.example")):
        reply = await peers(street).offer(viewer.ticket(), viewer.sealer().setup, sdp=flooded)
        assert isinstance(reply, Refused)
        assert (reply.code, "candidate" in reply.reason) == (422, True)


async def offer_sdp() -> str:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    connection.createDataChannel("crops")
    await connection.setLocalDescription(await connection.createOffer())
    sdp = connection.localDescription.sdp
    await connection.close()
    return sdp
