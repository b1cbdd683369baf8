"""The live sessions of one ingest process: admitted at signalling, fed by peers, ended by either side."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections import OrderedDict
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from cloud.errors import AdmissionError, StreamError
from cloud.ingest import metrics as metrics
from cloud.ingest.peers import Peer, PeerEngine
from cloud.ingest.refusal_report import RefusalReport
from cloud.ingest.session import EventKind, IngestSession, SessionEnd
from cloud.ingest.sockets import SessionSockets, offers_bucket
from cloud.ingest.writers import IngestWriters
from cloud.signaling.admission import (
    Admitted,
    SessionState,
    check_offer,
    check_state,
    fenced,
    superseded,
)
from cloud.signaling.ports import SignallingConnection
from cloud.streams.ports import CropRefusals, DurableAck, Revocations, SetupStore, Superseded
from privacy.errors import MessageError
from privacy.protocol.codec import decode_signalling, encode_message
from privacy.protocol.ids import SessionId
from privacy.protocol.messages import Ack, Answer, Offer, RefusalReason, Refused, Revoked

log = structlog.get_logger()

OFFER_TIMEOUT_S = 10.0
LOST_AFTER_S = 10.0
TAKE_OVER_S = 10.0
"""A later epoch's peer that has sent nothing by then no longer keeps the earlier one alive."""

SWEEP_S = 1.0
REFRESH_S = 5.0
SETUP_GRACE_MS = 60_000
EXPIRED_GRACE_US = 30_000_000
"""An epoch or receipt that is over for this long ends its connection; its crops are refused before that."""

REVOKED_FLUSH_S = 0.2
"""Time for the last message to leave before the peer closes; a revocation acts within a second."""

REVOKED_REASON = "consent was withdrawn"
EXPIRED_REASON = "consent has expired"
SUPERSEDED_REASON = "consent was given anew; begin again under the new choices"

REVOKED_MAX = 65_536
"""Revoked sessions that are remembered here, for as long as the server may not remember them."""

REVOKE_AGAIN_S = 0.5


def utc_us() -> int:
    """Read this machine's UTC clock, in microseconds."""
    return time.time_ns() // 1_000


class LiveSession:
    """One epoch's peer and what it feeds; implements `PeerSink`."""

    def __init__(
        self, admitted: Admitted, sessions: IngestSessions, connection: SignallingConnection
    ) -> None:
        self.admitted = admitted
        self.core = IngestSession(admitted.session, admitted.tenant, epoch=admitted.epoch)
        self.connection = connection
        self.peer: Peer | None = None
        self.predecessor: LiveSession | None = None
        self.heard_s = time.monotonic()
        self.began_s = self.heard_s
        self.was_heard = False
        self.is_over = False
        self.name = secrets.token_hex(4)
        self.refusals = RefusalReport(minor=admitted.minor)
        self._sessions = sessions

    def on_datagram(self, datagram: bytes) -> None:
        """Check a datagram; a sealed crop that passes goes to the stream."""
        if self.is_over:
            return
        self._hear()
        if self.is_consent_over(utc_us()):
            self._refuse(RefusalReason.CONSENT_EXPIRED.value)
            return
        found = self.core.receive_datagram(datagram, now_utc_us=utc_us())
        if isinstance(found, RefusalReason):
            self._refuse(found.value)
            return
        metrics.DATAGRAMS.labels("late" if found.late else "live").inc()
        self._sessions.writers.put_crop(self.admitted.session, found)

    def on_control(self, message: bytes) -> None:
        """Act on a control message."""
        if self.is_over:
            return
        self._hear()
        effect = self.core.receive_control(message, now_utc_us=utc_us())
        if effect.refused is not None:
            self._refuse(effect.refused)
        if effect.reply is not None and self.peer is not None:
            self.peer.send_control(effect.reply)
        if effect.event is not None:
            self._sessions.writers.put_event(effect.event)
        if effect.end is not None:
            self._sessions.ended(self, effect.end)

    def on_closed(self) -> None:
        """The peer is gone."""
        self._sessions.gone(self)

    def tell_refusals(self) -> None:
        """Say what was refused since the last time, if anything (rule S15)."""
        if self.predecessor is not None:
            self.predecessor.tell_refusals()
        message = self.refusals.take()
        if message is not None and (self.peer is None or not self.peer.send_control(encode_message(message))):
            self.refusals.add(message.counts)

    def _refuse(self, reason: str) -> None:
        metrics.REFUSED.labels(reason).inc()
        self.refusals.add({reason: 1})

    def is_consent_over(self, now_utc_us: int) -> bool:
        """Say whether the receipt that this session runs under has expired."""
        return now_utc_us >= self.admitted.consent_until_utc_us

    def _hear(self) -> None:
        self.heard_s = time.monotonic()
        self.was_heard = True
        event = self.core.connect(now_utc_us=utc_us())
        if event is not None:
            self._sessions.writers.put_event(event)
        if self.predecessor is not None:
            self._sessions.retire(self.predecessor)
            self.predecessor = None


