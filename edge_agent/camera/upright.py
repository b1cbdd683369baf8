"""Pictures of a recording as any player shows them: upright, square pixels, B, G, R of eight bits.

What cannot be shown truly is refused by name; nothing is guessed into a black or green picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
import av.error
import cv2
import numpy as np
from av.buffer import Buffer
from av.sidedata.sidedata import Type as SideDataType
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from edge_agent.camera.frames import FRAME_SIDE_MAX_PX, FRAME_SIDE_MIN_PX, UInt8Array
from edge_agent.camera.high_dynamic_range import TRANSFERS, ToneMapper
from edge_agent.errors import CameraError

PIXEL_ASPECT_RANGE = (Fraction(1, 4), Fraction(4))
"""Pixels narrower or wider than this are a broken header; players show them square."""

_LARGE_PX = 1920
"""Much larger pictures are made about this large: a face keeps more pixels than a crop has, at a quarter of the cost."""

_UNSPECIFIED = (2, 3)
_UNREADABLE_MATRICES = {
    8: "YCgCo",
    10: "BT.2020 constant luminance",
    11: "Y'D'zD'x",
    12: "chromaticity-derived",
    13: "chromaticity-derived constant luminance",
    14: "ICtCp",
    15: "IPT-PQ-C2 (Dolby Vision without a compatible picture)",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
"""ITU-T H.273 matrix coefficients that the scaler would silently read as another."""

_HD_WIDTH_PX, _HD_HEIGHT_PX = 1280, 576
"""Without a word in the file, players take larger pictures for BT.709 and the rest for BT.601."""

_GROUND = np.uint16(128)
_STRETCHING = Interpolation.BICUBIC
_PLAIN = Interpolation.BILINEAR

_TURNS: dict[tuple[bool, bool, bool], int] = {
    (True, True, False): cv2.ROTATE_90_CLOCKWISE,
    (True, False, True): cv2.ROTATE_90_COUNTERCLOCKWISE,
    (False, True, True): cv2.ROTATE_180,
}
"""By: rows become columns, then left and right change places, then top and bottom."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _SideFacts:
    """What a frame's side data say of how it is shown: the display matrix's a, b, c, d, None where there is none."""

    matrix: tuple[int, int, int, int] | None
    is_dolby_vision: bool


