import asyncio
from types import SimpleNamespace
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.errors import (
    ConsentMissingError,
    CredentialError,
    PlatformAwayError,
    PlatformError,
    RevokedError,
)
from edge_agent.session.link import LinkFactories
from edge_agent.session.playback import MediaClock
from edge_agent.session.send import SendContext, SendLoop
from edge_agent.session.vision import Seen
from edge_agent.tracking.crop_encoding import encode_crop
from edge_agent.tracking.pipeline import Outcome
from edge_agent.tracking.schedule import Look
from edge_agent.tracking.self_test import DRAWING_EYES_AND_MOUTH, draw_face
from models.face_crop.quality import measure
from privacy.crypto.keys import MemoryKeyring, generate_pool_key
from privacy.crypto.opening import open_setup
from privacy.crypto.sealing import SessionSealer
from privacy.protocol.codec import decode_control_from_agent, encode_message
from privacy.protocol.envelope import DatagramKind, decode_envelope, unwrap_datagram
from privacy.protocol.messages import (
    Ack,
    Answer,
    Bye,
    Clock,
    ClockReply,
    Counters,
    Gap,
    Refused,
    Revoked,
    Segment,
    SkipReason,
    Withdraw,
)
from privacy.protocol.sender import SenderSession

UTC = 1_790_000_000_000_000
TENANT, SESSION = UUID("a" * 32), UUID("b" * 32)


class FakePeer:
    def __init__(self, world, on_control, on_closed):
        self.world, self.on_control, self.on_closed = world, on_control, on_closed
        self.is_open, self.buffered_bytes, self.is_closed = False, 0, False
        self.crops, self.control = [], []
        self.takes_control = True

    async def offer(self):
        return "v=0"

    async def accept(self, answer_sdp):
        self.is_open = True

    def send_crop(self, datagram):
        self.crops.append(datagram)
        return True

    def send_control(self, message):
        if not self.takes_control:
            return False
        decoded = decode_control_from_agent(message)
        self.control.append(decoded)
        if isinstance(decoded, Clock) and self.world.replies:
            now = self.world.now
            reply = ClockReply(
                t1_monotonic_us=decoded.t1_monotonic_us, t2_utc_us=UTC + now, t3_utc_us=UTC + now
            )
            self.on_control(encode_message(reply))
        return True

    async def close(self):
        self.is_open, self.is_closed = False, True


class FakeSignalling:
    def __init__(self, answer):
        self.inbox = asyncio.Queue()
        self.inbox.put_nowait(answer)
        self.offers = []

    async def send_offer(self, offer):
        self.offers.append(offer)

    async def receive(self):
        message = await self.inbox.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def close(self):
        pass


class World:
    """Everything outside the send loop: a platform that answers as told, and a clock."""

    def __init__(self):
        self.now, self.replies, self.is_withdrawn = 0, True, False
        self.consent_until = UTC + 3_600_000_000
        self.answers, self.tickets = [], []
        self.peers, self.signallings, self.sealers = [], [], []
        self.pool = generate_pool_key(UTC - 1_000_000)
        self.device = Ed25519PrivateKey.generate()
        self.media = MediaClock()
        self.media.begin(0)
        context = SendContext(
            factories=LinkFactories(
                ticket=self._ticket,
                signalling=self._signalling,
                peer=self._peer,
            ),
            new_sealer=self._sealer,
            media=self.media,
            detector_id=1,
            consent_until_utc_us=UTC + 3_600_000_000,
            now_us=lambda: self.now,
            utc_us=lambda: UTC + self.now,
            is_withdrawn=lambda: self.is_withdrawn,
        )
        self.session = SenderSession()
        self.loop = SendLoop(context, self.session)

    @property
    def peer(self):
        return self.peers[-1]

    async def _ticket(self):
        if self.tickets:
            raise self.tickets.pop(0)
        return "ticket", "ws://ingest"

    async def _signalling(self, url):
        answer = self.answers.pop(0) if self.answers else Answer(sdp="v=0")
        if isinstance(answer, Exception):
            raise answer
        self.signallings.append(FakeSignalling(answer))
        return self.signallings[-1]

    def _peer(self, on_control, on_closed):
        self.peers.append(FakePeer(self, on_control, on_closed))
        return self.peers[-1]

    def _sealer(self, epoch):
        self.sealers.append(
            SessionSealer.start(
                self.pool.public,
                session=SESSION,
                tenant=TENANT,
                epoch=epoch,
                receipt="receipt",
                device_key=self.device,
                not_after_utc_us=min(UTC + self.now + 600_000_000, self.consent_until),
            )
        )
        return self.sealers[-1]

    def see(self, frame, *, skip=None, faces=1, missed=SkipReason.OVERLOAD):
        self.now = max(self.now, frame * 33_333)
        self.loop.on_seen(Seen(outcome=outcome(frame, skip=skip, faces=faces), missed=missed))

    def control(self, kind):
        return [m for peer in self.peers for m in peer.control if isinstance(m, kind)]