class IngestSessions:
    """Admits, finds and ends live sessions.

    Args:
        engine: makes answering peers.
        setups: setups and fences.
        revocations: whom to refuse.
        writers: where crops and events go.
        platform_key: verifies tickets and receipts.
        owner: this process's name in fences.
        max_sessions: how many sessions may live here at once.
    """

    def __init__(
        self,
        *,
        engine: PeerEngine,
        setups: SetupStore,
        revocations: Revocations,
        writers: IngestWriters,
        platform_key: Ed25519PublicKey,
        owner: str,
        max_sessions: int,
    ) -> None:
        self.writers = writers
        self._engine = engine
        self._setups = setups
        self._revocations = revocations
        self._platform_key = platform_key
        self._owner = owner
        self._max_sessions = max_sessions
        self._live: dict[SessionId, LiveSession] = {}
        self._revoked: OrderedDict[SessionId, None] = OrderedDict()
        self._sockets = SessionSockets()
        self._admitting: list[SignallingConnection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._telling: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._live)

    async def handle(self, connection: SignallingConnection) -> None:
        """Serve one agent's websocket until it closes; an agent may offer again, for a later epoch.

        A websocket that no live session needs has ten seconds for an offer, and is closed once one is refused.
        """
        offers = offers_bucket()
        try:
            while True:
                async with asyncio.timeout(None if self._is_needed(connection) else OFFER_TIMEOUT_S):
                    message = await connection.receive()
                if message is None:
                    return
                try:
                    if not offers.take(1, now_us=time.monotonic_ns() // 1_000):
                        raise _too_many_offers()
                    sdp = await self._admit(_read_offer(message), connection)
                except AdmissionError as refusal:
                    await self._refuse(refusal, connection)
                    if not self._is_needed(connection):
                        break
                else:
                    metrics.ADMISSIONS.labels("200").inc()
                    await connection.send(encode_message(Answer(sdp=sdp)))
        except TimeoutError:
            pass
        finally:
            self._sockets.leave(connection)
        await connection.close()

    async def _refuse(self, refusal: AdmissionError, connection: SignallingConnection) -> None:
        metrics.ADMISSIONS.labels(str(refusal.code)).inc()
        refused = Refused(code=refusal.code, reason=refusal.reason, retry_after_ms=refusal.retry_after_ms)
        await connection.send(encode_message(refused))

    async def _admit(self, offer: Offer, connection: SignallingConnection) -> str:
        admitted = check_offer(offer, platform_key=self._platform_key, now_utc_us=utc_us())
        if not self._sockets.may_offer(admitted.session):
            raise _too_many_offers()
        self._admitting.append(connection)
        try:
            await self._check_state(admitted)
            self._seat(admitted.session, connection)
            live = LiveSession(admitted, self, connection)
            live.peer = await self._engine.answer(offer.sdp, live)
            try:
                await self._fence(live)
            except BaseException:
                await live.peer.close()
                raise
            self._install(live)
        except StreamError:
            raise AdmissionError(503, "the platform is not ready", retry_after_ms=_retry_ms()) from None
        finally:
            self._admitting.remove(connection)
        return live.peer.answer_sdp

    def _seat(self, session: SessionId, connection: SignallingConnection) -> None:
        """Let the websocket of a session that has proven itself stay; an older one of the session may have to go."""
        older = self._sockets.join(session, connection)
        if older is not None:
            self._spawn(older.close())

    def _is_needed(self, connection: SignallingConnection) -> bool:
        """Say whether a live session, or an offer that is being answered, speaks over a websocket."""
        peers = (
            peer for live in self._live.values() for peer in (live, live.predecessor) if peer is not None
        )
        return connection in self._admitting or any(
            peer.connection is connection and not peer.is_over for peer in peers
        )

    async def _check_state(self, admitted: Admitted) -> None:
        state = SessionState(
            revoked=await self._is_revoked(admitted.session),
            receipt_in_force=await self._revocations.receipt_in_force(admitted.session),
            fenced_epoch=await self._setups.fenced_epoch(admitted.session),
            served_here=admitted.session in self._live,
            live_sessions=len(self._live) + len(self._admitting) - 1,
            max_sessions=self._max_sessions,
        )
        check_state(admitted, state, jitter=random.random())

    async def _fence(self, live: LiveSession) -> None:
        # a revocation may have come while the peer was made; a claim is refused then as well
        is_claimed = await self._claim(live)
        if await self._is_revoked(live.admitted.session):
            raise AdmissionError(410, REVOKED_REASON)
        if not is_claimed:
            if await self._is_superseded(live):
                raise superseded()
            raise fenced(live.admitted.epoch)

    async def _is_revoked(self, session: SessionId) -> bool:
        # heard is enough: a server without memory tells of a revocation, and cannot remember it
        return session in self._revoked or await self._revocations.is_revoked(session)

    async def _is_superseded(self, live: LiveSession) -> bool:
        in_force = await self._revocations.receipt_in_force(live.admitted.session)
        return in_force not in (None, live.admitted.receipt_sha256)

    async def _claim(self, live: LiveSession) -> bool:
        ttl_ms = (live.admitted.until_utc_us - utc_us()) // 1_000 + SETUP_GRACE_MS
        if ttl_ms <= 0:
            return False
        return await self._setups.claim(
            live.admitted.setup, owner=f"{self._owner}/{live.name}", ttl_ms=ttl_ms
        )

    def _install(self, live: LiveSession) -> None:
        previous = self._live.get(live.admitted.session)
        self._live[live.admitted.session] = live
        metrics.SESSIONS.set(len(self._live))
        log.info("session admitted", session=str(live.admitted.session), epoch=live.admitted.epoch)
        if previous is not None:
            self._succeed(live, previous)

    def _succeed(self, live: LiveSession, previous: LiveSession) -> None:
        """Keep the peer that carries frames until `live` is heard, and no other: peers must not pile up."""
        if previous.admitted.receipt_sha256 != live.admitted.receipt_sha256:
            # consent changed: not one more crop under the earlier receipt
            self.retire(previous)
        elif previous.was_heard:
            live.predecessor = previous
        else:
            live.predecessor, previous.predecessor = previous.predecessor, None
            self.retire(previous)

    def retire(self, live: LiveSession) -> None:
        """Close a peer whose session goes on elsewhere, with its websocket, and the one before it."""
        live.is_over = True
        if live.predecessor is not None:
            self.retire(live.predecessor)
            live.predecessor = None
        self._close(live)

    def gone(self, live: LiveSession) -> None:
        """Handle a peer that failed or was closed by the agent."""
        if self._live.get(live.admitted.session) is not live:
            self.retire(live)
            return
        if not live.core.is_ended:
            self.writers.put_event(live.core.event(EventKind.LOST, now_utc_us=utc_us()))
            metrics.SESSION_ENDS.labels("lost").inc()
        self._remove(live)

    def ended(self, live: LiveSession, end: SessionEnd) -> None:
        """Handle an agent that said goodbye or withdrew; the peer may still fetch its last acks."""
        metrics.SESSION_ENDS.labels(end.value).inc()
        log.info("session ended", session=str(live.admitted.session), end=end.value)
        if end is SessionEnd.WITHDRAWN:
            self._withdraw(live)
        elif end is SessionEnd.BROKEN:
            self.writers.put_event(live.core.event(EventKind.LOST, now_utc_us=utc_us()))
            self._remove(live)

    def _withdraw(self, live: LiveSession) -> None:
        """End every peer of a session at once, whichever of them carried the agent's word."""
        session = live.admitted.session
        self._remember_revoked(session)
        self.writers.drop_crops(session)
        self.retire(live)
        latest = self._live.get(session)
        if latest is not None:
            self._remove(latest)
        telling = asyncio.create_task(self._publish_revocation(session))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def _publish_revocation(self, session: SessionId) -> None:
        """Tell the others until it is remembered; here every peer is closed already."""
        while True:
            try:
                await self._revocations.revoke(session)
            except StreamError as error:
                log.warning("revocation was not published", reason=str(error))
                await asyncio.sleep(REVOKE_AGAIN_S)
            else:
                return

    def _remember_revoked(self, session: SessionId) -> None:
        self._revoked[session] = None
        while len(self._revoked) > REVOKED_MAX:
            self._revoked.popitem(last=False)

    def forward_ack(self, ack: DurableAck) -> None:
        """Tell the agent what is committed, if its session lives here."""
        live = self._live.get(_session_id(ack.session))
        if live is not None and live.peer is not None:
            message = Ack(bucket=ack.bucket, mask=ack.mask, committed_utc_us=ack.committed_utc_us)
            if live.peer.send_control(encode_message(message)):
                metrics.ACKS.inc()

    def forward_refusals(self, refused: CropRefusals) -> None:
        """Note what the classify workers refused of a session that lives here; it is told with the next sweep."""
        live = self._live.get(_session_id(refused.session))
        if live is not None:
            live.refusals.add(refused.counts)

    def revoke_soon(self, session: SessionId) -> None:
        """Begin to end a session whose consent was withdrawn; from now on nothing of it is accepted."""
        self._remember_revoked(session)
        self.writers.drop_crops(session)
        live = self._live.get(session)
        if live is None:
            return
        if not live.core.is_ended:
            self.writers.put_event(live.core.event(EventKind.WITHDRAWN, now_utc_us=utc_us()))
            metrics.SESSION_ENDS.labels("revoked").inc()
        self._stop(live)
        self._spawn(self._say_over(live, REVOKED_REASON))

    def supersede(self, word: Superseded) -> None:
        """End a peer that runs under an earlier receipt: not one more crop of what is opted out now."""
        live = self._live.get(word.session)
        if live is None or live.admitted.receipt_sha256 == word.receipt_sha256 or live.core.is_ended:
            return
        log.info("session has another receipt now", session=str(word.session))
        metrics.SESSION_ENDS.labels("superseded").inc()
        self._stop(live)
        self._spawn(self._say_over(live, SUPERSEDED_REASON))

    async def _say_over(self, live: LiveSession, reason: str) -> None:
        """Tell the agent, then close; nothing is accepted from the moment this begins."""
        message = encode_message(Revoked(reason=reason))
        if live.peer is not None:
            live.peer.send_control(message)
        # an agent that reads nothing must not hold its own end up
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REVOKED_FLUSH_S):
                await live.connection.send(message)
        await asyncio.sleep(REVOKED_FLUSH_S)
        self._remove(live)

    async def recheck_revocations(self) -> None:
        """Look every live session up: revocations may have been missed while Redis was away."""
        for session in list(self._live):
            if await self._is_revoked(session):
                self.revoke_soon(session)
                continue
            receipt = await self._revocations.receipt_in_force(session)
            if receipt is not None:
                self.supersede(Superseded(session=session, receipt_sha256=receipt))

    async def refresh_setups(self) -> None:
        """Store every live setup again; a session that was revoked, or fenced by another process, is let go."""
        for live in list(self._live.values()):
            if live.core.is_ended or await self._claim(live):
                continue
            session = live.admitted.session
            if await self._is_revoked(session):
                self.revoke_soon(session)
                continue
            receipt = await self._revocations.receipt_in_force(session)
            if receipt not in (None, live.admitted.receipt_sha256):
                self.supersede(Superseded(session=session, receipt_sha256=receipt))
                continue
            log.info("session went elsewhere", session=str(session))
            self._remove(live)

    async def sweep(self) -> None:
        """End what has been silent for too long, until cancelled; refresh setups now and then."""
        refreshed_s = time.monotonic()
        while True:
            await asyncio.sleep(SWEEP_S)
            now_s = time.monotonic()
            for live in list(self._live.values()):
                live.tell_refusals()
                self._sweep_one(live, now_s)
            if now_s - refreshed_s >= REFRESH_S:
                refreshed_s = now_s
                try:
                    await self.refresh_setups()
                except StreamError as error:
                    log.debug("setups were not refreshed", reason=str(error))

    def _sweep_one(self, live: LiveSession, now_s: float) -> None:
        if live.predecessor is not None and now_s - live.began_s > TAKE_OVER_S:
            self.retire(live.predecessor)
            live.predecessor = None
        if live.is_consent_over(utc_us()) and not live.core.is_ended:
            self._expire(live)
            return
        is_silent = now_s - live.heard_s > LOST_AFTER_S
        is_expired = utc_us() > live.admitted.until_utc_us + EXPIRED_GRACE_US
        if is_silent or is_expired:
            log.info("session is silent or expired", session=str(live.admitted.session))
            self.gone(live)

    def _expire(self, live: LiveSession) -> None:
        """End a session whose receipt has expired: what was consented to stays, nothing is added."""
        log.info("consent has expired", session=str(live.admitted.session))
        self.writers.put_event(live.core.event(EventKind.LOST, now_utc_us=utc_us()))
        metrics.SESSION_ENDS.labels("expired").inc()
        self._stop(live)
        self._spawn(self._say_over(live, EXPIRED_REASON))

    def _stop(self, live: LiveSession) -> None:
        """Accept nothing more from a session, whichever epoch brings it."""
        live.core.stop()
        if live.predecessor is not None:
            self.retire(live.predecessor)
            live.predecessor = None

    async def close(self) -> None:
        """Report every live session as lost and close all peers; agents come back with a later epoch."""
        for live in list(self._live.values()):
            self.gone(live)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for telling in self._telling:
            telling.cancel()

    def _remove(self, live: LiveSession) -> None:
        if self._live.get(live.admitted.session) is live:
            del self._live[live.admitted.session]
        metrics.SESSIONS.set(len(self._live))
        self.retire(live)

    def _close(self, live: LiveSession) -> None:
        if live.peer is not None:
            self._spawn(live.peer.close())
        if not self._is_needed(live.connection):
            self._spawn(live.connection.close())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _read_offer(message: bytes) -> Offer:
    try:
        offer = decode_signalling(message)
    except MessageError:
        raise AdmissionError(422, "the message is malformed") from None
    if not isinstance(offer, Offer):
        raise AdmissionError(422, "an offer was expected")
    return offer


def _session_id(text: str) -> SessionId:
    return SessionId(UUID(text))


def _too_many_offers() -> AdmissionError:
    return AdmissionError(429, "too many offers", retry_after_ms=_retry_ms())


def _retry_ms() -> int:
    return 1_000 + int(random.random() * 4_000)
