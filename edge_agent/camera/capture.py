"""The capture thread: reads the camera, numbers frames, offers the newest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.camera.frames import Frame, UInt8Array, as_bgr
from edge_agent.camera.latest import Absent, Captured, LatestFrame
from edge_agent.camera.playing import Player, Recording
from edge_agent.camera.sampling import overrun_frames, reopen_wait_us
from edge_agent.camera.source import FrameSource
from edge_agent.errors import AgentError, CameraError, CameraLostError, FrameError
from privacy.protocol.messages import SkipReason

TAKEN_WITHIN_S = 1 / 30
"""How long a file's frame waits for the one before it to be looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureSettings:
    """How long to go on.

    Attributes:
        loop: play a file again from its start.
        lost_max_us: give up this long after a camera stopped giving frames.
    """

    loop: bool = False
    lost_max_us: int = 60_000_000


class CaptureThread(threading.Thread):
    """Owns the device; everything else sees frames only.

    Attributes:
        error: why capture ended early, None at the end of a file or after `stop`.
        ended_us: when a file's last frame was due, on the monotonic clock; None before its end.
        busy_cpu_s: CPU time of this thread so far: decoding, for a file.
    """

    def __init__(
        self,
        source: FrameSource | Recording,
        *,
        reopen: Callable[[], FrameSource],
        slot: LatestFrame,
        now_us: Callable[[], int],
        settings: CaptureSettings,
    ) -> None:
        """Take over an open source.

        Args:
            source: already opened, so that a wrong camera is an error before anything starts.
            reopen: opens the same camera again after it was lost.
            slot: where frames go.
            now_us: this machine's monotonic clock, in microseconds.
            settings: see there.
        """
        super().__init__(name="capture", daemon=True)
        self._source = source
        self._reopen = reopen
        self._slot = slot
        self._now_us = now_us
        self._settings = settings
        self._stopped = threading.Event()
        self._index = 0
        self.error: AgentError | None = None
        self.ended_us: int | None = None
        self.busy_cpu_s = 0.0

    def stop(self) -> None:
        """End capture soon; the device is closed by the thread itself."""
        self._stopped.set()

    @property
    def next_index(self) -> int:
        """Frames of the source's schedule so far, captured or missed; those passed over at the very end included."""
        return self._index

    def run(self) -> None:
        """Read until stopped, or until the source ends for good."""
        try:
            if isinstance(self._source, Recording):
                self._run_file(self._source)
            else:
                self._run_camera(self._source)
        except AgentError as error:
            self.error = error
        except Exception as error:
            # Outermost loop of this thread: the run must end with a reason, whatever a driver raises.
            self.error = CameraError(f"capture failed: {type(error).__name__}")
        finally:
            self._source.close()
            self._slot.close()

    def _run_camera(self, camera: FrameSource) -> None:
        period_us = 1_000_000 / camera.fps
        missed = SkipReason.OVERLOAD
        seen_us = self._now_us()
        while not self._stopped.is_set():
            picture = camera.read()
            now_us = self._now_us()
            if picture is None:
                camera = self._recover(camera, seen_us)
                missed = SkipReason.CAMERA_LOST
                continue
            stalled = overrun_frames(now_us - seen_us, period_us=period_us, tolerance_frames=15)
            if stalled:
                missed = SkipReason.CAMERA_LOST
            self._index += stalled
            self._offer(picture, now_us, missed)
            seen_us, missed = now_us, SkipReason.OVERLOAD

    def _recover(self, camera: FrameSource, seen_us: int) -> FrameSource:
        camera.close()
        attempt = 0
        while not self._stopped.is_set():
            if self._now_us() - seen_us > self._settings.lost_max_us:
                raise CameraLostError("the camera stopped giving frames and did not come back")
            self._stopped.wait(reopen_wait_us(attempt) / 1e6)
            attempt += 1
            try:
                self._source = camera = self._reopen()
            except CameraError:
                continue
            return camera
        return camera

    def _run_file(self, recording: Recording) -> None:
        player = Player(
            recording,
            start_us=self._now_us(),
            now_us=self._now_us,
            wait_s=self._stopped.wait,
            loop=self._settings.loop,
        )
        while True:
            due = player.next_due()
            # The frames that nobody read in time have passed, as they would have on a camera.
            self._index += due.passed
            if due.is_end or self._stopped.is_set():
                break
            # After a hiccup several are due at once; each is looked at as long as they are not too late.
            self._slot.wait_taken(timeout_s=TAKEN_WITHIN_S)
            if due.picture is None:
                absent = Absent(index=self._index, monotonic_us=due.at_us, missed=SkipReason.CAMERA_LOST)
                self._index += 1
                self._slot.put(absent)
            else:
                self._offer(due.picture, due.at_us, SkipReason.OVERLOAD)
        if due.is_end:
            self.ended_us = due.at_us
        if due.is_end and recording.end_problem is not None:
            raise CameraError(recording.end_problem)

    def _offer(self, picture: UInt8Array, captured_us: int, missed: SkipReason) -> None:
        try:
            pixels = as_bgr(picture)
        except FrameError as error:
            raise CameraError(str(error)) from None
        frame = Frame(pixels=pixels, index=self._index, monotonic_us=captured_us)
        self._index += 1
        self._slot.put(Captured(frame=frame, missed=missed))
        self.busy_cpu_s = time.thread_time()
