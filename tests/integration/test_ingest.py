"""Ingest over real WebRTC on this machine, with the streams in memory."""

import asyncio
import contextlib
from collections import Counter
from uuid import UUID

import pytest
from aiortc import RTCConfiguration, RTCPeerConnection

from cloud.errors import StreamError, UnmarkedError
from cloud.ingest import live_sessions as ingest_sessions
from cloud.ingest.aiortc_peer import AiortcPeerEngine
from cloud.streams.entries import shard_of
from cloud.streams.ports import CropRefusals, DurableAck
from privacy.governance.receipts import receipt_digest
from privacy.protocol import limits
from privacy.protocol.codec import encode_message
from privacy.protocol.expressions import Expression
from privacy.protocol.ids import SessionId
from privacy.protocol.messages import (
    Ack,
    Answer,
    Bye,
    Clock,
    ClockOffset,
    ClockReply,
    Gap,
    Offer,
    Refusals,
    Refused,
    Revoked,
    Segment,
    Withdraw,
)
from tests.fixtures_street import Viewer, eventually, seal, utc_us
from tests.integration.ingest_street import SHARDS, MakeStreet, Street, join


async def test_sealed_crops_travel_from_the_channel_to_the_stream_unchanged(street, peers) -> None:
    viewers = [Viewer(street.platform), Viewer(street.platform)]
    joined = []
    for viewer in viewers:
        peer = peers(street)
        joined.append((peer, await join(peer, viewer)))
    sent = []
    for frame in range(10):
        for peer, sealer in joined:
            sent.append(seal(sealer, frame))
            peer.send(sent[-1])
        await asyncio.sleep(0.01)
    await street.until(lambda: len(street.crops_read) >= len(sent))
    assert sorted(street.envelopes()) == sorted(sent)
    assert not any(crop.late for crop in street.crops_read)
    now = utc_us()
    assert all(0 <= now - crop.received_utc_us < 5_000_000 for crop in street.crops_read)
    assert street.kinds().count("connected") == 2
    for viewer in viewers:
        assert (await street.setups.setup(viewer.session, epoch=1)).session == str(viewer.session)


async def test_a_peer_of_minor_version_one_is_told_what_was_refused_and_why(street, peers) -> None:
    viewer, peer = Viewer(street.platform), peers(street)
    sealer = await join(peer, viewer, minor=1)
    peer.crops.send(b"\x07")
    good = seal(sealer, 0)
    peer.send(good)
    peer.send(good)
    peer.crops.send("text")
    street.feed.publish_refusals([CropRefusals(session=str(viewer.session), counts={"content": 2})])
    told: Counter[str] = Counter()
    async with asyncio.timeout(8):
        while told != {"malformed": 2, "replayed": 1, "content": 2}:
            for message in peer.received:
                if isinstance(message, Refusals):
                    told.update(message.counts)
            peer.received.clear()
            await asyncio.sleep(0.02)


async def test_a_peer_that_offers_no_minor_version_hears_nothing_that_is_new(street, peers) -> None:
    viewer, told, untold = Viewer(street.platform), peers(street), peers(street)
    await join(untold, viewer)
    await join(told, Viewer(street.platform, session=SessionId(UUID(int=9))), minor=7)
    for peer in (untold, told):
        peer.crops.send(b"\x07")
    await told.heard(Refusals)
    assert not [message for message in untold.received if isinstance(message, Refusals)]


async def test_a_crop_lands_on_its_sessions_shard(street, peers) -> None:
    viewer, peer = Viewer(street.platform), peers(street)
    sealer = await join(peer, viewer)
    peer.send(seal(sealer, 0))
    async with asyncio.timeout(5):
        while True:
            found = await street.crops.read(range(SHARDS), consumer="x", max_entries=9, block_ms=50)
            if found:
                break
    assert [d.shard for d in found] == [shard_of(viewer.session, shards=SHARDS)]


