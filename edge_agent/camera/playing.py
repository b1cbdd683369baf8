"""Play a recording in real time: each picture when it is due, or passed over, never late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from edge_agent.camera.frames import UInt8Array
from edge_agent.camera.presentation import Moment

LATE_MIN_US = 133_000
"""Lateness up to four frames at 30 a second is caught up with; beyond it, what nobody read in time has passed."""

LATE_MIN_PERIODS = 1.5
HURRY_LATE_US = 500_000


@runtime_checkable
class Recording(Protocol):
    """A file that is played; `adapters.video_file.VideoFile` is one."""

    @property
    def fps(self) -> float:
        """Frames taken a second, as far as the file tells."""

    @property
    def end_problem(self) -> str | None:
        """What is wrong with the end of the file, in words; None where it is whole."""

    def next_moment(self) -> Moment[Any] | None:
        """Return the next moment, with or without a picture; None at the end."""

    def picture(self, moment: Moment[Any]) -> UInt8Array:
        """Return what a moment shows."""

    def hurry(self, until_us: int | None) -> None:
        """Decode only what is needed to get to a media time; None decodes everything again."""

    def rewind(self) -> bool:
        """Go back to the first picture; False if that cannot be done."""

    def close(self) -> None:
        """Let go of the file."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Due:
    """What is due now.

    Attributes:
        passed: moments before it that had passed unread, as they would have on a camera.
        at_us: when it was due, on this machine's monotonic clock; at the end, when the last one was.
        picture: uint8 of shape (h, w, 3), B, G, R; None where the recording has nothing to show.
        is_end: nothing is due any more, `passed` only tells of the last moments.
    """

    passed: int
    at_us: int
    picture: UInt8Array | None = None
    is_end: bool = False


class Player:
    """Keeps a recording to the clock.

    Args:
        recording: already opened, so that a wrong file is an error before anything starts.
        start_us: when its first picture is due, on this machine's monotonic clock.
        now_us: that clock.
        wait_s: waits that long, or less where playing shall end; tells whether it shall.
        loop: begin again at the end.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        start_us: int,
        now_us: Callable[[], int],
        wait_s: Callable[[float], bool],
        loop: bool,
    ) -> None:
        self._recording = recording
        self._round_us = start_us
        self._last_us = 0
        self._now_us = now_us
        self._wait_s = wait_s
        self._loop = loop
        self._is_hurrying = False

    def next_due(self) -> Due:
        """Return the next moment, when it is due.

        Raises:
            CameraError: its picture cannot be read.
        """
        moment, passed, late_before_us = self._next_moment(), 0, None
        while moment is not None:
            late_us = self._now_us() - self._due_us(moment)
            if late_us <= max(LATE_MIN_US, LATE_MIN_PERIODS * 1e6 / self._recording.fps):
                self._hurry(None)
                break
            if late_before_us is not None and late_us >= late_before_us and late_us > HURRY_LATE_US:
                # Decoding everything does not catch up; so that something is seen, this one is shown late.
                self._hurry(late_us + moment.media_us)
                break
            late_before_us, until_us = late_us, self._now_us()
            while moment is not None and self._due_us(moment) < until_us - LATE_MIN_US:
                moment, passed = (None if self._wait_s(0) else self._next_moment()), passed + 1
        if moment is None:
            return Due(passed=passed, at_us=self._round_us + self._last_us, is_end=True)
        picture = None if moment.picture is None else self._recording.picture(moment)
        due_us = self._due_us(moment)
        self._wait_s(max(0, due_us - self._now_us()) / 1e6)
        return Due(passed=passed, at_us=due_us, picture=picture)

    def _due_us(self, moment: Moment[Any]) -> int:
        return self._round_us + moment.media_us

    def _hurry(self, until_us: int | None) -> None:
        if until_us is not None or self._is_hurrying:
            self._recording.hurry(until_us)
        self._is_hurrying = until_us is not None

    def _next_moment(self) -> Moment[Any] | None:
        moment = self._recording.next_moment()
        if moment is None and self._loop and self._recording.rewind():
            # The last picture is shown as long as the others before the first one comes again.
            self._round_us += self._last_us + round(1e6 / self._recording.fps)
            moment = self._recording.next_moment()
        if moment is not None:
            self._last_us = moment.media_us
        return moment