def outcome(frame, *, skip=None, faces=1):
    import numpy as np

    crop = draw_face(96)
    marks = np.zeros((6, 2), np.float32)
    marks[[0, 1, 3]] = DRAWING_EYES_AND_MOUTH
    marks[2], marks[4], marks[5] = (65, 79), (39, 70), (90, 71)
    return Outcome(
        frame=frame,
        monotonic_us=frame * 33_333,
        faces=faces,
        skip=skip,
        crop=None if skip else encode_crop(crop, limit_bytes=3300),
        quality=None if skip else measure(crop, marks),
        score=0.9,
        look=Look.CARRY,
    )


@pytest.fixture
def world():
    return World()


async def ticking(world, *, ticks):
    """Run the loop while `ticks` tenths of a second pass."""
    running = asyncio.create_task(world.loop.run())
    for _ in range(ticks):
        world.now += 100_000
        world.loop._tick()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_seen_face_leaves_as_an_envelope_that_only_the_pool_can_open(world):
    await world.loop.connect()
    world.see(0, faces=2)
    kind, envelope = unwrap_datagram(world.peer.crops[0])
    header, _, _ = decode_envelope(envelope)
    assert kind is DatagramKind.LIVE
    assert (header.frame, header.face, header.faces, header.epoch) == (0, 0, 2, 1)
    opened = open_setup(world.sealers[0].setup, MemoryKeyring([world.pool]), now_utc_us=UTC).open(envelope)
    assert opened.content == outcome(0).crop.content
    assert opened.features.detector_score == 230
    assert world.loop.envelope_max_bytes == len(envelope) <= 3480


async def test_every_frame_is_sent_or_lies_in_a_flagged_gap(world):
    await world.loop.connect()
    world.see(0)
    world.see(1, skip=SkipReason.NO_FACE, faces=0)
    world.see(2, skip=SkipReason.NO_FACE, faces=0)
    world.see(6)
    world.see(9, missed=SkipReason.CAMERA_LOST)
    world.loop._tick()
    gaps = [(g.first_frame, g.last_frame, g.reason) for g in world.control(Gap)]
    assert gaps == [(1, 2, "no_face"), (3, 5, "overload"), (7, 8, "camera_lost")]
    totals = world.session.counters()
    assert totals.captured == 10
    assert totals.sent + sum(totals.skipped.values()) == 10


async def test_a_gap_begins_where_its_first_frame_was_captured_not_where_the_next_was_seen(world):
    await world.loop.connect()
    world.see(0)
    world.see(250, missed=SkipReason.CAMERA_LOST)
    world.see(251)
    world.loop._tick()
    assert [(g.first_frame, g.last_frame) for g in world.control(Gap)] == [(1, 150), (151, 249)]
    first, second = (g.media_time_us for g in world.control(Gap))
    step = outcome(1).monotonic_us - outcome(0).monotonic_us
    assert first == pytest.approx(step, abs=2)
    assert second == pytest.approx(151 * step, abs=2)


async def test_what_was_captured_after_the_last_outcome_is_a_gap_too(world):
    await world.loop.connect()
    world.see(0, skip=SkipReason.DARK, faces=0)
    world.loop.on_captured(91, now_us=3_000_000)
    world.loop.on_captured(91, now_us=3_000_000)
    await world.loop.close()
    gaps = [(g.first_frame, g.last_frame, g.reason) for g in world.control(Gap)]
    assert gaps == [(0, 0, "dark"), (1, 90, "overload")]
    totals = world.control(Counters)[-1]
    assert (totals.captured, totals.sent, totals.skipped) == (91, 0, {"dark": 1, "overload": 90})
    assert world.control(Bye)[-1].last_frame == 90


