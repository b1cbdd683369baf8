"""Recordings made with PyAV, in the kinds that people have: rates, shapes, colours, damage."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

SIDE = (96, 128)
"""Height and width of a test picture."""


def picture(number: int, *, size: tuple[int, int] = SIDE) -> np.ndarray:
    """A picture, R, G, B, whose corners are told apart: red, green, blue, white; its middle tells `number`."""
    height, width = size
    pixels = np.full((height, width, 3), 20 + 10 * (number % 20), np.uint8)
    quarter = (slice(0, height // 4), slice(height - height // 4, height))
    sides = (slice(0, width // 4), slice(width - width // 4, width))
    pixels[quarter[0], sides[0]] = (220, 30, 30)
    pixels[quarter[0], sides[1]] = (30, 200, 30)
    pixels[quarter[1], sides[0]] = (30, 30, 220)
    pixels[quarter[1], sides[1]] = 235
    return pixels


def middle(shown: np.ndarray) -> int:
    """Which `number` a picture shows, modulo twenty."""
    height, width = shown.shape[:2]
    patch = shown[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8]
    return round((float(patch.mean()) - 20) / 10)


def corners(shown: np.ndarray) -> str:
    """Colours of a B, G, R picture's corners, row by row: r, g, b, w, or ? for another."""
    height, width = shown.shape[:2]
    names = ""
    for y, x in (
        (height // 8, width // 8),
        (height // 8, width - width // 8),
        (height - height // 8, width // 8),
        (height - height // 8, width - width // 8),
    ):
        blue, green, red = (int(value) > 120 for value in shown[y, x])
        names += {(1, 0, 0): "r", (0, 1, 0): "g", (0, 0, 1): "b", (1, 1, 1): "w"}.get((red, green, blue), "?")
    return names


class FilmMaker:
    """Writes recordings into one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(
        self,
        name: str = "film.mp4",
        *,
        times_ms=None,
        codec: str = "libx264",
        pixel_format: str = "yuv420p",
        size: tuple[int, int] = SIDE,
        rate: int = 30,
        aspect: Fraction | None = None,
        rotation: float | None = None,
        mirrored: bool = False,
        options: dict[str, str] | None = None,
        container: str | None = None,
        container_options: dict[str, str] | None = None,
        sound_ms: int = 0,
        cover: bool = False,
        tags: dict[str, int] | None = None,
        pixels=picture,
        time_base: Fraction = Fraction(1, 1000),
    ) -> Path:
        """Encode one picture at each of `times_ms` (thirty in a second by default)."""
        times_ms = [1000 * n / 30 for n in range(30)] if times_ms is None else list(times_ms)
        path = self.folder / name
        with av.open(str(path), "w", format=container, options=container_options or {}) as out:
            if cover:
                self._add_cover(out)
            stream = out.add_stream(codec, rate=rate, options=options or {})
            stream.height, stream.width = size
            stream.pix_fmt = pixel_format
            stream.codec_context.time_base = time_base
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            for tag, value in (tags or {}).items():
                setattr(stream.codec_context, tag, value)
            if rotation is not None or mirrored:
                stream.set_display_rotation(rotation or 0.0, hflip=mirrored)
            sound = out.add_stream("aac", rate=48_000) if sound_ms else None
            if cover:
                out.mux(self._cover_packet)
            if sound is not None:
                self._add_sound(out, sound, sound_ms)
            for number, at_ms in enumerate(times_ms):
                frame = VideoFrame.from_ndarray(pixels(number, size=size), format="rgb24")
                made = frame.reformat(format=pixel_format, **_conversion(tags))
                made.pts, made.time_base = round(at_ms / 1000 / time_base), time_base
                out.mux(stream.encode(made))
            out.mux(stream.encode(None))
        return path

    def _add_cover(self, out) -> None:
        cover = out.add_stream("mjpeg", rate=1)
        cover.height, cover.width = SIDE
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        made = VideoFrame.from_ndarray(picture(9), format="rgb24").reformat(format="yuvj420p")
        made.pts, made.time_base = 0, Fraction(1, 1)
        self._cover_packet = [*cover.encode(made), *cover.encode(None)]

    @staticmethod
    def _add_sound(out, sound, length_ms: int) -> None:
        for start in range(0, length_ms * 48, 1024):
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            tone.sample_rate, tone.pts, tone.time_base = 48_000, start, Fraction(1, 48_000)
            out.mux(sound.encode(tone))
        out.mux(sound.encode(None))


def _conversion(tags):
    wanted = {}
    if tags and "colorspace" in tags:
        wanted["dst_colorspace"] = tags["colorspace"]
    if tags and "color_range" in tags:
        wanted["dst_color_range"] = tags["color_range"]
    return wanted


@pytest.fixture
def films(tmp_path: Path) -> FilmMaker:
    return FilmMaker(tmp_path)
