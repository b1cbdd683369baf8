"""Composition root: consent, camera, vision and connection of one run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.camera.capture import CaptureSettings, CaptureThread
from edge_agent.camera.latest import LatestFrame
from edge_agent.camera.source import CameraDevice, open_source, quiet_opencv
from edge_agent.camera.video_file import VideoFile
from edge_agent.clocks import PlatformClock, monotonic_us
from edge_agent.config import RunSettings
from edge_agent.consent.api_client import ApiClient, IceServer
from edge_agent.consent.consenting import JoinInfo, check_receipt, pool_key
from edge_agent.consent.credential_store import CredentialStore
from edge_agent.errors import AgentError, ConsentMissingError, InviteError, PlatformError, RevokedError
from edge_agent.hardening import forbid_core_dumps
from edge_agent.invite import Invite
from edge_agent.session.aiortc_peer import AiortcPeer
from edge_agent.session.link import LinkFactories
from edge_agent.session.live_run import LiveRun
from edge_agent.session.playback import MediaClock
from edge_agent.session.send import SendContext, SendLoop
from edge_agent.session.signaling_client import SignallingClient
from edge_agent.session.summary import RunSummary
from edge_agent.session.vision import Seen, VisionThread
from edge_agent.tracking.detector_selection import detector_manifest, load_selected, select_detector
from edge_agent.tracking.pipeline import FramePipeline
from edge_agent.tracking.search import FaceSearch
from privacy.crypto.keys import PoolPublicKey
from privacy.crypto.sealing import SessionSealer
from privacy.governance.receipts import ReceiptClaims, receipt_digest
from privacy.protocol import limits
from privacy.protocol.ids import SessionId, TenantId
from privacy.protocol.messages import MINOR
from privacy.protocol.payload import max_content_bytes
from privacy.protocol.sender import SenderSession

HTTP_UNAUTHORISED, HTTP_GONE = 401, 410
RENEW_KEY_BEFORE_US = 30 * 60 * 1_000_000
"""Three epochs before a pool key ends its successor is asked for; the platform makes it an hour before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """Proof that the camera may open.

    Attributes:
        join: what the platform said about the session.
        receipt: the signed receipt.
        claims: what it agrees to.
        device_key: whose public half it names.
        clock: the platform's time.
    """

    join: JoinInfo
    receipt: str
    claims: ReceiptClaims
    device_key: Ed25519PrivateKey
    clock: PlatformClock


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run did, and what ended it.

    Attributes:
        summary: its figures.
        error: what ended it early, None at its proper end.
    """

    summary: RunSummary
    error: AgentError | None


class PoolKeys:
    """The classifiers' key for the next epoch; a film may outlast the key that it began with."""

    def __init__(self, permission: Permission, fetch: Callable[[], JoinInfo]) -> None:
        self._join, self._clock, self._fetch = permission.join, permission.clock, fetch

    def current(self) -> PoolPublicKey:
        """Give the key that is valid longest.

        Raises:
            PlatformError: none is valid any more.
        """
        return pool_key(self._join, now_utc_us=self._clock.utc_us())

    async def renew(self) -> None:
        """Ask for a later bundle if the key ends soon; without an answer the present one goes on."""
        with contextlib.suppress(PlatformError):
            if self.current().not_after_utc_us - self._clock.utc_us() > RENEW_KEY_BEFORE_US:
                return
        with contextlib.suppress(PlatformError):
            found = await asyncio.to_thread(self._fetch)
            if found.signing_public_key == self._join.signing_public_key:
                self._join = found


def ask_receipt(invite: Invite, api: ApiClient, store: CredentialStore) -> Permission:
    """Check consent before any device is touched.

    Raises:
        ConsentMissingError: there is no receipt that allows this.
        PlatformError: the platform refuses or does not answer.
    """
    join = api.join()
    clock = PlatformClock(join.server_utc_us)
    receipt, device_key = store.receipt(invite.session), store.device_key(invite.session)
    claims = check_receipt(receipt, join, invite=invite, device_key=device_key, now_utc_us=clock.utc_us())
    if receipt is None or device_key is None:
        raise ConsentMissingError("there is no consent for this session yet")
    return Permission(join=join, receipt=receipt, claims=claims, device_key=device_key, clock=clock)