async def test_a_run_of_which_nothing_was_seen_is_one_gap(world):
    await world.loop.connect()
    world.loop.on_captured(5, now_us=200_000)
    assert world.session.counters().skipped == {"overload": 5}


async def test_when_the_network_is_behind_the_frame_is_dropped_not_queued(world):
    await world.loop.connect()
    world.peer.buffered_bytes = 1200
    world.see(0)
    assert world.peer.crops == []
    assert world.session.counters().skipped == {"busy_channel": 1}
    world.peer.buffered_bytes = 0
    world.see(1)
    assert len(world.peer.crops) == 1


async def test_without_a_connection_frames_are_skipped_as_such(world):
    world.see(0)
    assert world.session.counters().skipped == {"not_connected": 1}


async def test_an_outage_is_one_gap_whatever_the_frames_show(world):
    await world.loop.connect()
    world.loop._link.lost.set()
    for frame, skip in enumerate([SkipReason.NO_FACE, None, SkipReason.DARK, None]):
        world.see(frame, skip=skip)
    assert world.session.counters().skipped == {"not_connected": 4}


async def test_a_report_that_the_channel_does_not_take_is_said_later(world):
    await world.loop.connect()
    world.see(0, skip=SkipReason.DARK)
    world.see(1)
    world.peer.takes_control = False
    world.loop._tick()
    assert world.control(Gap) == []
    world.peer.takes_control = True
    world.loop._tick()
    assert [gap.reason for gap in world.control(Gap)] == ["dark"]


async def test_totals_and_clock_are_told_to_ingest(world):
    await world.loop.connect()
    await ticking(world, ticks=25)
    assert len(world.control(Counters)) == 3
    assert len(world.control(Clock)) >= 4
    assert world.session.clock_offset.offset_us == UTC


async def test_a_durable_ack_counts_the_frame_and_its_delay(world):
    await world.loop.connect()
    world.loop._tick()
    world.see(3)
    ack = Ack(bucket=0, mask=0b1000, committed_utc_us=UTC + 3 * 33_333 + 60_000)
    world.peer.on_control(encode_message(ack))
    assert world.session.acked == 1
    assert world.loop.delays.histogram.percentile_ms(1.0) == 60


