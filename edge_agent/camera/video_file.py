"""A recording in a local file, read through PyAV: what it shows, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from av.container import InputContainer
from av.video.frame import VideoFrame

from edge_agent.camera.container_end import is_cut
from edge_agent.camera.frames import UInt8Array
from edge_agent.camera.presentation import RATE_RANGE, SAMPLED_FPS_MAX, Moment, Sampler, moments
from edge_agent.camera.upright import PictureMaker
from edge_agent.camera.video_container import open_container, open_file, shown_name
from edge_agent.camera.video_stream import DecodedStream
from edge_agent.errors import CameraError

_STILL_FORMATS = {"gif", "apng", "mjpeg"}
_DEFAULT_FPS = 30.0


@dataclass(slots=True, kw_only=True, eq=False)
class _Reading:
    """A file while it is read.

    Attributes:
        file: its bytes.
        container: what they hold.
        stream: the film in it.
        moments: what is still to come.
        sampler: what is taken of it.
        is_cut: the file ends before its headers say.
    """

    file: BinaryIO
    container: InputContainer
    stream: DecodedStream
    moments: Iterator[Moment[VideoFrame]]
    sampler: Sampler
    is_cut: bool

    def next_taken(self) -> Moment[VideoFrame] | None:
        return next((moment for moment in self.moments if self.sampler.takes(moment.media_us)), None)

    def close(self) -> None:
        self.moments = iter(())
        self.container.close()
        self.file.close()


class VideoFile:
    """A recording, picture by picture, on its own clock."""

    def __init__(self, path: Path, *, fps: float | None = None) -> None:
        """Open a file and decode its first picture.

        Args:
            path: of a local file, whatever its name.
            fps: the most frames to take a second; more than thirty are never taken.

        Raises:
            CameraError: there is no such file, or it holds no video that can be played.
        """
        self._path = path
        self._name = shown_name(path)
        self._limit_fps = min(SAMPLED_FPS_MAX, fps or SAMPLED_FPS_MAX)
        self._pictures = PictureMaker()
        self._reading = self._open()

    @property
    def fps(self) -> float:
        """Frames taken a second, as far as the file tells."""
        return min(self._limit_fps, _believed(self._reading.stream.own_fps))

    @property
    def end_problem(self) -> str | None:
        """What is wrong with the end of the file, in words; None where it is whole, as far as can be told when all was read."""
        if self._reading.is_cut:
            return f"{self._name} was cut off: it ends before its headers say"
        if self._reading.stream.ends_broken:
            return f"{self._name} was cut off, or is damaged at its end: its last pictures cannot be read"
        return None

    def next_moment(self) -> Moment[VideoFrame] | None:
        """Return the next moment that is taken, with or without a picture; None at the end of the file."""
        return self._reading.next_taken()

    def picture(self, moment: Moment[VideoFrame]) -> UInt8Array:
        """Return what a moment shows, upright, uint8 of shape (h, w, 3), B, G, R.

        Raises:
            CameraError: it shows nothing, or what cannot be read here.
        """
        return self._shown(moment, self._reading.stream)

    def read(self) -> UInt8Array | None:
        """Return the next picture that is taken, None at the end of the file."""
        while (moment := self.next_moment()) is not None:
            if moment.picture is not None:
                return self.picture(moment)
        return None

    def hurry(self, until_us: int | None) -> None:
        """Decode only what is needed to get to a media time; None decodes everything again.

        What is passed over counts as moments without a picture.
        """
        self._reading.stream.hurry(until_us)

    def rewind(self) -> bool:
        """Go back to the first picture; False if the file is gone."""
        self.close()
        try:
            self._reading = self._open()
        except CameraError:
            return False
        return True

    def close(self) -> None:
        """Let go of the file."""
        self._reading.close()

    def _open(self) -> _Reading:
        file = open_file(self._path, self._name)
        try:
            cut = is_cut(file)
            container, stream = open_container(file, self._name, is_cut=cut)
        except BaseException:
            file.close()
            raise
        decoding = DecodedStream(container, stream)
        reading = _Reading(
            file=file,
            container=container,
            stream=decoding,
            moments=moments(decoding.decoded(), period_us=1e6 / _believed(decoding.own_fps)),
            sampler=Sampler(self._limit_fps),
            is_cut=cut,
        )
        try:
            self._check_first(reading)
        except BaseException:
            reading.close()
            raise
        return reading

    def _check_first(self, reading: _Reading) -> None:
        """Look ahead to the first picture: what cannot be shown is told before anything starts."""
        ahead: list[Moment[VideoFrame]] = []
        while not ahead or ahead[-1].picture is None:
            moment = next(reading.moments, None)
            if moment is None:
                cut = "; it was cut off" if reading.is_cut else ""
                raise CameraError(f"{self._name} holds no picture that can be decoded{cut}")
            ahead.append(moment)
        self._shown(ahead[-1], reading.stream)
        if reading.container.format.name in _STILL_FORMATS:
            second = next(reading.moments, None)
            if second is None:
                raise CameraError(f"{self._name} is a picture, not a video")
            ahead.append(second)
        reading.moments = chain(ahead, reading.moments)

    def _shown(self, moment: Moment[VideoFrame], stream: DecodedStream) -> UInt8Array:
        if moment.picture is None:
            raise CameraError(f"{self._name} shows nothing at {moment.media_us / 1e6:.3f} s")
        try:
            return self._pictures.picture(moment.picture, pixel_aspect=stream.pixel_aspect)
        except CameraError as error:
            raise CameraError(f"{self._name}: {error}") from None


def _believed(own_fps: float) -> float:
    return own_fps if RATE_RANGE[0] <= own_fps <= RATE_RANGE[1] else _DEFAULT_FPS
