"""Pictures with more light than a screen of today's webcams: HLG and PQ, mapped by tables made here.

A table per channel and a matrix on eight bits: three times as cheap as a table of colours, and the network, which
reads greys, cannot tell the two apart.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorPrimaries, ColorTrc

from edge_agent.camera.frames import UInt8Array

Float64Array = npt.NDArray[np.float64]

TRANSFERS = {int(ColorTrc.SMPTE2084), int(ColorTrc.ARIB_STD_B67)}
"""PQ and HLG, by their numbers in ITU-T H.273."""

WHITES_NITS = (203.0, 340.0, 580.0, 1_000.0)
"""What may become a webcam's white: ITU-R BT.2408's diffuse white, or brighter where the recording is.

A whole picture far above diffuse white would be squeezed together; scaled down, it keeps its contrasts."""

_HLG_PEAK_NITS, _HLG_SYSTEM_GAMMA = 1_000.0, 1.2
_KNEE = 0.8
_DISPLAY_GAMMA = 2.4
_BRIGHT_PERCENTILE = 99.0
_EXPOSURE_EVERY_PICTURES = 15
_EXPOSURE_STRIDE = 8
_BT2020_TO_BT709 = np.array(
    [[1.1187, -0.1006, -0.0182], [-0.0083, 1.1329, -0.1246], [-0.0728, -0.5876, 1.6605]], np.float32
)
"""For light, in the order B, G, R; on signals it is near enough for skin."""


def hlg_light(signal: Float64Array) -> Float64Array:
    """Return light of a display of 1000 cd/m² for HLG signals in [0, 1] (ITU-R BT.2100), channel by channel, in cd/m²."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3.0, (np.exp((signal - c) / a) + b) / 12.0)
    return np.asarray(_HLG_PEAK_NITS * scene**_HLG_SYSTEM_GAMMA)


def pq_light(signal: Float64Array) -> Float64Array:
    """Return light for PQ signals in [0, 1] (SMPTE ST 2084), in cd/m²."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = signal ** (1 / m2)
    return np.asarray(10_000.0 * (np.maximum(root - c1, 0.0) / (c2 - c3 * root)) ** (1 / m1))


def light(signal: Float64Array, transfer: int) -> Float64Array:
    """Return what a display would give for signals under one of `TRANSFERS`, in cd/m²; the shape stays."""
    return pq_light(signal) if transfer == ColorTrc.SMPTE2084 else hlg_light(signal)


def table(transfer: int, *, white_nits: float) -> UInt8Array:
    """Return a webcam's signal for each of a recording's.

    Args:
        transfer: one of `TRANSFERS`.
        white_nits: light that becomes white, in cd/m²; up to four fifths of it nothing is squeezed.

    Returns:
        uint8 of shape (256,).
    """
    shown = light(np.linspace(0.0, 1.0, 256), transfer) / white_nits
    over = np.maximum(shown - _KNEE, 0.0) / (1.0 - _KNEE)
    rolled = np.where(shown > _KNEE, _KNEE + (1.0 - _KNEE) * over / (1.0 + over), shown)
    return np.asarray(np.round(255.0 * rolled ** (1.0 / _DISPLAY_GAMMA)), np.uint8)


class ToneMapper:
    """Maps the pictures of one recording; its white only rises, because one that wavers would look like motion."""

    def __init__(self) -> None:
        self._pictures = 0
        self._white_nits = WHITES_NITS[0]
        self._made_for: tuple[int, float] | None = None
        self._table = np.arange(256, dtype=np.uint8)

    def mapped(self, pixels: UInt8Array, *, transfer: int, primaries: int) -> UInt8Array:
        """Return a picture with a webcam's range of light.

        Args:
            pixels: uint8 of shape (h, w, 3), B, G, R, signals of the recording.
            transfer: one of `TRANSFERS`.
            primaries: ITU-T H.273; BT.2020 is converted, others are taken as they are.
        """
        if self._pictures % _EXPOSURE_EVERY_PICTURES == 0:
            self._white_nits = max(self._white_nits, _white(pixels, transfer))
        self._pictures += 1
        if self._made_for != (transfer, self._white_nits):
            self._table, self._made_for = (
                table(transfer, white_nits=self._white_nits),
                (transfer, self._white_nits),
            )
        shown = cv2.LUT(pixels, self._table)
        if primaries == ColorPrimaries.BT2020:
            shown = cv2.transform(shown, _BT2020_TO_BT709)
        return np.asarray(shown, np.uint8)


def _white(pixels: UInt8Array, transfer: int) -> float:
    """Return the least white above which hardly anything of a picture lies."""
    brightest = pixels[::_EXPOSURE_STRIDE, ::_EXPOSURE_STRIDE].max(axis=-1)
    signal = np.percentile(brightest, _BRIGHT_PERCENTILE) / 255.0
    bright = float(light(np.array([signal], np.float64), transfer)[0])
    return next((white for white in WHITES_NITS if white >= bright), WHITES_NITS[-1])
