"""An agent without a camera: the same crops for the same frames, whatever happens on the way.

It is the real agent from the seal onwards (consent, epochs, channels, resend ring, gaps); only camera and
detector are replaced by a fixed sequence of crops, so that two runs can be compared frame by frame. It runs as
a process of its own: `python -m tests.e2e.replay INVITE HOME FRAMES FPS KIND PACE`.

The kinds: `mixed` alternates colour JPEG, grey JPEG and raw grey; `raw` sends raw grey 48 only, each crop with the
same watermark in one row, which a search for plaintext can look for; `hostile` is `mixed` with what
`tests.e2e.hostile` sends in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from edge_agent.app import PoolKeys, _factories, _new_sealer, ask_receipt
from edge_agent.clocks import monotonic_us
from edge_agent.config import RunSettings
from edge_agent.consent.api_client import ApiClient
from edge_agent.consent.credential_store import CredentialStore
from edge_agent.invite import parse_invite
from edge_agent.session.playback import PlaybackSegment
from edge_agent.session.send import SendContext, SendLoop
from edge_agent.session.vision import Seen
from edge_agent.tracking.crop_encoding import EncodedCrop, Step
from edge_agent.tracking.pipeline import Outcome
from edge_agent.tracking.schedule import Look
from models.face_crop.quality import Pose, Quality
from privacy.protocol.envelope import Codec
from privacy.protocol.messages import SkipReason
from privacy.protocol.sender import SenderSession
from tests.e2e.hostile import attack

STEP_US = 33_333
UNACKED_MAX = 60
"""An undisturbed run never has more than this on the way, so that nothing of it is ever dropped."""

CHANNEL_WAIT_S = 0.2
PATIENCE_S = 10.0
WATERMARK_ROW = 20
RAW_SIDE_PX = 48
STEPS = (
    Step(name="rgb96_q75", codec=Codec.JPEG_RGB, side_px=96, quality=75),
    Step(name="grey96_q75", codec=Codec.JPEG_GRAY, side_px=96, quality=75),
    Step(name="raw48", codec=Codec.RAW_GRAY, side_px=RAW_SIDE_PX, quality=0),
)


def watermark() -> bytes:
    """Give 48 bytes that no machine holds by accident."""
    return np.random.default_rng(20_260_301).integers(0, 256, RAW_SIDE_PX, np.uint8).tobytes()


def crop_of(frame: int, kind: str) -> EncodedCrop:
    """Give the crop of a frame: a smooth random picture, different for each, the same in every run."""
    step = STEPS[2] if kind == "raw" else STEPS[frame % 3]
    small = np.random.default_rng(frame).integers(0, 256, (6, 6, 3), np.uint8)
    picture = cv2.resize(small, (step.side_px, step.side_px), interpolation=cv2.INTER_CUBIC)
    if step.codec is not Codec.JPEG_RGB:
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    if step.codec is not Codec.RAW_GRAY:
        done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, step.quality])
        assert done
        return EncodedCrop(content=encoded.tobytes(), step=step)
    if kind == "raw":
        picture[WATERMARK_ROW] = np.frombuffer(watermark(), np.uint8)
    return EncodedCrop(content=picture.tobytes(), step=step)


def outcome_of(frame: int, kind: str) -> Outcome:
    """Give what the vision thread would have said of a frame."""
    quality = Quality(
        pose=Pose(yaw_deg=frame % 30, pitch_deg=0, roll_deg=0),
        eyes_px=40.0,
        brightness=120,
        sharpness=80,
        score=200,
        attention=frame % 256,
    )
    return Outcome(
        frame=frame,
        monotonic_us=monotonic_us(),
        faces=1,
        skip=None,
        crop=crop_of(frame, kind),
        quality=quality,
        score=0.9,
        look=Look.SCAN,
    )


class FrameClock:
    """A media clock that follows the frames, not the time; stands in for `MediaClock`."""

    frame = 0

    def begin(self, monotonic_us: int) -> PlaybackSegment:
        return PlaybackSegment(number=0, media_time_us=0, monotonic_us=monotonic_us, rate_permille=1000)

    def locate(self, _monotonic_us: int) -> tuple[int, int]:
        return 0, self.frame * STEP_US


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to send; a patient run waits for acks rather than lose anything."""

    frames: int
    fps: float
    kind: str
    is_patient: bool


async def replay(settings: RunSettings, plan: Plan) -> None:
    """Send all crops and end in order."""
    store, api = CredentialStore(settings.home), ApiClient(settings.invite)
    permission = await asyncio.to_thread(ask_receipt, settings.invite, api, store)
    keys, media = PoolKeys(permission, api.join), FrameClock()
    context = SendContext(
        factories=_factories(settings, api, permission, keys),
        new_sealer=partial(_new_sealer, settings, store, permission, keys),
        media=media,
        detector_id=1,
        consent_until_utc_us=permission.claims.expires_utc_us,
        now_us=monotonic_us,
        utc_us=permission.clock.utc_us,
    )
    sender = SendLoop(context, SenderSession(last_epoch=store.last_epoch(settings.invite.session)))
    await sender.connect()
    segment = media.begin(monotonic_us())
    sender.session.start_segment(
        segment.number,
        media_time_us=segment.media_time_us,
        monotonic_us=segment.monotonic_us,
        rate_permille=segment.rate_permille,
    )
    sending = asyncio.create_task(sender.run())
    try:
        await _send_all(sender, media, plan)
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await sender.close()
    (settings.home / "refused.json").write_text(json.dumps(sender.session.refused))
    if sender.fatal is not None:
        raise sender.fatal


async def _send_all(sender: SendLoop, media: FrameClock, plan: Plan) -> None:
    began_us = monotonic_us()
    for frame in range(plan.frames):
        due_us = began_us + int(frame * 1e6 / plan.fps)
        await asyncio.sleep(max(0, due_us - monotonic_us()) / 1e6)
        if plan.is_patient:
            await _until(lambda: sender.session.unacked <= UNACKED_MAX)
        # a replay has no newer frame to prefer: it waits a moment rather than skip one as busy
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S if plan.is_patient else CHANNEL_WAIT_S):
                await _until(lambda: sender._link is None or not sender._link.peer.buffered_bytes)
        media.frame = frame
        sender.on_seen(Seen(outcome=outcome_of(frame, plan.kind), missed=SkipReason.OVERLOAD))
        if plan.kind == "hostile":
            attack(sender, frame)
    if plan.is_patient:
        await _until(lambda: not sender.session.unacked)


async def _until(holds: Callable[[], bool]) -> None:
    while True:
        if holds():
            return
        await asyncio.sleep(0.005)


def main() -> None:
    """Replay as the command line says."""
    invite, home, frames, fps, kind, pace = sys.argv[1:]
    settings = RunSettings(invite=parse_invite(invite), camera="replay", home=Path(home))
    plan = Plan(frames=int(frames), fps=float(fps), kind=kind, is_patient=pace == "patient")
    asyncio.run(replay(settings, plan))


if __name__ == "__main__":
    main()
