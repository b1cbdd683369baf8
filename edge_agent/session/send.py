"""The send loop: seals what the vision thread saw, keeps the connection, tells ingest what was skipped."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from edge_agent.errors import (
    AgentError,
    ConsentMissingError,
    CredentialError,
    PlatformAwayError,
    PlatformError,
    RevokedError,
)
from edge_agent.session.latency import CommitDelays, DelayHistogram
from edge_agent.session.link import Link, LinkFactories, open_link
from edge_agent.session.playback import MediaClock
from edge_agent.session.sealed import seal_outcome
from edge_agent.session.vision import Seen
from edge_agent.tracking.pipeline import Outcome
from privacy.crypto.sealing import SessionSealer
from privacy.errors import MessageError, SealingError
from privacy.protocol import limits
from privacy.protocol.codec import decode_control_from_ingest, encode_message
from privacy.protocol.envelope import DatagramKind, wrap_datagram
from privacy.protocol.messages import Ack, Clock, ClockReply, SkipReason
from privacy.protocol.sender import SenderSession, SenderState, backoff_us

TICK_S = 0.1
SILENCE_MAX_US = 1_500_000
FIRST_CONNECT_MAX_US = 30_000_000
RESUME_MAX_US = limits.RESUME_MAX_S * 1_000_000
PARTING_US = 10_000_000
"""At the end of a film whose connection is lost: time to say which frames are missing."""

FORBIDDEN, CONFLICT = 403, 409
RENEW_MIN_US = 30_000_000
"""An epoch younger than this is used up, not renewed: what ends it, as the receipt's end, ends the next one too."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class SendContext:
    """What the loop is given.

    Attributes:
        factories: parts of a connection.
        new_sealer: makes the sealer of an epoch, given its number.
        media: the media clock; a segment has begun by the first frame.
        detector_id: number of the detector variant on the wire.
        consent_until_utc_us: when the receipt expires; from then on the session is over.
        now_us: this machine's monotonic clock, in microseconds.
        utc_us: wall clock, in microseconds.
        is_withdrawn: consent was withdrawn on this machine; asked ten times a second.
    """

    factories: LinkFactories
    new_sealer: Callable[[int], SessionSealer]
    media: MediaClock
    detector_id: int
    consent_until_utc_us: int
    now_us: Callable[[], int]
    utc_us: Callable[[], int]
    is_withdrawn: Callable[[], bool] = lambda: False


