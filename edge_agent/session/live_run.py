"""One run while frames flow: starts the threads, watches them, adds up what they did."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from itertools import count

from edge_agent.camera.capture import CaptureThread
from edge_agent.clocks import monotonic_us
from edge_agent.config import RunSettings
from edge_agent.errors import AgentError
from edge_agent.session.playback import MediaClock
from edge_agent.session.send import PARTING_US, SendLoop
from edge_agent.session.summary import RunSummary, status_line
from edge_agent.session.usage import resident_max_mb, resident_mb
from edge_agent.session.vision import VisionThread

STATUS_EVERY_S = 1.0
PARTING_WHEN_STOPPED_US = 2_000_000
"""Whoever stops the agent waits for it; the end of a film hurries nobody (`PARTING_US`)."""


class LiveRun:
    """The threads and the sender of one run."""

    def __init__(
        self,
        settings: RunSettings,
        *,
        sender: SendLoop,
        capture: CaptureThread,
        vision: VisionThread,
        media: MediaClock,
    ) -> None:
        self._settings = settings
        self._sender = sender
        self._capture = capture
        self._vision = vision
        self._media = media
        self._started_us = self._ended_us = monotonic_us()
        self._cpu_start_s = time.process_time()
        self._cpu_end_s = self._cpu_start_s

    async def until_over(
        self, stop: asyncio.Event, show_status: Callable[[str], None]
    ) -> tuple[str, AgentError | None]:
        """Run until stopped, over or broken; return why in words, and the error if it was one."""
        self._begin_playback()
        sending = asyncio.create_task(self._sender.run())
        self._capture.start()
        self._vision.start()
        try:
            found = await self._watch(stop, show_status)
        finally:
            self._capture.stop()
            await asyncio.to_thread(self._join_threads)
            self._ended_us, self._cpu_end_s = monotonic_us(), time.process_time()
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            # Outcomes that the vision thread handed over last are still on their way.
            await asyncio.sleep(0)
            # What a file still had lies before its end, however late this process was woken.
            ended_us = self._capture.ended_us or self._ended_us
            self._sender.on_captured(self._capture.next_index, now_us=ended_us)
            await self._sender.close(parting_us=PARTING_WHEN_STOPPED_US if stop.is_set() else PARTING_US)
        return found

    def _begin_playback(self) -> None:
        self._started_us, self._cpu_start_s = monotonic_us(), time.process_time()
        segment = self._media.begin(self._started_us)
        self._sender.session.start_segment(
            segment.number,
            media_time_us=segment.media_time_us,
            monotonic_us=segment.monotonic_us,
            rate_permille=segment.rate_permille,
        )

    async def _watch(
        self, stop: asyncio.Event, show_status: Callable[[str], None]
    ) -> tuple[str, AgentError | None]:
        limit_s = self._settings.duration_s
        shown, shown_us = 0, self._started_us
        for tick in count():
            elapsed_s = (monotonic_us() - self._started_us) / 1e6
            for error in (self._sender.fatal, self._capture.error, self._vision.error):
                if error is not None:
                    return str(error), error
            if not self._vision.is_alive():
                return "end of video", None
            if stop.is_set():
                return "stopped", None
            if limit_s is not None and elapsed_s >= limit_s:
                return "duration reached", None
            if tick % 20 == 19:
                captured, now_us = self._sender.session.counters().captured, monotonic_us()
                show_status(self._status(fps=1e6 * (captured - shown) / max(1, now_us - shown_us)))
                shown, shown_us = captured, now_us
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STATUS_EVERY_S / 20):
                    await stop.wait()
        return "stopped", None

    def _status(self, *, fps: float) -> str:
        counters = self._sender.session.counters()
        return status_line(
            captured=counters.captured,
            with_face=counters.with_face,
            sent=counters.sent,
            acked=self._sender.session.acked,
            fps=fps,
            skipped=counters.skipped,
            connected=self._sender.is_connected,
            refused=self._sender.session.refused,
        )

    def _join_threads(self) -> None:
        for thread in (self._capture, self._vision):
            if thread.is_alive():
                thread.join(timeout=5.0)

    def summary(self, reason: str, *, detector: str, detector_id: int, inferences: int) -> RunSummary:
        """Add up the run."""
        sender = self._sender
        counters = sender.session.counters()
        wall_s = max(1e-6, (self._ended_us - self._started_us) / 1e6)
        looked_at = (
            counters.captured - counters.skipped.get("overload", 0) - counters.skipped.get("camera_lost", 0)
        )
        return RunSummary(
            session=str(self._settings.invite.session),
            frames_captured=counters.captured,
            frames_with_face=counters.with_face,
            frames_sent=counters.sent,
            frames_acked=sender.session.acked,
            skipped=dict(counters.skipped),
            second_face_frames=sender.second_face_frames,
            second_face_intervals=sender.second_face_intervals,
            duration_s=round(wall_s, 3),
            fps=round(looked_at / wall_s, 2),
            latency_ms=sender.delays.histogram.summary(),
            send_age_ms=sender.ages.summary(),
            detector=detector,
            detector_id=detector_id,
            inferences=inferences,
            agent_core_share=round((self._cpu_end_s - self._cpu_start_s) / wall_s, 4),
            capture_core_share=round(self._capture.busy_cpu_s / wall_s, 4),
            vision_core_share=round(self._vision.busy_cpu_s / wall_s, 4),
            rss_mb=resident_mb(),
            rss_max_mb=resident_max_mb(),
            envelope_max_bytes=sender.envelope_max_bytes,
            encoding_steps=dict(sender.steps),
            reconnects=sender.reconnects,
            exit_reason=reason,
            refused=dict(sender.session.refused),
        )
