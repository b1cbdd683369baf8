"""A queue of one: the newest frame wins, an older one is never waited for."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from edge_agent.camera.frames import Frame
from privacy.protocol.messages import SkipReason


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Captured:
    """A frame, with what happened between it and the one before.

    Attributes:
        frame: the picture.
        missed: why frames between the previous index and this one were not captured.
    """

    frame: Frame
    missed: SkipReason = SkipReason.OVERLOAD


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A frame of the source's schedule that has no picture.

    Attributes:
        index: its number in the session.
        monotonic_us: when it would have been captured, on this machine's monotonic clock.
        missed: why there is none; also of those between the previous index and this one.
    """

    index: int
    monotonic_us: int
    missed: SkipReason


class LatestFrame:
    """Hands frames from the capture thread to the vision thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: Captured | Absent | None = None
        self._closed = False

    def put(self, item: Captured | Absent) -> None:
        """Offer a frame; one that was not taken yet is dropped."""
        with self._condition:
            lost = self._item
            if lost is not None and lost.missed is SkipReason.CAMERA_LOST:
                item = replace(item, missed=SkipReason.CAMERA_LOST)
            self._item = item
            self._condition.notify_all()

    def take(self, *, timeout_s: float) -> Captured | Absent | None:
        """Wait for a frame; None if none came in time, or after `close`."""
        with self._condition:
            if self._item is None and not self._closed:
                self._condition.wait(timeout_s)
            item, self._item = self._item, None
            self._condition.notify_all()
            return item

    def wait_taken(self, *, timeout_s: float) -> None:
        """Wait until the latest frame was taken, or as long as said; a file can wait where a camera cannot."""
        with self._condition:
            self._condition.wait_for(lambda: self._item is None or self._closed, timeout_s)

    def close(self) -> None:
        """No more frames will come."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether the last frame was offered and taken."""
        with self._condition:
            return self._closed and self._item is None