class SendLoop:
    """Owns the sender's session and its connection; everything here runs on the event loop.

    Attributes:
        session: counts, gaps, resends.
        delays: capture to commit.
        ages: capture to hand-over to the channel.
        steps: frames sent per rung of the encoding ladder.
        envelope_max_bytes: the longest envelope so far.
        second_face_frames: frames with another face beside the viewer's.
        second_face_intervals: runs of such frames.
        fatal: why the session cannot go on, None otherwise.
    """

    def __init__(self, context: SendContext, session: SenderSession) -> None:
        self.session = session
        self.delays, self.ages = CommitDelays(), DelayHistogram()
        self.steps: Counter[str] = Counter()
        self.envelope_max_bytes = 0
        self.second_face_frames = self.second_face_intervals = 0
        self.reconnects = 0
        self.fatal: AgentError | None = None
        self._context = context
        self._link: Link | None = None
        self._last_frame = -1
        self._last_us: int | None = None
        self._had_second_face = False
        self._clock_asked_us: int | None = None
        self._blocked_since_us: int | None = None
        self._linked_us = self._lost_us = 0
        self._over = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        """Whether frames can go out."""
        return self._link is not None and self._link.peer.is_open

    @property
    def over(self) -> asyncio.Event:
        """Set when the session cannot go on."""
        return self._over

    async def connect(self) -> None:
        """Make the first connection; tries for half a minute.

        Raises:
            PlatformError: refused, or not reachable.
            RevokedError: the session is over.
        """
        give_up_us = self._context.now_us() + FIRST_CONNECT_MAX_US
        while True:
            try:
                await self._connect_once()
            except PlatformAwayError as error:
                if self._context.now_us() > give_up_us:
                    raise
                await asyncio.sleep(self._wait_s(error))
            else:
                return

    async def run(self) -> None:
        """Keep the connection and the control channel going until cancelled or over."""
        keeper = asyncio.create_task(self._keep_connected())
        try:
            while not self._over.is_set():
                self._tick()
                await asyncio.sleep(TICK_S)
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    def on_seen(self, seen: Seen) -> None:
        """Take an outcome from the vision thread; called on the event loop."""
        outcome = seen.outcome
        if (
            self.session.state in (SenderState.CLOSING, SenderState.CLOSED)
            or outcome.frame <= self._last_frame
        ):
            return
        self._skip_until(outcome.frame, now_us=outcome.monotonic_us, reason=seen.missed)
        segment, media_us = self._context.media.locate(outcome.monotonic_us)
        self._last_frame, self._last_us = outcome.frame, outcome.monotonic_us
        self._count_second_face(outcome)
        reason = self._send(outcome, segment=segment, media_us=media_us)
        if reason is not None:
            self.session.frame_skipped(
                outcome.frame,
                segment=segment,
                media_time_us=media_us,
                reason=reason,
                has_face=outcome.faces > 0,
            )

    def on_captured(self, frames: int, *, now_us: int) -> None:
        """Account for what was captured after the last outcome: no frame ends without a result or a reason.

        Args:
            frames: how many frames were captured in all, or missed of the source's schedule.
            now_us: when capture ended, on this machine's monotonic clock.
        """
        if self.session.state not in (SenderState.CLOSING, SenderState.CLOSED):
            self._skip_until(frames, now_us=now_us, reason=SkipReason.OVERLOAD)
            self._last_frame = max(self._last_frame, frames - 1)

    async def close(self, *, parting_us: int = PARTING_US) -> None:
        """End in order: last totals, last resends, hang up.

        Args:
            parting_us: how long to seek a lost connection once more, to say what is missing.
        """
        await self._reconnect_to_part(parting_us)
        self.session.close(self._context.now_us())
        while self._link is not None and not self.session.is_drained(self._context.now_us()):
            self._flush(self._link)
            if self._link.lost.is_set():
                break
            await asyncio.sleep(TICK_S / 2)
        self.session.closed()
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    def _skip_until(self, frame: int, *, now_us: int, reason: SkipReason) -> None:
        """Report the frames between the last outcome and `frame`, each at its own time between the two."""
        first = self._last_frame + 1
        since_us = now_us if self._last_us is None else self._last_us
        step_us = (now_us - since_us) / (frame - self._last_frame) if frame > first else 0.0
        for missing in range(first, frame):
            at_us = since_us + round((missing - self._last_frame) * step_us)
            segment, media_us = self._context.media.locate(at_us)
            self.session.frame_skipped(
                missing, segment=segment, media_time_us=media_us, reason=reason, has_face=False
            )

    def _send(self, outcome: Outcome, *, segment: int, media_us: int) -> SkipReason | None:
        link, now_us = self._link, self._context.now_us()
        if link is None or not link.peer.is_open or link.lost.is_set():
            # Whatever it shows: one reason, so that the outage is one gap.
            return SkipReason.NOT_CONNECTED
        if outcome.skip is not None or outcome.crop is None:
            return SkipReason(outcome.skip or SkipReason.NO_FACE)
        if link.peer.buffered_bytes > 0:
            # Latest wins: what the network has not taken yet would only delay what comes next.
            self._blocked_since_us = self._blocked_since_us or now_us
            return SkipReason.BUSY_CHANNEL
        self._blocked_since_us = None
        try:
            envelope = seal_outcome(
                link.sealer,
                outcome,
                media_time_us=media_us,
                segment=segment,
                detector_id=self._context.detector_id,
                now_utc_us=self._context.utc_us(),
            )
        except SealingError:
            # The epoch is over before the next one is ready.
            link.lost.set()
            return SkipReason.NOT_CONNECTED
        if not link.peer.send_crop(wrap_datagram(DatagramKind.LIVE, envelope)):
            return SkipReason.NOT_CONNECTED
        self.session.frame_sent(
            outcome.frame, segment=segment, media_time_us=media_us, envelope=envelope, now_us=now_us
        )
        self.delays.sent(outcome.frame, outcome.monotonic_us)
        self.ages.add(now_us - outcome.monotonic_us)
        self.steps[outcome.crop.step.name] += 1
        self.envelope_max_bytes = max(self.envelope_max_bytes, len(envelope))
        return None

    def _count_second_face(self, outcome: Outcome) -> None:
        self.second_face_frames += outcome.second_face
        self.second_face_intervals += outcome.second_face and not self._had_second_face
        self._had_second_face = outcome.second_face

    def _withdraw(self) -> None:
        """Seal nothing more, whatever the network does, and say so over what connection there is."""
        self.session.withdraw(self._context.now_us())
        if self._link is not None:
            self._flush(self._link)
        self._end(RevokedError("consent was withdrawn on this machine"))

    def _tick(self) -> None:
        if self._context.is_withdrawn():
            self._withdraw()
            return
        if self._context.utc_us() >= self._context.consent_until_utc_us:
            self._end(ConsentMissingError("the consent has expired; ask for a new invitation to go on"))
        link, now_us = self._link, self._context.now_us()
        if link is None:
            return
        self._flush(link)
        asked, blocked = self._clock_asked_us, self._blocked_since_us
        if (asked is not None and now_us - asked > SILENCE_MAX_US) or (
            blocked is not None and link.peer.buffered_bytes > 0 and now_us - blocked > SILENCE_MAX_US
        ):
            link.lost.set()

    def _flush(self, link: Link) -> None:
        if not link.peer.is_open:
            return
        now_us = self._context.now_us()
        messages = self.session.take_control(now_us)
        for at, message in enumerate(messages):
            if isinstance(message, Clock) and self._clock_asked_us is None:
                self._clock_asked_us = now_us
            try:
                encoded = encode_message(message)
            except MessageError:
                log.warning("control_message_refused", kind=type(message).__name__)
                continue
            if not link.peer.send_control(encoded):
                self.session.put_back(messages[at:])
                break
        if link.peer.buffered_bytes == 0:
            for datagram in self.session.take_resends(now_us):
                link.peer.send_crop(datagram)

    def _on_control(self, data: bytes) -> None:
        try:
            message = decode_control_from_ingest(data)
        except MessageError:
            log.warning("control_message_malformed", length_bytes=len(data))
            return
        now_us = self._context.now_us()
        if isinstance(message, ClockReply):
            self._clock_asked_us = None
        if isinstance(message, Ack):
            offset = self.session.clock_offset
            self.delays.committed(
                first_frame=message.bucket * limits.FRAMES_PER_PACK,
                mask=message.mask,
                committed_utc_us=message.committed_utc_us,
                offset_us=None if offset is None else offset.offset_us,
            )
        self.session.on_control(message, now_us=now_us)
        if self.session.end_reason:
            self._end(RevokedError(f"the session was ended: {self.session.end_reason}"))

    async def _connect_once(self) -> None:
        sealer = self._context.new_sealer(self.session.begin_connect())
        try:
            link = await open_link(self._context.factories, sealer, on_control=self._on_control)
        except BaseException:
            if self._link is None:
                self.session.connection_lost()
            raise
        old, self._link = self._link, link
        self._clock_asked_us = self._blocked_since_us = None
        self._linked_us = self._context.now_us()
        self.session.connected(self._linked_us)
        if old is not None:
            await old.close()

    async def _keep_connected(self) -> None:
        self._lost_us = self._context.now_us()
        while not self._over.is_set():
            link = self._link
            if link is not None and await self._stays(link):
                continue
            if link is not None and link.revoked:
                self._end(RevokedError(f"the session was ended: {link.revoked}"))
                return
            await self._let_go_of_lost()
            try:
                await self._connect_once()
            except (AgentError, SealingError) as error:
                is_too_late = self._link is None and self._context.now_us() - self._lost_us > RESUME_MAX_US
                if is_too_late or _is_final(error):
                    self._end(error if isinstance(error, AgentError) else PlatformError(str(error)))
                else:
                    await asyncio.sleep(self._wait_s(error))

    async def _let_go_of_lost(self) -> None:
        """Hang up a connection over which nothing comes any more."""
        link = self._link
        if link is not None and (link.lost.is_set() or not link.peer.is_open):
            self._link, self._lost_us = None, self._context.now_us()
            self.session.connection_lost()
            self.reconnects += 1
            await link.close()

    async def _reconnect_to_part(self, parting_us: int) -> None:
        """Seek a lost connection for a while; without one, what is still unsaid stays so."""
        await self._let_go_of_lost()
        if self.fatal is not None or self.session.state is not SenderState.IDLE or not self.session.epoch:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(parting_us / 1e6):
                while self._link is None:
                    try:
                        await self._connect_once()
                    except (AgentError, SealingError) as error:
                        if _is_final(error):
                            return
                        await asyncio.sleep(self._wait_s(error))

    async def _stays(self, link: Link) -> bool:
        """Wait until the link is lost or its epoch nearly over; True where neither happened in a second."""
        try:
            async with asyncio.timeout(1.0):
                await link.lost.wait()
        except TimeoutError:
            is_young = self._context.now_us() - self._linked_us < RENEW_MIN_US
            return is_young or not link.sealer.needs_new_epoch(self._context.utc_us())
        return False

    def _wait_s(self, error: Exception) -> float:
        wait_us = backoff_us(max(1, self.session.failures), jitter=random.random())
        asked_ms = error.retry_after_ms if isinstance(error, PlatformError) else 0
        return max(wait_us, asked_ms * 1000) / 1e6

    def _end(self, error: AgentError) -> None:
        self.fatal = self.fatal or error
        self._over.set()


def _is_final(error: Exception) -> bool:
    """Say whether an error ends a session that has begun: the platform's word does, trouble on the way does not."""
    if isinstance(error, PlatformError) and not isinstance(error, PlatformAwayError):
        return error.status in (FORBIDDEN, CONFLICT)
    return not isinstance(error, PlatformAwayError | CredentialError)