async def run_agent(
    settings: RunSettings, *, stop: asyncio.Event, show_status: Callable[[str], None]
) -> RunResult:
    """Run one session from consent check to summary.

    Args:
        settings: see there.
        stop: ends the run in order when set.
        show_status: takes the live status line, once a second.

    Raises:
        AgentError: whatever keeps the run from starting. Once frames flow, an error ends the run and is
            named in the summary's `exit_reason`.
    """
    forbid_core_dumps()
    quiet_opencv()
    store, api = CredentialStore(settings.home), ApiClient(settings.invite)
    if store.has_begun(settings.invite.session):
        # Frame numbers would begin again at 0, and new frames would hide behind old ones.
        raise InviteError(
            "this session was begun here before and cannot be taken up again; ask for a new invitation"
        )
    permission = await asyncio.to_thread(ask_receipt, settings.invite, api, store)
    manifest = detector_manifest()
    choice = await asyncio.to_thread(select_detector, settings.detector, store.home, manifest)
    network = load_selected(choice, manifest)
    search = FaceSearch(network)
    source = await asyncio.to_thread(open_source, settings.camera, fps=settings.fps)
    media = MediaClock(camera_delay_us=settings.camera_delay_ms * 1000)
    keys = PoolKeys(permission, api.join)
    context = SendContext(
        factories=_factories(settings, api, permission, keys),
        new_sealer=partial(_new_sealer, settings, store, permission, keys),
        media=media,
        detector_id=network.detector_id,
        consent_until_utc_us=permission.claims.expires_utc_us,
        now_us=monotonic_us,
        utc_us=permission.clock.utc_us,
        is_withdrawn=partial(store.has_withdrawn, settings.invite.session),
    )
    sender = SendLoop(context, SenderSession(last_epoch=store.last_epoch(settings.invite.session)))
    try:
        await sender.connect()
    except BaseException:
        source.close()
        raise
    capture, vision = _threads(settings, source, search, sender)
    store.store_begun(settings.invite.session)
    run = LiveRun(settings, sender=sender, capture=capture, vision=vision, media=media)
    reason, error = await run.until_over(stop, show_status)
    summary = run.summary(
        reason, detector=choice.variant, detector_id=network.detector_id, inferences=search.inferences
    )
    return RunResult(summary=summary, error=error)


def _threads(
    settings: RunSettings, source: CameraDevice | VideoFile, search: FaceSearch, sender: SendLoop
) -> tuple[CaptureThread, VisionThread]:
    """Join camera, vision and sender; nothing runs yet."""
    slot = LatestFrame()
    capture = CaptureThread(
        source,
        reopen=partial(_reopen, settings),
        slot=slot,
        now_us=monotonic_us,
        settings=CaptureSettings(loop=settings.loop),
    )
    events = asyncio.get_running_loop()

    def deliver(seen: Seen) -> None:
        with contextlib.suppress(RuntimeError):
            events.call_soon_threadsafe(sender.on_seen, seen)

    pipeline = FramePipeline(search, content_limit_bytes=max_content_bytes())
    return capture, VisionThread(slot, pipeline, deliver=deliver)


def _reopen(settings: RunSettings) -> CameraDevice:
    return CameraDevice(int(settings.camera), fps=settings.fps)


def _factories(
    settings: RunSettings, api: ApiClient, permission: Permission, keys: PoolKeys
) -> LinkFactories:
    digest = receipt_digest(permission.receipt).hex()
    granted: list[IceServer] = []
    platform_minor = 0

    async def ticket() -> tuple[str, str]:
        nonlocal platform_minor
        await keys.renew()
        try:
            found = await asyncio.to_thread(api.ticket, receipt_sha256=digest)
        except PlatformError as error:
            if error.status in (HTTP_UNAUTHORISED, HTTP_GONE):
                raise RevokedError(
                    "the session is over: consent withdrawn or expired, or the session closed"
                ) from None
            raise
        granted[:] = found.ice_servers
        platform_minor = found.protocol_minor
        return found.ticket, found.ingest_url

    def peer(on_control: Callable[[bytes], None], on_closed: Callable[[], None]) -> AiortcPeer:
        servers: list[str | IceServer] = [*settings.ice_servers, *granted]
        return AiortcPeer(ice_servers=servers, on_control=on_control, on_closed=on_closed)

    return LinkFactories(
        ticket=ticket, signalling=SignallingClient.open, peer=peer, minor=lambda: min(platform_minor, MINOR)
    )


def _new_sealer(
    settings: RunSettings, store: CredentialStore, permission: Permission, keys: PoolKeys, epoch: int
) -> SessionSealer:
    now_utc_us = permission.clock.utc_us()
    # The epoch is written down before it is used: a number that was ever sealed under must not return.
    store.store_epoch(settings.invite.session, epoch)
    key = keys.current()
    return SessionSealer.start(
        key,
        session=SessionId(settings.invite.session),
        tenant=TenantId(settings.invite.tenant),
        epoch=epoch,
        receipt=permission.receipt,
        device_key=permission.device_key,
        not_after_utc_us=min(
            now_utc_us + limits.EPOCH_MAX_S * 1_000_000,
            key.not_after_utc_us,
            permission.claims.expires_utc_us,
        ),
    )
