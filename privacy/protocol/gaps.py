"""Fold skipped frames into gaps: one message for a run of frames with one reason (protocol rule R2)."""

from __future__ import annotations

from privacy.protocol.messages import Gap

OPEN_MAX_FRAMES = 150
"""A longer run is reported in parts, so that a timeline shows it while it lasts: 5 s at 30 fps."""


class GapFolder:
    """Takes skipped frames in ascending order and gives closed gaps."""

    def __init__(self, *, open_max_frames: int = OPEN_MAX_FRAMES) -> None:
        self._open: Gap | None = None
        self._open_max_frames = open_max_frames

    def add(self, frame: int, *, segment: int, media_time_us: int, reason: str) -> list[Gap]:
        """Take one skipped frame; give what it closed."""
        run = self._open
        if (
            run is not None
            and run.last_frame + 1 == frame
            and (run.segment, run.reason) == (segment, reason)
            and frame - run.first_frame < self._open_max_frames
        ):
            self._open = Gap(
                first_frame=run.first_frame,
                last_frame=frame,
                segment=segment,
                media_time_us=run.media_time_us,
                reason=reason,
            )
            return []
        closed = self.close()
        self._open = Gap(
            first_frame=frame, last_frame=frame, segment=segment, media_time_us=media_time_us, reason=reason
        )
        return closed

    def close(self) -> list[Gap]:
        """End the open run, if there is one."""
        closed = [] if self._open is None else [self._open]
        self._open = None
        return closed