class PictureMaker:
    """Turns decoded frames into pictures; keeps what is expensive to make from frame to frame."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._tone_mapper = ToneMapper()
        self._facts_of: object = None
        self._facts = _SideFacts(matrix=None, is_dolby_vision=False)

    def picture(self, frame: VideoFrame, *, pixel_aspect: Fraction | None) -> UInt8Array:
        """Return a frame as a player shows it.

        Args:
            frame: decoded, progressive.
            pixel_aspect: width of a pixel over its height; None is square.

        Returns:
            uint8 of shape (h, w, 3), B, G, R, where w and h are those of the picture on a screen.

        Raises:
            CameraError: its colours or its size cannot be read here.
        """
        width, height = _shown_size(frame, pixel_aspect)
        is_stretched = width > frame.width or height > frame.height
        facts = self._side_facts(frame)
        _refuse_unreadable(frame, is_dolby_vision=facts.is_dolby_vision)
        try:
            has_alpha = any(component.is_alpha for component in frame.format.components)
            shown = self._reformatter.reformat(
                frame,
                width=width,
                height=height,
                format="bgra" if has_alpha else "bgr24",
                src_colorspace=_matrix(frame),
                interpolation=_STRETCHING if is_stretched else _PLAIN,
                threads=1,
            )
            pixels = np.asarray(shown.to_ndarray(), np.uint8)
        except (av.error.FFmpegError, ValueError) as error:
            raise CameraError(
                f"its pictures ({frame.format.name}) cannot be turned into colours: {type(error).__name__}"
            ) from None
        if has_alpha:
            pixels = _opaque(pixels)
        if frame.color_trc in TRANSFERS:
            pixels = self._tone_mapper.mapped(
                pixels, transfer=frame.color_trc, primaries=frame.color_primaries
            )
        return _turned(pixels, facts.matrix)

    def _side_facts(self, frame: VideoFrame) -> _SideFacts:
        """Read a frame's side data once for all frames of its kind.

        The library's view of them holds on to its frame and the frame to the view: read for each frame, they keep
        hundreds of decoded pictures alive until the collector comes by.
        """
        kind = (
            frame.width,
            frame.height,
            frame.format.name,
            frame.rotation,
            frame.colorspace,
            frame.color_trc,
        )
        if kind != self._facts_of:
            self._facts_of, self._facts = kind, _read_side_facts(frame)
        return self._facts


def _read_side_facts(frame: VideoFrame) -> _SideFacts:
    display = _side_data(frame, SideDataType.DISPLAYMATRIX)
    matrix = None
    if display is not None:
        a, b, _, c, d = np.frombuffer(bytes(display), np.int32)[:5].tolist()
        matrix = (a, b, c, d)
    return _SideFacts(
        matrix=matrix, is_dolby_vision=_side_data(frame, SideDataType.DOVI_METADATA) is not None
    )


def _shown_size(frame: VideoFrame, pixel_aspect: Fraction | None) -> tuple[int, int]:
    width, height = frame.width, frame.height
    if max(width, height) > FRAME_SIDE_MAX_PX:
        raise CameraError(f"its pictures of {width}x{height} px are larger than {FRAME_SIDE_MAX_PX} px")
    if min(width, height) < FRAME_SIDE_MIN_PX:
        raise CameraError(f"its pictures of {width}x{height} px are smaller than {FRAME_SIDE_MIN_PX} px")
    if pixel_aspect is not None and PIXEL_ASPECT_RANGE[0] <= pixel_aspect <= PIXEL_ASPECT_RANGE[1]:
        # Pixels are made square by stretching, never by losing lines.
        width = round(width * max(pixel_aspect, Fraction(1)))
        height = round(height / min(pixel_aspect, Fraction(1)))
    factor = round(max(width, height) / _LARGE_PX) if max(width, height) > 1.5 * _LARGE_PX else 1
    return width // factor, height // factor


def _refuse_unreadable(frame: VideoFrame, *, is_dolby_vision: bool) -> None:
    name = _UNREADABLE_MATRICES.get(frame.colorspace)
    is_untold = frame.colorspace in _UNSPECIFIED and frame.color_trc in _UNSPECIFIED
    if is_untold and is_dolby_vision:
        # Without a transfer function of its own, what is below the metadata is no picture.
        name = _UNREADABLE_MATRICES[15]
    if name is not None and not frame.format.is_rgb:
        raise CameraError(f"its colours are coded as {name}, which cannot be read here; convert it first")


def _matrix(frame: VideoFrame) -> Colorspace | None:
    if frame.colorspace not in _UNSPECIFIED or frame.format.is_rgb:
        return None
    is_hd = frame.width >= _HD_WIDTH_PX or frame.height > _HD_HEIGHT_PX
    return Colorspace.ITU709 if is_hd else Colorspace.ITU601


def _opaque(pixels: UInt8Array) -> UInt8Array:
    """Blend into grey as far as it is transparent: what was erased is never read."""
    alpha = pixels[:, :, 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(pixels[:, :, :3])
    weight = alpha.astype(np.uint16)
    blended = pixels[:, :, :3] * weight + _GROUND * (255 - weight) + 127
    return np.asarray(blended // 255, np.uint8)


def _turned(pixels: UInt8Array, matrix: tuple[int, int, int, int] | None) -> UInt8Array:
    """Apply the display matrix: quarter turns and mirrors; other angles to the nearest quarter turn."""
    if matrix is None:
        return pixels
    a, b, c, d = matrix
    is_transposed = abs(b) + abs(c) > abs(a) + abs(d)
    is_mirrored, is_flipped = (c < 0, b < 0) if is_transposed else (a < 0, d < 0)
    turn = (is_transposed, is_mirrored, is_flipped)
    if turn in _TURNS:
        return np.asarray(cv2.rotate(pixels, _TURNS[turn]), np.uint8)
    if is_transposed:
        pixels = np.asarray(cv2.transpose(pixels), np.uint8)
    if is_mirrored or is_flipped:
        pixels = np.asarray(
            cv2.flip(pixels, -1 if is_mirrored and is_flipped else int(is_mirrored)), np.uint8
        )
    return pixels


def _side_data(frame: VideoFrame, kind: SideDataType) -> Buffer | None:
    # The library's own types know only a few kinds of side data.
    return cast(Mapping[object, Buffer], frame.side_data).get(kind)
