"""Both ends together over a bad network: every captured frame is stored or in a flagged gap."""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from itertools import count
from uuid import UUID

import pytest

from privacy.protocol import limits
from privacy.protocol.codec import decode_control_from_ingest, encode_message
from privacy.protocol.envelope import Codec, DatagramKind, Header, encode_header, wrap_datagram
from privacy.protocol.ids import SessionId
from privacy.protocol.messages import Ack, Counters, Gap, SkipReason
from privacy.protocol.receiver import Accepted, ControlEffects, ReceiverSession
from privacy.protocol.sender import SenderSession, SenderState

SESSION = SessionId(UUID(int=9))
UTC_AHEAD_US = 1_795_000_000_000_000
STEP_US = 33_333
COMMIT_US = 300_000


class Street:
    """A sender, a receiver per epoch, a lossy network and a store that acks, on one simulated clock."""

    def __init__(self, seed: int, *, loss: float, breaks: float) -> None:
        self.random = random.Random(seed)
        self.loss, self.breaks = loss, breaks
        self.now_us = 0
        self.sender = SenderSession()
        self.receiver: ReceiverSession | None = None
        self.counters: defaultdict[int, count[int]] = defaultdict(count)
        self.events: list[tuple[int, int, int, str, bytes]] = []
        self.order = count()
        self.stored: set[int] = set()
        self.flagged: set[int] = set()
        self.sent: set[int] = set()
        self.captured = 0
        self.totals: Counters | None = None
        self.reconnect_at_us: int | None = 0

    def post(self, delay_us: int, kind: str, body: bytes) -> None:
        heapq.heappush(self.events, (self.now_us + delay_us, next(self.order), self.sender.epoch, kind, body))

    def post_datagram(self, datagram: bytes) -> None:
        copies = 2 if self.random.random() < 0.02 else 1
        for _ in range(copies):
            if self.random.random() >= self.loss:
                self.post(self.random.randrange(20_000, 200_000), "datagram", datagram)

    def envelope(self, frame: int) -> bytes:
        header = Header(
            codec=Codec.JPEG_RGB,
            session=SESSION,
            epoch=self.sender.epoch,
            counter=next(self.counters[self.sender.epoch]),
            frame=frame,
            media_time_us=self.now_us,
            monotonic_us=self.now_us,
            face=0,
            faces=1,
            width=96,
            height=96,
            detector=0,
            segment=0,
            ciphertext_length=528,
        )
        return encode_header(header) + bytes(528)

    def capture(self, frame: int) -> None:
        self.captured += 1
        facts = {"segment": 0, "media_time_us": self.now_us}
        if self.random.random() < 0.1:
            reason = self.random.choice([SkipReason.NO_FACE, SkipReason.DARK])
            self.sender.frame_skipped(frame, reason=reason, has_face=False, **facts)
        elif self.sender.state is not SenderState.STREAMING:
            self.sender.frame_skipped(frame, reason=SkipReason.NOT_CONNECTED, has_face=True, **facts)
        else:
            envelope = self.envelope(frame)
            self.sender.frame_sent(frame, envelope=envelope, now_us=self.now_us, **facts)
            self.sent.add(frame)
            self.post_datagram(wrap_datagram(DatagramKind.LIVE, envelope))

    def connect(self) -> None:
        epoch = self.sender.begin_connect()
        self.receiver = ReceiverSession(SESSION, epoch=epoch)
        self.sender.connected(self.now_us)
        self.reconnect_at_us = None

    def maybe_break(self) -> None:
        if self.sender.state is SenderState.STREAMING and self.random.random() < self.breaks:
            self.sender.connection_lost()
            self.reconnect_at_us = self.now_us + self.random.randrange(1_500_000, 4_000_000)
            # what was in flight on the control channel dies with the connection
            self.events = [event for event in self.events if event[3] in ("datagram", "commit")]
            heapq.heapify(self.events)

    def talk(self) -> None:
        for message in self.sender.take_control(self.now_us):
            self.post(50_000, "control", encode_message(message))
        for datagram in self.sender.take_resends(self.now_us):
            self.post_datagram(datagram)

    def deliver(self) -> None:
        while self.events and self.events[0][0] <= self.now_us:
            at_us, _, epoch, kind, body = heapq.heappop(self.events)
            utc_us = at_us + UTC_AHEAD_US
            receiver = self.receiver
            if kind == "commit":
                self.commit(int.from_bytes(body, "big"), utc_us)
            elif receiver is None or epoch != receiver.epoch:
                continue
            elif kind == "datagram":
                outcome = receiver.on_datagram(body, now_utc_us=utc_us)
                if isinstance(outcome, Accepted):
                    self.post(COMMIT_US, "commit", outcome.header.frame.to_bytes(4, "big"))
            elif kind == "control":
                self.on_report(receiver.on_control(body, now_utc_us=utc_us))
            else:
                self.sender.on_control(decode_control_from_ingest(body), now_us=self.now_us)

    def commit(self, frame: int, utc_us: int) -> None:
        self.stored.add(frame)
        bucket, slot = divmod(frame, limits.FRAMES_PER_PACK)
        ack = Ack(bucket=bucket, mask=1 << slot, committed_utc_us=utc_us)
        self.post(40_000, "reply", encode_message(ack))

    def on_report(self, effects: object) -> None:
        assert isinstance(effects, ControlEffects), effects
        if effects.reply is not None:
            self.post(50_000, "reply", encode_message(effects.reply))
        if isinstance(effects.event, Gap):
            self.flagged |= set(range(effects.event.first_frame, effects.event.last_frame + 1))
        if isinstance(effects.event, Counters):
            self.totals = effects.event

    def step(self) -> None:
        self.now_us += STEP_US
        self.deliver()
        if self.reconnect_at_us is not None and self.now_us >= self.reconnect_at_us:
            self.connect()
        self.talk()

    def run(self, frames: int) -> None:
        for frame in range(frames):
            self.step()
            self.capture(frame)
            self.maybe_break()
        while self.sender.state is not SenderState.STREAMING:
            self.step()
        self.sender.close(self.now_us)
        while not self.sender.is_drained(self.now_us):
            self.step()
        for _ in range(20):
            self.now_us += STEP_US
            self.deliver()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("loss, breaks", [(0.0, 0.0), (0.05, 0.0), (0.01, 0.005), (0.3, 0.01)])
def test_every_captured_frame_is_stored_or_in_a_flagged_gap(seed: int, loss: float, breaks: float) -> None:
    street = Street(seed, loss=loss, breaks=breaks)
    street.run(1_200)
    assert street.stored | street.flagged == set(range(street.captured))
    assert street.stored <= street.sent
    assert street.totals == street.sender.counters()
    assert street.totals.captured == 1_200


@pytest.mark.parametrize("seed", range(4))
def test_a_calm_network_loses_and_flags_nothing_that_was_sent(seed: int) -> None:
    street = Street(seed, loss=0.0, breaks=0.0)
    street.run(600)
    assert street.stored == street.sent
    assert not street.stored & street.flagged
    assert street.sender.acked == len(street.sent)


@pytest.mark.parametrize("seed", range(4))
def test_repair_brings_home_what_one_percent_of_loss_took(seed: int) -> None:
    street = Street(seed, loss=0.01, breaks=0.0)
    street.run(1_200)
    assert len(street.stored) >= 0.999 * len(street.sent)
