"""Encode a crop so that it fits one datagram: quality first, then colour, then size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge_agent.camera.frames import UInt8Array
from edge_agent.errors import FrameError
from privacy.protocol.envelope import Codec


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rung of the ladder."""

    name: str
    codec: Codec
    side_px: int
    quality: int


LADDER: tuple[Step, ...] = (
    Step(name="rgb96_q75", codec=Codec.JPEG_RGB, side_px=96, quality=75),
    Step(name="rgb96_q65", codec=Codec.JPEG_RGB, side_px=96, quality=65),
    Step(name="rgb96_q55", codec=Codec.JPEG_RGB, side_px=96, quality=55),
    Step(name="rgb96_q45", codec=Codec.JPEG_RGB, side_px=96, quality=45),
    Step(name="grey96_q75", codec=Codec.JPEG_GRAY, side_px=96, quality=75),
    Step(name="grey96_q55", codec=Codec.JPEG_GRAY, side_px=96, quality=55),
    Step(name="grey64_q75", codec=Codec.JPEG_GRAY, side_px=64, quality=75),
    Step(name="grey48_q60", codec=Codec.JPEG_GRAY, side_px=48, quality=60),
)
"""Tried from the top; the last one fits whatever the picture (48 x 48 luma at quality 60 is under 2.4 kB)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedCrop:
    """A crop as it will be sealed; its `repr` shows no content."""

    content: bytes
    step: Step

    def __repr__(self) -> str:
        return f"EncodedCrop({self.step.name}, {len(self.content)} bytes)"


def encode_crop(crop: UInt8Array, *, limit_bytes: int, ladder: Sequence[Step] = LADDER) -> EncodedCrop | None:
    """Encode a crop by the first step of a ladder that fits.

    Args:
        crop: uint8 of shape (side, side, 3), B, G, R.
        limit_bytes: longest content that may be sealed.
        ladder: steps in the order in which they are tried.

    Returns:
        The encoded crop, or None if no step fits.

    Raises:
        FrameError: the crop cannot be encoded at all.
    """
    grey: UInt8Array | None = None
    for step in ladder:
        if step.codec is Codec.JPEG_GRAY:
            grey = np.asarray(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), np.uint8) if grey is None else grey
            picture = grey
        else:
            picture = crop
        if picture.shape[0] != step.side_px:
            picture = np.asarray(
                cv2.resize(picture, (step.side_px, step.side_px), interpolation=cv2.INTER_AREA), np.uint8
            )
        ok, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, step.quality])
        if not ok:
            raise FrameError("the crop cannot be encoded as JPEG")
        if encoded.size <= limit_bytes:
            return EncodedCrop(content=encoded.tobytes(), step=step)
    return None
