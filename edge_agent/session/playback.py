"""The media clock: capture time to position in the film, through pause, seek and rate change."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

SEGMENTS_MAX = 65_535
"""The segment number is sixteen bits wide on the wire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybackSegment:
    """A stretch of time in which the film advances at one rate.

    Attributes:
        number: from 0, in order.
        media_time_us: position in the film where the segment begins.
        monotonic_us: when it begins on this machine's monotonic clock.
        rate_permille: 1000 plays at the film's own speed, 0 is a pause.
    """

    number: int
    media_time_us: int
    monotonic_us: int
    rate_permille: int

    def media_time(self, monotonic_us: int) -> int:
        """Return the position in the film at a moment of this segment, in microseconds."""
        return self.media_time_us + (monotonic_us - self.monotonic_us) * self.rate_permille // 1000


class MediaClock:
    """All segments of one session.

    Args:
        camera_delay_us: time from light to frame; subtracted, so that a frame is matched with the
            picture that its viewer saw.
    """

    def __init__(self, *, camera_delay_us: int = 0) -> None:
        self._segments: list[PlaybackSegment] = []
        self._delay_us = camera_delay_us

    @property
    def segments(self) -> tuple[PlaybackSegment, ...]:
        """Every segment so far, in order."""
        return tuple(self._segments)

    def begin(
        self, monotonic_us: int, *, media_time_us: int | None = None, rate_permille: int = 1000
    ) -> PlaybackSegment:
        """Open a segment: at the start, and on every pause, seek, stall and rate change.

        Args:
            monotonic_us: now; not before the latest segment's beginning.
            media_time_us: where the film stands; None carries on from where the latest segment got to.
            rate_permille: speed from now on, 0..8000.

        Raises:
            ValueError: time runs backwards, or the rate is out of range.
        """
        if not 0 <= rate_permille <= 8000:
            raise ValueError("a playback rate lies in 0..8000 permille")
        latest = self._segments[-1] if self._segments else None
        if latest is not None and monotonic_us < latest.monotonic_us:
            raise ValueError("a segment cannot begin before the one it follows")
        if media_time_us is None:
            media_time_us = latest.media_time(monotonic_us) if latest is not None else 0
        segment = PlaybackSegment(
            number=min(len(self._segments), SEGMENTS_MAX),
            media_time_us=media_time_us,
            monotonic_us=monotonic_us,
            rate_permille=rate_permille,
        )
        self._segments.append(segment)
        return segment

    def locate(self, monotonic_us: int) -> tuple[int, int]:
        """Return the segment number and media time of a frame captured at `monotonic_us`.

        A frame older than the first segment belongs to it: its media time may be negative.

        Raises:
            ValueError: no segment has begun.
        """
        if not self._segments:
            raise ValueError("no playback segment has begun")
        seen_us = monotonic_us - self._delay_us
        at = bisect_right(self._segments, seen_us, key=lambda s: s.monotonic_us)
        segment = self._segments[max(0, at - 1)]
        return segment.number, segment.media_time(seen_us)
