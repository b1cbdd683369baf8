"""Pictures with more light than a screen of today's webcams: HLG and PQ, mapped by tables made here.

The library's build has no filter that converts transfer functions, but one that applies a table of colours; the
tables are computed below and handed to it once per kind of recording.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import av.filter
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, ColorTrc, VideoReformatter

Float64Array = npt.NDArray[np.float64]

TRANSFERS = {int(ColorTrc.SMPTE2084), int(ColorTrc.ARIB_STD_B67)}
"""PQ and HLG, by their numbers in ITU-T H.273."""

TABLE_SIDE = 33
WHITES_NITS = (203.0, 340.0, 580.0, 1_000.0)
"""What may become a webcam's white: ITU-R BT.2408's diffuse white, or brighter where the recording is.

A whole picture far above diffuse white would be squeezed together; scaled down, it keeps its contrasts."""

_HLG_PEAK_NITS, _HLG_SYSTEM_GAMMA = 1_000.0, 1.2
_KNEE = 0.8
_BRIGHT_PERCENTILE = 99.0
_EXPOSURE_EVERY_FRAMES = 15
_EXPOSURE_STRIDE = 8
_DISPLAY_GAMMA = 2.4
_BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593])
_BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]
)
_FORMAT = "gbrp10le"


def hlg_light(signal: Float64Array) -> Float64Array:
    """Return light of a display of 1000 cd/m² for HLG signals (ITU-R BT.2100).

    Args:
        signal: float64 of shape (..., 3), R, G, B in [0, 1].

    Returns:
        float64 of the same shape, in cd/m².
    """
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3.0, (np.exp((signal - c) / a) + b) / 12.0)
    luma = np.maximum(scene @ _BT2020_LUMA, 1e-9)[..., None]
    return np.asarray(_HLG_PEAK_NITS * scene * luma ** (_HLG_SYSTEM_GAMMA - 1.0))


def pq_light(signal: Float64Array) -> Float64Array:
    """Return light for PQ signals (SMPTE ST 2084), in cd/m²; the shape stays."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    root = signal ** (1 / m2)
    return np.asarray(10_000.0 * (np.maximum(root - c1, 0.0) / (c2 - c3 * root)) ** (1 / m1))


def light(signal: Float64Array, transfer: int) -> Float64Array:
    """Return what a display would give for signals under one of `TRANSFERS`, in cd/m²; the shape stays."""
    return pq_light(signal) if transfer == ColorTrc.SMPTE2084 else hlg_light(signal)


def table(transfer: int, primaries: int, *, white_nits: float) -> Float64Array:
    """Return a colour table from a recording's signals to a webcam's.

    Args:
        transfer: one of `TRANSFERS`.
        primaries: of the recording, ITU-T H.273; BT.2020 is converted, others are taken as they are.
        white_nits: light that becomes white, in cd/m²; up to four fifths of it nothing is squeezed.

    Returns:
        float64 of shape (33, 33, 33, 3), R, G, B in [0, 1], indexed by blue, green, red.
    """
    axis = np.linspace(0.0, 1.0, TABLE_SIDE)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    shown = light(np.stack([red, green, blue], axis=-1), transfer) / white_nits
    brightest = np.maximum(shown.max(axis=-1, keepdims=True), 1e-9)
    over = (brightest - _KNEE) / (1.0 - _KNEE)
    rolled = np.where(over > 0, _KNEE + (1.0 - _KNEE) * over / (1.0 + np.maximum(over, 0.0)), brightest)
    shown = shown * rolled / brightest
    if primaries == ColorPrimaries.BT2020:
        shown = shown @ _BT2020_TO_BT709.T
    return np.asarray(np.clip(shown, 0.0, 1.0) ** (1.0 / _DISPLAY_GAMMA))


class ToneMapper:
    """Applies the table that a frame asks for; made when the first such frame comes."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._made_for: tuple[int, int, int, int, float] | None = None
        self._graph: av.filter.Graph | None = None
        self._frames = 0
        self._white_nits = WHITES_NITS[0]

    def mapped(self, frame: VideoFrame) -> VideoFrame:
        """Return the frame with a webcam's range of light.

        Args:
            frame: tagged with one of `TRANSFERS`.

        Raises:
            av.error.FFmpegError: its pixel format cannot be converted.
        """
        red_green_blue = self._reformatter.reformat(
            frame, format=_FORMAT, dst_color_range=ColorRange.JPEG, threads=1
        )
        if self._frames % _EXPOSURE_EVERY_FRAMES == 0:
            # White only ever rises: an exposure that wavered would look like motion.
            self._white_nits = max(self._white_nits, _white(red_green_blue, frame.color_trc))
        self._frames += 1
        wanted = (frame.color_trc, frame.color_primaries, frame.width, frame.height, self._white_nits)
        if self._graph is None or self._made_for != wanted:
            self._graph, self._made_for = _graph(red_green_blue, wanted), wanted
        self._graph.vpush(red_green_blue)
        return self._graph.vpull()


def _white(red_green_blue: VideoFrame, transfer: int) -> float:
    """Return the least white above which hardly anything of a picture lies."""
    signal = red_green_blue.to_ndarray()[::_EXPOSURE_STRIDE, ::_EXPOSURE_STRIDE].astype(np.float64) / 1023.0
    bright = float(np.percentile(light(signal, transfer).max(axis=-1), _BRIGHT_PERCENTILE))
    return next((white for white in WHITES_NITS if white >= bright), WHITES_NITS[-1])


def _graph(template: VideoFrame, made_for: tuple[int, int, int, int, float]) -> av.filter.Graph:
    transfer, primaries, width, height, white_nits = made_for
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=width, height=height, format=template.format, time_base=template.time_base
    )
    with tempfile.TemporaryDirectory() as folder:
        # The filter takes its table from a file only, and reads it here.
        path = Path(folder) / "table.cube"
        rows = table(transfer, primaries, white_nits=white_nits).reshape(-1, 3)
        with path.open("w") as file:
            file.write(f"LUT_3D_SIZE {TABLE_SIDE}\n")
            np.savetxt(file, rows, fmt="%.6f")
        lookup = graph.add("lut3d", file=str(path), interp="tetrahedral")
    graph.link_nodes(source, lookup, graph.add("buffersink")).configure()
    return graph