async def test_a_lost_connection_is_made_again_under_the_next_epoch(world):
    await world.loop.connect()
    world.see(0)
    running = asyncio.create_task(world.loop.run())
    world.peer.on_closed()
    world.see(1)
    for _ in range(200):
        await asyncio.sleep(0.01)
        if len(world.peers) == 2 and world.loop.is_connected:
            break
    world.see(2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert world.peers[0].is_closed
    assert [s.setup.epoch for s in world.sealers] == [1, 2]
    assert len(world.peers[1].crops) == 1
    assert world.session.counters().skipped == {"not_connected": 1}
    assert world.loop.reconnects == 1


async def test_silence_for_a_second_and_a_half_counts_as_a_loss(world):
    await world.loop.connect()
    world.replies = False
    link = world.loop._link
    world.loop._tick()
    world.now += 1_400_000
    world.loop._tick()
    assert not link.lost.is_set()
    world.now += 200_000
    world.loop._tick()
    assert link.lost.is_set()


async def test_a_channel_that_stays_full_counts_as_a_loss(world):
    await world.loop.connect()
    link = world.loop._link
    world.peer.buffered_bytes = 5000
    world.see(0)
    world.now += 1_600_000
    world.loop._tick()
    assert link.lost.is_set()


async def test_before_an_epoch_ends_the_next_is_made_while_frames_flow(world):
    await world.loop.connect()
    world.now += 575_000_000
    running = asyncio.create_task(world.loop.run())
    for _ in range(300):
        await asyncio.sleep(0.01)
        if len(world.peers) == 2 and world.loop.is_connected:
            break
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert world.loop._link.sealer.setup.epoch == 2
    assert world.loop.reconnects == 0


async def test_an_epoch_that_cannot_be_prolonged_is_not_renewed_again_and_again(world, monkeypatch):
    await world.loop.connect()
    world.now += 575_000_000
    world.loop._linked_us = world.now - 1_000_000
    assert world.loop._link.sealer.needs_new_epoch(UTC + world.now)
    assert await world.loop._stays(world.loop._link)
    world.now += 30_000_000
    assert not await world.loop._stays(world.loop._link)


async def test_a_receipt_that_expires_while_watching_ends_the_session_at_once(world):
    await world.loop.connect()
    world.now = 3_600_000_000 - 50_000
    await ticking(world, ticks=1)
    assert isinstance(world.loop.fatal, ConsentMissingError)
    assert world.loop.over.is_set()


async def test_not_a_frame_is_sealed_under_a_receipt_that_has_expired(world):
    """Even before the loop notices: no epoch outlasts the receipt, and a sealer outlasts no epoch."""
    world.consent_until = UTC + 10_000_000
    await world.loop.connect()
    world.see(0)
    world.see(301)
    assert len(world.peer.crops) == 1
    assert world.loop._link.lost.is_set()


async def test_revocation_over_the_data_channel_ends_the_session(world):
    await world.loop.connect()
    world.peer.on_control(encode_message(Revoked(reason="withdrawn")))
    assert world.loop.over.is_set()
    assert isinstance(world.loop.fatal, RevokedError)
    world.see(0)
    assert world.peer.crops == []


@pytest.mark.parametrize("is_connected", [True, False])
async def test_a_withdrawal_on_this_machine_ends_the_session_whatever_the_network_does(world, is_connected):
    await world.loop.connect()
    world.see(0)
    if not is_connected:
        world.peer.takes_control = False
    sent = len(world.peer.crops)
    running = asyncio.create_task(world.loop.run())
    world.is_withdrawn = True
    async with asyncio.timeout(10):
        await world.loop.over.wait()
    world.see(1)
    assert len(world.peer.crops) == sent, "a frame was sealed after the withdrawal"
    assert isinstance(world.loop.fatal, RevokedError)
    assert (Withdraw in [type(message) for message in world.peer.control]) is is_connected
    await world.loop.close()
    assert world.peer.is_closed and len(world.peer.crops) == sent
    await running


async def test_revocation_over_signalling_ends_the_session(world):
    await world.loop.connect()
    running = asyncio.create_task(world.loop.run())
    world.signallings[0].inbox.put_nowait(Revoked(reason="withdrawn"))
    async with asyncio.timeout(10):
        await world.loop.over.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert isinstance(world.loop.fatal, RevokedError)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Refused(code=403, reason="consent withdrawn"), RevokedError),
        (Refused(code=410, reason="closed"), RevokedError),
        (Refused(code=401, reason="ticket"), PlatformError),
        (Refused(code=422, reason="sdp"), PlatformError),
        (Revoked(reason="withdrawn"), RevokedError),
    ],
)
async def test_a_refusal_that_waiting_cannot_change_is_final(world, answer, kind):
    world.answers = [answer]
    with pytest.raises(kind):
        await world.loop.connect()
    assert len(world.peers) == 1
    assert world.peers[0].is_closed


async def lose_and_seek(world, *, until, monkeypatch):
    """Lose the connection and let the loop seek another, with waits that take no time but pass on its clock."""
    monkeypatch.setattr(world.loop, "_wait_s", lambda error: 0)
    world.peer.on_closed()
    running = asyncio.create_task(world.loop.run())
    async with asyncio.timeout(10):
        while not until():
            world.now += 1_000_000
            await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize(
    "trouble",
    [
        PlatformAwayError("away"),
        PlatformError("the platform's answer is malformed"),
        PlatformError("the platform answered 404", status=404),
        CredentialError("nothing can be stored in the agent's home: disk full"),
    ],
)
async def test_trouble_on_the_way_back_ends_no_viewing(world, trouble, monkeypatch):
    await world.loop.connect()
    world.tickets = [trouble] * 3
    await lose_and_seek(world, until=lambda: len(world.peers) == 2, monkeypatch=monkeypatch)
    assert world.loop.fatal is None
    assert world.loop.is_connected