async def test_only_well_formed_fresh_new_datagrams_of_this_session_pass(street, peers) -> None:
    viewer, peer = Viewer(street.platform), peers(street)
    sealer = await join(peer, viewer)
    good = [seal(sealer, frame) for frame in range(4)]
    foreign = seal(Viewer(street.platform).sealer(), 0)
    later = seal(viewer.sealer(epoch=2), 0)
    # reordered: 2 before 1; replayed: 2 again; too large; truncated; of another session; of a later epoch
    for envelope in (good[0], good[2], good[1], good[2], good[2][:-1], foreign, later, b"", b"x" * 2_000):
        peer.send(envelope)
    peer.crops.send(b"\x07" + good[3])
    peer.crops.send("text")
    peer.crops.send(b"\x01" + b"y" * (limits.DATAGRAM_MAX_BYTES + 1))
    peer.send(good[3])
    await street.until(lambda: good[3] in street.envelopes())
    assert sorted(street.envelopes()) == sorted(good)


async def test_gap_repair_passes_as_late_and_may_repeat(street, peers) -> None:
    viewer, peer = Viewer(street.platform), peers(street)
    sealer = await join(peer, viewer)
    envelope = seal(sealer, 0)
    peer.send(envelope)
    peer.send(envelope, late=True)
    await street.until(lambda: len(street.crops_read) == 2)
    assert [crop.late for crop in street.crops_read] == [False, True]


async def test_the_clock_is_answered_and_the_offset_travels_with_each_crop(street, peers) -> None:
    viewer, peer = Viewer(street.platform), peers(street)
    sealer = await join(peer, viewer)
    before = utc_us()
    peer.control(Clock(t1_monotonic_us=77))
    reply = await peer.heard(ClockReply)
    assert reply.t1_monotonic_us == 77
    assert before <= reply.t2_utc_us <= reply.t3_utc_us <= utc_us()
    offset = utc_us() - 1_000_000
    peer.control(ClockOffset(offset_us=offset, error_us=500))
    await asyncio.sleep(0.05)
    peer.send(seal(sealer, 0, monotonic_us=1_000_000))
    await street.until(lambda: len(street.crops_read) == 1)
    assert street.crops_read[0].clock_offset_us == offset


async def test_what_the_agent_reports_becomes_events_in_order(street, peers) -> None:
    viewer, peer = Viewer(street.platform), peers(street)
    await join(peer, viewer)
    segment = Segment(segment=0, media_time_us=0, monotonic_us=5, rate_permille=1_000)
    gap = Gap(first_frame=3, last_frame=9, segment=0, media_time_us=100_000, reason="no_face")
    bye = Bye(last_frame=20)
    for message in (segment, gap, bye):
        peer.control(message)
    await street.until(lambda: "closed" in street.kinds())
    assert street.kinds() == ["connected", "segment", "gap", "closed"]
    assert bytes(street.events_read[2].body) == encode_message(gap)
    assert {(e.session, e.tenant, e.epoch) for e in street.events_read} == {
        (str(viewer.session), str(viewer.tenant), 1)
    }


async def test_durable_acks_reach_the_agent_that_waits_for_them(street, peers) -> None:
    viewer, peer = Viewer(street.platform), peers(street)
    await join(peer, viewer)
    other = Viewer(street.platform)
    street.feed.publish(
        [
            DurableAck(session=str(other.session), bucket=1, mask=1, committed_utc_us=1),
            DurableAck(session=str(viewer.session), bucket=4, mask=7, committed_utc_us=5),
        ]
    )
    ack = await peer.heard(Ack)
    assert ack == Ack(bucket=4, mask=7, committed_utc_us=5)


