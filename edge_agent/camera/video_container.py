"""Open a local file as a container of pictures, and choose the stream that is the film."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from edge_agent.camera.frames import FRAME_SIDE_MAX_PX
from edge_agent.errors import CameraError

CONTAINERS = (
    "3dostr,aiff,amr,apng,asf,av1,avi,avs2,avs3,caf,dirac,dv,dxa,evc,flac,flic,flv,gif,gxf,"
    "h261,h263,h264,hevc,ivf,live_flv,m4v,matroska,mcc,mjpeg,mjpeg_2000,mov,mp3,mp4,mpeg,mpegts,mpegvideo,mxf,"
    "mv,nsv,nut,obu,ogg,rm,rpl,smjpeg,swf,tta,vc1,vc1test,vvc,wav,webm,wtv,yuv4mpegpipe"
)
"""Kinds of file that hold their own pictures. Playlists and scripts, which name other places, are not among them."""

_JPEG_MAGIC = b"\xff\xd8\xff"
_PICTURE_MAGIC = (_JPEG_MAGIC, b"\x89PNG", b"BM", b"II*\x00", b"MM\x00*", b"\x00\x00\x01\x00")
_STILL_BRANDS = {"avif", "heic", "heix", "mif1"}
_NOT_THE_FILM = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_DECODER_OPTIONS = {"max_pixels": str(FRAME_SIDE_MAX_PX**2), "threads": "1"}
"""Larger pictures are refused before memory is asked for them; also while the container is looked through."""

_DEEP_PROBE = {"probesize": "50000000", "analyzeduration": "600000000"}


class LocalBytes:
    """A file as a library may see it: bytes without a name, so that no name is ever taken for an address."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes."""
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move; return the new position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()


def shown_name(path: Path) -> str:
    """Return a file's name as a terminal can show it: what is no text, or would steer the terminal, is escaped."""
    text = os.fsencode(path.name).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def open_file(path: Path, name: str) -> BinaryIO:
    """Open a file for reading.

    Args:
        path: whatever its name.
        name: as messages show it.

    Raises:
        CameraError: there is no such file, or it is none.
    """
    try:
        if not path.exists():
            raise CameraError(f"there is no video {name}")
        if not path.is_file():
            raise CameraError(f"{name} is not a file")
        return path.open("rb")
    except OSError as error:
        raise CameraError(f"{name} cannot be opened: {error.strerror}") from None


def open_container(file: BinaryIO, name: str, *, is_cut: bool) -> tuple[InputContainer, VideoStream]:
    """Open the container and choose the stream that is the film.

    Args:
        file: its bytes.
        name: as messages show it.
        is_cut: the file is shorter than it declares, which explains why it may not open.

    Raises:
        CameraError: it holds no video that can be played.
    """
    refusal = _refusal(file, name, is_cut=is_cut)
    file.seek(0)
    # A row of JPEG files with nothing around them is taken for the first of them unless it is named.
    kind = "mjpeg" if file.read(3) == _JPEG_MAGIC else None
    for options in ({}, _DEEP_PROBE):
        file.seek(0)
        try:
            container = av.open(
                LocalBytes(file),
                "r",
                format=kind,
                options=_DECODER_OPTIONS,
                container_options={"format_whitelist": CONTAINERS, "protocol_whitelist": "none", **options},
                metadata_errors="replace",
                buffer_size=1 << 18,
            )
        except (av.error.FFmpegError, OSError, ValueError):
            raise refusal from None
        if set(container.metadata.get("major_brand", "").split()) & _STILL_BRANDS:
            container.close()
            raise CameraError(f"{name} is a picture, not a video")
        if (stream := _film(container)) is not None:
            if (problem := _size_problem(stream, name)) is not None:
                container.close()
                raise problem
            stream.codec_context.options = _DECODER_OPTIONS
            return container, stream
        refusal = _no_film(container, name)
        container.close()
    raise refusal


def _film(container: InputContainer) -> VideoStream | None:
    """Return the stream to play: neither a cover nor thumbnails nor a still, the default one if several are left."""
    playable = [
        stream
        for stream in container.streams.video
        if not stream.disposition & _NOT_THE_FILM
        and stream.codec_context is not None
        and stream.codec_context.width > 0
    ]
    return min(
        playable,
        key=lambda stream: (stream.frames == 1, not stream.disposition & Disposition.default),
        default=None,
    )


def _size_problem(stream: VideoStream, name: str) -> CameraError | None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if max(width, height) <= FRAME_SIDE_MAX_PX:
        return None
    return CameraError(f"{name}: its pictures of {width}x{height} px are larger than {FRAME_SIDE_MAX_PX} px")


def _no_film(container: InputContainer, name: str) -> CameraError:
    videos = container.streams.video
    if any(not stream.disposition & _NOT_THE_FILM for stream in videos):
        return CameraError(
            f"the pictures of {name} are coded in a way that cannot be decoded here; convert it first"
        )
    if videos:
        return CameraError(f"{name} holds a cover image, but no video")
    return CameraError(f"{name} holds no video")


def _refusal(file: BinaryIO, name: str, *, is_cut: bool) -> CameraError:
    file.seek(0)
    head = file.read(16)
    if not head:
        return CameraError(f"{name} is empty, so it is not a video")
    if head.startswith(_PICTURE_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return CameraError(f"{name} is a picture, not a video")
    if is_cut:
        return CameraError(
            f"{name} is not a video that can be played: it was cut off before its index, or its recording never finished"
        )
    return CameraError(f"{name} is not a video that can be played")