@pytest.mark.parametrize(
    "answer", [Refused(code=401, reason="ticket"), Refused(code=422, reason="epoch is over")]
)
async def test_a_ticket_or_setup_that_grew_old_on_the_way_is_made_anew(world, answer, monkeypatch):
    await world.loop.connect()
    world.answers = [answer]
    await lose_and_seek(
        world, until=lambda: len(world.peers) == 3 and world.loop.is_connected, monkeypatch=monkeypatch
    )
    assert world.loop.fatal is None


@pytest.mark.parametrize(
    "word",
    [
        RevokedError("the session is over"),
        PlatformError("capture is not allowed", status=403),
        PlatformError("not the latest receipt", status=409),
    ],
)
async def test_the_platforms_word_ends_a_viewing_at_once(world, word, monkeypatch):
    await world.loop.connect()
    world.tickets = [word]
    await lose_and_seek(world, until=world.loop.over.is_set, monkeypatch=monkeypatch)
    assert world.loop.fatal is word


async def test_ten_minutes_without_a_connection_end_the_viewing_and_not_one_second_less(world, monkeypatch):
    await world.loop.connect()
    world.tickets = [PlatformAwayError("away")] * 100_000
    before = world.now
    await lose_and_seek(world, until=world.loop.over.is_set, monkeypatch=monkeypatch)
    assert isinstance(world.loop.fatal, PlatformAwayError)
    assert 600_000_000 < world.now - before < 620_000_000


async def test_a_film_that_ends_in_an_outage_still_says_what_is_missing(world):
    await world.loop.connect()
    world.see(0, skip=SkipReason.NO_FACE)
    world.loop._link.lost.set()
    world.see(1)
    await world.loop.close()
    gaps = [(gap.first_frame, gap.reason) for gap in world.peers[1].control if isinstance(gap, Gap)]
    assert (1, "not_connected") in gaps
    assert world.control(Bye) == [Bye(last_frame=1)]
    assert world.control(Counters)[-1].captured == 2


async def test_a_film_that_ends_in_an_outage_does_not_wait_for_long(world, monkeypatch):
    await world.loop.connect()
    monkeypatch.setattr(world.loop, "_wait_s", lambda error: 0.001)
    world.tickets = [PlatformAwayError("away")] * 100_000
    world.loop._link.lost.set()
    world.see(0)
    async with asyncio.timeout(5):
        await world.loop.close(parting_us=20_000)
    assert world.control(Bye) == []


async def test_nobody_is_sought_to_part_from_once_the_platform_ended_the_session(world):
    await world.loop.connect()
    world.peer.on_control(encode_message(Revoked(reason="withdrawn")))
    await world.loop.close()
    assert len(world.peers) == 1


async def test_a_full_platform_is_asked_again(world):
    world.answers = [PlatformAwayError("away"), Refused(code=503, reason="full", retry_after_ms=1)]
    await world.loop.connect()
    assert world.loop.is_connected
    assert [s.setup.epoch for s in world.sealers] == [1, 2, 3]


async def test_a_session_ends_with_its_totals_and_its_last_frame(world):
    await world.loop.connect()
    world.session.start_segment(0, media_time_us=0, monotonic_us=0)
    world.see(0, skip=SkipReason.NO_FACE, faces=0)
    world.see(1, skip=SkipReason.NO_FACE, faces=0)
    await world.loop.close()
    assert world.control(Bye) == [Bye(last_frame=1)]
    assert world.control(Gap)[-1].last_frame == 1
    assert world.control(Counters)[-1].captured == 2
    assert world.control(Segment)[0].rate_permille == 1000
    assert world.peer.is_closed


async def test_a_second_face_is_counted_in_frames_and_intervals(world):
    await world.loop.connect()
    for frame, faces in enumerate([1, 2, 2, 1, 2, 1]):
        world.see(frame, faces=faces)
    assert (world.loop.second_face_frames, world.loop.second_face_intervals) == (3, 2)


async def test_garbage_on_the_control_channel_is_ignored(world):
    await world.loop.connect()
    world.peer.on_control(b"\xff{")
    world.see(0)
    assert len(world.peer.crops) == 1


def test_a_seen_outcome_never_prints_its_face():
    shown = repr(SimpleNamespace(seen=Seen(outcome=outcome(0), missed=SkipReason.OVERLOAD)))
    assert "\\xff\\xd8" not in shown