async def test_a_revocation_ends_the_session_within_a_second_and_bars_its_return(street, peers) -> None:
    viewer, peer = Viewer(street.platform), peers(street)
    sealer = await join(peer, viewer)
    peer.send(seal(sealer, 0))
    await street.until(lambda: len(street.crops_read) == 1)
    await street.revocations.revoke(viewer.session)
    await peer.heard(Revoked, within_s=1.0)
    for frame in range(1, 10):
        with contextlib.suppress(Exception):
            peer.send(seal(sealer, frame))
        await asyncio.sleep(0.01)
    await street.until(lambda: "withdrawn" in street.kinds())
    assert len(street.crops_read) == 1
    refused = await peers(street).offer(viewer.ticket(), viewer.sealer(epoch=2).setup)
    assert isinstance(refused, Refused)
    assert refused.code == 410


async def test_a_revocation_that_nobody_could_remember_ends_the_session_and_bars_its_return(
    street, peers
) -> None:
    viewer, peer = Viewer(street.platform), peers(street)
    sealer = await join(peer, viewer)
    peer.send(seal(sealer, 0))
    await street.until(lambda: len(street.crops_read) == 1)
    street.revocations.is_full = True
    with pytest.raises(UnmarkedError):
        await street.revocations.revoke(viewer.session)
    await peer.heard(Revoked, within_s=1.0)
    refused = await peers(street).offer(viewer.ticket(), viewer.sealer(epoch=2).setup)
    assert (refused.code, isinstance(refused, Refused)) == (410, True)


async def test_withdrawing_on_the_channel_is_told_to_the_others_until_it_is_remembered(street, peers) -> None:
    viewer, peer = Viewer(street.platform), peers(street)
    await join(peer, viewer)
    street.revocations.is_full = True
    peer.control(Withdraw(monotonic_us=5))
    await street.until(lambda: "withdrawn" in street.kinds())
    assert not await street.revocations.is_revoked(viewer.session)
    street.revocations.is_full = False
    await eventually(lambda: street.revocations.is_revoked(viewer.session))


async def test_after_a_new_consent_the_earlier_receipt_ends_and_its_ticket_admits_nobody(
    street, peers
) -> None:
    viewer, peer, watcher = Viewer(street.platform), peers(street), Viewer(street.platform)
    sealer = await join(peer, viewer)
    await join(peers(street), watcher)
    peer.send(seal(sealer, 0))
    await street.until(lambda: len(street.crops_read) == 1)
    anew = Viewer(
        street.platform, session=viewer.session, device_key=viewer.device_key, opted_out=[Expression.HAPPY]
    )
    digest = receipt_digest(anew.receipt).hex()
    await street.revocations.put_in_force(viewer.session, receipt_sha256=digest, ordinal=2)
    told = await peer.heard(Revoked, within_s=1.0)
    assert "consent was given anew" in told.reason
    for frame in range(1, 5):
        with contextlib.suppress(Exception):
            peer.send(seal(sealer, frame))
    refused = await peers(street).offer(viewer.ticket(), viewer.sealer(epoch=2).setup)
    assert (refused.code, isinstance(refused, Refused)) == (403, True)
    again = peers(street)
    new = await join(again, anew, epoch=3)
    again.send(seal(new, 9))
    await street.until(lambda: len(street.crops_read) == 2)
    assert "withdrawn" not in street.kinds(), "what was measured under the earlier receipt is kept"


async def test_a_new_consent_that_was_missed_is_found_when_the_server_is_back(street, peers) -> None:
    viewer, peer = Viewer(street.platform), peers(street)
    await join(peer, viewer)
    street.revocations.in_force[viewer.session] = (2, "a" * 64)
    for queue in street.revocations._listeners:
        queue.put_nowait(None)
    assert "consent was given anew" in (await peer.heard(Revoked, within_s=1.0)).reason


