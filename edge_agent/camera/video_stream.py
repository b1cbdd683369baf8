"""Decode one stream of a container to its end, whatever is broken on the way."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from edge_agent.camera.deinterlacing import Deinterlacer
from edge_agent.camera.presentation import Decoded

_READ_FAILURES_MAX = 64
_FAULTS_MAX = 3
_PENDING_MAX = 512
"""More packets than any codec reorders: what was to be shown so long ago will not come out any more."""


_WITHOUT_PRESENTATION_TIMES = {"avi", "h264", "hevc", "mpegvideo"}
"""Containers that number pictures in the order in which they are decoded; what stands for more is guesswork."""


class StampChoice:
    """Which of a frame's two time stamps tells when it is shown.

    A decoder gives pictures in order of presentation. Where presentation times do not ascend, they are wrong, and
    the times of decoding, which then ascend with the pictures, are taken.

    Args:
        has_presentation_times: the container has them.
    """

    def __init__(self, *, has_presentation_times: bool) -> None:
        self.is_by_pts = has_presentation_times
        self._faults = [0, 0]
        self._last: list[int | None] = [None, None]

    def of_packet(self, packet: Packet[VideoStream]) -> int | None:
        """Return the stamp under which what is in a packet will be shown."""
        first, second = (packet.pts, packet.dts) if self.is_by_pts else (packet.dts, packet.pts)
        return second if first is None else first

    def of_frame(self, frame: VideoFrame) -> int | None:
        """Return the stamp of the next picture in order of presentation."""
        stamps = (frame.pts, frame.dts)
        for which, stamp in enumerate(stamps):
            last = self._last[which]
            self._faults[which] += stamp is not None and last is not None and stamp <= last
            self._last[which] = stamp if stamp is not None else last
        if self.is_by_pts and stamps[0] is not None and self._faults[0] <= self._faults[1] + _FAULTS_MAX:
            return stamps[0]
        return stamps[1] if stamps[1] is not None else stamps[0]


class DecodedStream:
    """The pictures of one stream in order of presentation, and what could not be decoded between them."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        """Prepare; nothing is decoded yet."""
        self._container = container
        self._stream = stream
        self._codec = stream.codec_context
        for other in container.streams:
            if other.index != stream.index:
                other.discard = Discard.all
        # One decoding thread: the file stands in for a camera and must not take the other cores.
        self._codec.thread_count = 1
        self._container_aspect = stream.sample_aspect_ratio
        self._has_begun = False
        self._first_aspect: Fraction | None = None
        self._deinterlacer = Deinterlacer()
        self._pending: list[int] = []
        self._origin_us: int | None = None
        self._hurry_until_us: int | None = None
        self._shown: VideoFrame | None = None
        self._shown_us = self._failed_us = -(1 << 62)
        self._has_broken_off = False
        self._stamps = StampChoice(
            has_presentation_times=container.format.name not in _WITHOUT_PRESENTATION_TIMES
        )

    @property
    def ends_broken(self) -> bool:
        """Whether the last of what was read could not be decoded, or not be read; known at the end."""
        return self._has_broken_off or self._failed_us > self._shown_us

    @property
    def own_fps(self) -> float:
        """Frames a second as the container claims, 0 where it does not."""
        return float(self._stream.average_rate or self._stream.guessed_rate or 0)

    @property
    def pixel_aspect(self) -> Fraction | None:
        """Width of a pixel over its height, as the container says, or the stream where it changed its mind."""
        now = self._codec.sample_aspect_ratio
        return self._container_aspect if now == self._first_aspect else now

    def hurry(self, until_us: int | None) -> None:
        """Decode only what is needed to get to a time after the first picture; None decodes everything again."""
        self._hurry_until_us = until_us
        self._codec.skip_frame = "DEFAULT" if until_us is None else "NONKEY"

    def decoded(self) -> Iterator[Decoded[VideoFrame]]:
        """Decode to the container's end."""
        for packet in self._packets():
            stamp_us = _us(self._stamps.of_packet(packet), packet.time_base)
            is_end = packet.size == 0 and packet.pts is None and packet.dts is None
            if packet.size == 0 and not is_end:
                # An empty packet repeats the picture before it; to the decoder it would mean the end.
                yield Decoded(pts_us=stamp_us, picture=self._shown)
                continue
            if stamp_us is not None and not packet.is_discard:
                heapq.heappush(self._pending, stamp_us)
            if not self._is_passed_over(stamp_us):
                for frame in self._frames(packet, stamp_us, is_end=is_end):
                    yield from self._placed(frame)
            while len(self._pending) > _PENDING_MAX:
                yield Decoded(pts_us=heapq.heappop(self._pending), picture=None)
        yield from (Decoded(pts_us=at_us, picture=None) for at_us in sorted(self._pending))

    def _placed(self, frame: VideoFrame) -> Iterator[Decoded[VideoFrame]]:
        """Give what was to be shown before a frame and never came out of the decoder, then the frame."""
        at_us = _us(self._stamps.of_frame(frame), frame.time_base)
        if not self._has_begun and not self._stamps.is_by_pts:
            # In order of decoding, what went in before the first picture came out is delay, not loss.
            self._pending.clear()
        while at_us is not None and self._pending and self._pending[0] <= at_us:
            lost_us = heapq.heappop(self._pending)
            if lost_us < at_us:
                yield Decoded(pts_us=lost_us, picture=None)
        if not self._has_begun:
            self._has_begun, self._first_aspect = True, self._codec.sample_aspect_ratio
        # What the decoder has patched up shows smears where a face was.
        self._shown = None if frame.is_corrupt else frame
        if frame.is_corrupt:
            self._failed_us = max(self._failed_us, at_us or 0)
        else:
            self._shown_us = max(self._shown_us, at_us or 0)
        yield Decoded(pts_us=at_us, picture=self._shown)

    def _frames(self, packet: Packet[VideoStream], stamp_us: int | None, *, is_end: bool) -> list[VideoFrame]:
        try:
            frames = self._codec.decode(packet)
            ready = [whole for frame in frames for whole in self._deinterlacer.feed(frame)]
            return ready + self._deinterlacer.flush() if is_end else ready
        except av.error.FFmpegError:
            self._failed_us = max(self._failed_us, stamp_us or 0)
            return []

    def _is_passed_over(self, stamp_us: int | None) -> bool:
        """Tell whether a packet is not even decoded: in a hurry, where every picture stands alone."""
        if stamp_us is not None and self._origin_us is None:
            self._origin_us = stamp_us
        until_us, origin_us = self._hurry_until_us, self._origin_us
        if until_us is None or stamp_us is None or origin_us is None:
            return False
        return self._codec.codec.intra_only and stamp_us - origin_us < until_us

    def _packets(self) -> Iterator[Packet[VideoStream]]:
        failures = 0
        while failures < _READ_FAILURES_MAX:
            try:
                for packet in self._container.demux(self._stream):
                    is_end = packet.size == 0 and packet.pts is None and packet.dts is None
                    self._has_broken_off = is_end and failures > 0
                    failures = 0
                    yield packet
            except av.error.FFmpegError:
                # Damage in the middle: the next call goes on behind it.
                failures += 1
            except IndexError:
                # At the end the library stumbles over streams that began after the file was opened.
                yield cast("Packet[VideoStream]", Packet())
                return
            else:
                return
        self._has_broken_off = True


def _us(stamp: int | None, time_base: Fraction | None) -> int | None:
    if stamp is None or time_base is None:
        return None
    return stamp * time_base.numerator * 1_000_000 // time_base.denominator
