"""What ends a run, and what the run says about it."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from edge_agent.camera.capture import CaptureSettings, CaptureThread
from edge_agent.camera.latest import LatestFrame
from edge_agent.camera.presentation import Moment
from edge_agent.errors import CameraError, CameraLostError, DetectorError, RevokedError
from edge_agent.session.latency import CommitDelays, DelayHistogram
from edge_agent.session.live_run import LiveRun
from edge_agent.session.playback import MediaClock
from edge_agent.session.send import PARTING_US
from edge_agent.session.vision import VisionThread
from privacy.protocol.messages import SkipReason
from privacy.protocol.sender import SenderSession

PICTURE = np.zeros((48, 64, 3), np.uint8)


class Camera:
    """Implements `FrameSource`: a device that stops giving frames."""

    fps = 500.0

    def __init__(self, frames):
        self.left = frames

    def read(self):
        self.left -= 1
        return PICTURE if self.left >= 0 else None

    def close(self):
        pass


class Film(Camera):
    """Implements `Recording`: a file that ends, cut off or in order."""

    def __init__(self, frames, *, end_problem=None):
        super().__init__(frames)
        self.end_problem, self.at_us = end_problem, -2000

    def next_moment(self):
        self.at_us += 2000
        picture = self.read()
        return None if picture is None else Moment(media_us=self.at_us, picture=picture)

    def picture(self, moment):
        return moment.picture

    def hurry(self, until_us):
        pass

    def rewind(self):
        return False


class Sender:
    """Stands for `SendLoop`: counts outcomes as its session would, seals nothing."""

    def __init__(self):
        self.session, self.fatal, self.is_connected, self.is_closed = SenderSession(), None, True, False
        self.second_face_frames = self.second_face_intervals = self.reconnects = self.envelope_max_bytes = 0
        self.delays, self.ages, self.steps = CommitDelays(), DelayHistogram(), {}

    async def run(self):
        await asyncio.Event().wait()

    def on_seen(self, seen):
        self.session.frame_skipped(
            seen.outcome.frame, segment=0, media_time_us=0, reason=SkipReason.NO_FACE, has_face=False
        )

    def on_captured(self, frames, *, now_us):
        self.captured = frames

    async def close(self, *, parting_us):
        self.is_closed, self.parting_us = True, parting_us


class Eyes:
    """Stands for the pipeline."""

    def __init__(self, error=None):
        self.error = error

    def look_at(self, frame):
        if self.error:
            raise self.error
        return SimpleNamespace(frame=frame.index)


def start(camera, *, reopen=None, eyes=None, duration_s=None, lost_max_us=0):
    sender, slot, media, clock = Sender(), LatestFrame(), MediaClock(), iter(range(0, 10**12, 2000))
    capture = CaptureThread(
        camera,
        reopen=reopen or (lambda: camera),
        slot=slot,
        now_us=lambda: next(clock),
        settings=CaptureSettings(lost_max_us=lost_max_us),
    )
    vision = VisionThread(slot, eyes or Eyes(), deliver=sender.on_seen)
    settings = SimpleNamespace(duration_s=duration_s, invite=SimpleNamespace(session="s"))
    return sender, LiveRun(settings, sender=sender, capture=capture, vision=vision, media=media)


async def over(run, stop=None):
    async with asyncio.timeout(20):
        return await run.until_over(stop or asyncio.Event(), lambda _text: None)


async def test_a_film_ends_the_run_in_order():
    sender, run = start(Film(20))
    assert await over(run) == ("end of video", None)
    assert sender.captured == 20
    assert sender.is_closed
    assert sender.parting_us == PARTING_US


async def test_a_film_that_was_cut_off_ends_the_run_with_an_error_after_all_that_it_held():
    sender, run = start(Film(20, end_problem="film.mp4 was cut off"))
    reason, error = await over(run)
    assert (reason, type(error)) == ("film.mp4 was cut off", CameraError)
    assert sender.captured == 20


async def test_a_camera_that_is_lost_for_good_ends_the_run_and_keeps_what_was_counted():
    def gone():
        raise CameraError("gone")

    sender, run = start(Camera(3), reopen=gone)
    reason, error = await over(run)
    assert isinstance(error, CameraLostError)
    assert "did not come back" in reason
    summary = run.summary(reason, detector="int8", detector_id=1, inferences=0)
    assert (summary.exit_reason, summary.frames_sent) == (reason, 0)
    assert sender.is_closed


@pytest.mark.parametrize(
    ("problem", "kind"), [(DetectorError("broken"), DetectorError), (ValueError("secret"), DetectorError)]
)
async def test_a_detector_that_fails_ends_the_run_without_its_detail(problem, kind):
    _, run = start(Film(10**6), eyes=Eyes(problem))
    reason, error = await over(run)
    assert isinstance(error, kind)
    assert "secret" not in reason


async def test_consent_withdrawn_while_watching_stops_the_camera():
    sender, run = start(Film(10**6))
    sender.fatal = RevokedError("the session was ended: withdrawn")
    reason, error = await over(run)
    assert isinstance(error, RevokedError)
    assert "withdrawn" in reason
    assert not run._capture.is_alive()


async def test_a_run_ends_when_told_to_and_when_its_time_is_over():
    stop = asyncio.Event()
    stop.set()
    sender, run = start(Film(10**6))
    assert await over(run, stop) == ("stopped", None)
    assert sender.parting_us < PARTING_US
    _, run = start(Film(10**6), duration_s=0.05)
    assert await over(run) == ("duration reached", None)