@pytest.mark.parametrize("how", ["revoked", "withdrawn on the earlier connection"])
async def test_when_consent_ends_the_earlier_connection_is_silenced_as_well(street, peers, how: str) -> None:
    viewer, first, second = Viewer(street.platform), peers(street), peers(street)
    old = await join(first, viewer, epoch=1)
    first.send(seal(old, 0))
    await street.until(lambda: len(street.crops_read) == 1)
    await join(second, viewer, epoch=2)
    if how == "revoked":
        await street.revocations.revoke(viewer.session)
        await asyncio.sleep(0.02)
    else:
        first.control(Withdraw(monotonic_us=5))
        await street.until(lambda: "withdrawn" in street.kinds())
    for frame in range(1, 10):
        with contextlib.suppress(Exception):
            first.send(seal(old, frame))
        await asyncio.sleep(0.02)
    await eventually(lambda: street.revocations.is_revoked(viewer.session), within_s=2)
    await eventually(lambda: second.ctl.readyState != "open")
    await street.read()
    assert len(street.crops_read) == 1


async def test_many_revocations_that_were_missed_act_at_once(street, peers) -> None:
    viewers = [Viewer(street.platform) for _ in range(3)]
    joined = [peers(street) for _ in viewers]
    sealers = [await join(peer, viewer) for peer, viewer in zip(joined, viewers, strict=True)]
    for viewer in viewers:
        street.revocations._revoked.add(viewer.session)
    for queue in street.revocations._listeners:
        queue.put_nowait(None)
    await asyncio.sleep(0.02)
    for peer, sealer in zip(joined, sealers, strict=True):
        peer.send(seal(sealer, 0))
    for peer in joined:
        await peer.heard(Revoked, within_s=1.0)
    await street.read()
    assert street.crops_read == []


async def test_when_consent_expires_while_watching_the_session_ends_with_a_reason(
    street, peers, monkeypatch
) -> None:
    viewer, peer = Viewer(street.platform), peers(street)
    sealer = await join(peer, viewer)
    peer.send(seal(sealer, 0))
    await street.until(lambda: len(street.crops_read) == 1)
    monkeypatch.setattr(ingest_sessions, "utc_us", lambda: utc_us() + viewer.expires_in_us)
    peer.send(seal(sealer, 1))
    told = await peer.heard(Revoked, within_s=3.0)
    assert told.reason == "consent has expired"
    await street.until(lambda: "lost" in street.kinds())
    assert len(street.crops_read) == 1
    assert "withdrawn" not in street.kinds(), "what was consented to is kept"


async def test_withdrawing_on_the_channel_revokes_the_session(street, peers) -> None:
    viewer, peer = Viewer(street.platform), peers(street)
    sealer = await join(peer, viewer)
    peer.control(Withdraw(monotonic_us=5))
    await street.until(lambda: "withdrawn" in street.kinds())
    with contextlib.suppress(Exception):
        peer.send(seal(sealer, 0))
    await eventually(lambda: street.revocations.is_revoked(viewer.session), within_s=2)
    await street.read()
    assert street.crops_read == []
    assert street.kinds() == ["connected", "withdrawn"]


async def test_a_later_epoch_takes_over_without_losing_a_frame_and_an_earlier_one_is_fenced(
    street, peers
) -> None:
    viewer = Viewer(street.platform)
    first, second = peers(street), peers(street)
    old = await join(first, viewer, epoch=1)
    first.send(seal(old, 0))
    await street.until(lambda: len(street.crops_read) == 1)
    new = await join(second, viewer, epoch=2)
    first.send(seal(old, 1))
    await street.until(lambda: len(street.crops_read) == 2)
    second.send(seal(new, 2))
    await street.until(lambda: len(street.crops_read) == 3)
    await eventually(lambda: first.crops.readyState != "open")
    for epoch in (1, 2):
        refused = await peers(street).offer(viewer.ticket(), viewer.sealer(epoch=epoch).setup)
        assert (refused.code, isinstance(refused, Refused)) == (409, True)
    second.send(seal(new, 3))
    await street.until(lambda: len(street.crops_read) == 4)
    assert street.kinds() == ["connected", "connected"]


async def test_a_silent_peer_is_reported_lost(street, peers, monkeypatch) -> None:
    viewer, peer = Viewer(street.platform), peers(street)
    await join(peer, viewer)
    peer.control(Segment(segment=0, media_time_us=0, monotonic_us=5, rate_permille=1_000))
    await street.until(lambda: "segment" in street.kinds())
    # only now: a slow machine takes longer than this to connect
    monkeypatch.setattr(ingest_sessions, "LOST_AFTER_S", 0.2)
    await street.until(lambda: "lost" in street.kinds())
    assert street.kinds() == ["connected", "segment", "lost"]


async def test_a_closed_peer_is_reported_lost_at_once_unless_it_said_goodbye(street, peers) -> None:
    for farewell in (False, True):
        street.events_read.clear()
        viewer, peer = Viewer(street.platform), peers(street)
        await join(peer, viewer)
        peer.control(Bye(last_frame=-1) if farewell else Clock(t1_monotonic_us=1))
        await street.until(lambda: "connected" in street.kinds())
        await peer.close()
        if not farewell:
            await street.until(lambda: "lost" in street.kinds())
    await asyncio.sleep(0.3)
    await street.read()
    assert street.kinds() == ["connected", "closed"]


async def test_a_malformed_control_message_ends_the_connection(street, peers) -> None:
    viewer, peer = Viewer(street.platform), peers(street)
    await join(peer, viewer)
    peer.ctl.send('{"type":"launch"}')
    await street.until(lambda: "lost" in street.kinds())


async def test_epochs_that_are_never_heard_leave_one_peer_behind_at_most(street, peers, monkeypatch) -> None:
    made = []
    answer = AiortcPeerEngine.answer

    async def answering(self, offer_sdp, sink):
        made.append(await answer(self, offer_sdp, sink))
        return made[-1]

    monkeypatch.setattr(AiortcPeerEngine, "answer", answering)
    viewer, carrying, trying = Viewer(street.platform), peers(street), peers(street)
    sealer = await join(carrying, viewer, epoch=1)
    carrying.send(seal(sealer, 0))
    await street.until(lambda: len(street.crops_read) == 1)
    spare = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    spare.createDataChannel("ctl")
    await spare.setLocalDescription(await spare.createOffer())
    for epoch in (2, 3, 4):
        offer = Offer(
            ticket=viewer.ticket(), sdp=spare.localDescription.sdp, setup=viewer.sealer(epoch=epoch).setup
        )
        assert isinstance(await trying.say(encode_message(offer)), Answer)
    await spare.close()
    await eventually(
        lambda: [p._connection.connectionState == "closed" for p in made] == [False, True, True, False]
    )
    carrying.send(seal(sealer, 1))
    await street.until(lambda: len(street.crops_read) == 2)


async def test_crops_are_held_and_then_dropped_while_the_stream_is_gone(serving: MakeStreet, peers) -> None:
    class Flaky:
        def __init__(self) -> None:
            self.street: Street | None = None
            self.is_gone = True

        async def append(self, entries) -> None:
            if self.is_gone:
                raise StreamError("gone")
            assert self.street is not None
            await self.street.crops.append(entries)

    flaky = Flaky()
    street = await serving(crops=flaky)
    flaky.street = street
    viewer, peer = Viewer(street.platform), peers(street)
    sealer = await join(peer, viewer)
    early, late = seal(sealer, 0), seal(sealer, 1)
    peer.send(early)
    await asyncio.sleep(2.3)
    peer.send(late)
    await asyncio.sleep(0.1)
    # Redis comes back empty: setups are stored again before the first crop can be read
    await street.setups.forget(viewer.session)
    flaky.is_gone = False
    await street.until(lambda: late in street.envelopes())
    assert street.envelopes() == [late]

    async def is_stored() -> bool:
        return await street.setups.setup(viewer.session, epoch=1) is not None

    await eventually(is_stored)
