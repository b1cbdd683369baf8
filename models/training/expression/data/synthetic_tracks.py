"""Tracks whose every frame has a known expression, made of labelled pictures, because no labelled film is at hand.

A held expression is one picture seen through a small camera's unrest: it drifts, turns, comes closer, is lit a
little differently from frame to frame, is noisy and compressed. What these tracks cannot show: how a face gets
from one expression to the next, speech, and one person showing several expressions (each hold is another face).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from models.expression.taxonomy import N_LABELS
from models.training.expression.data.augmentation import AugmentationSettings, augment, recompress

UInt8Array = npt.NDArray[np.uint8]
Int64Array = npt.NDArray[np.int64]
Float64Array = npt.NDArray[np.float64]
FRAME_MS = 1_000.0 / 30.0
Reader = Callable[[Sequence[UInt8Array]], Float64Array]
"""Turns crops into calibrated probabilities, float64 (n, 6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrest:
    """Standard deviations of what moves between frames, which drifts with `memory`; and lapses."""

    shift: float = 0.02
    """Share of the side."""
    turn_deg: float = 2.0
    log_scale: float = 0.03
    log_light: float = 0.08
    noise_levels: float = 4.0
    jpeg_quality: int = 75
    memory: float = 0.9
    lapse_share: float = 0.02
    """Probability of a frame to begin a lapse: a hand, a turn, a blur, a slipped crop, as training distorts."""
    lapse_frames: float = 4.0
    """Mean length of a lapse, geometrically distributed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One synthetic track: probabilities float64 (n, 6), elapsed_ms float64 (n,), labels int64 (n,)."""

    probabilities: Float64Array
    elapsed_ms: Float64Array
    labels: Int64Array


def unrestful_frames(
    picture: UInt8Array, *, frames: int, rng: np.random.Generator, unrest: Unrest | None = None
) -> list[UInt8Array]:
    """Film a still picture with an unsteady camera.

    Args:
        picture: uint8 (side, side), grey.
        frames: how many frames, `FRAME_MS` apart.
        rng: source of every draw.
        unrest: strengths; None takes the usual ones.

    Returns:
        uint8 (h, w) pictures.
    """
    unrest = unrest or Unrest()
    height, width = picture.shape
    spread = np.array(
        [unrest.shift * width, unrest.shift * height, unrest.turn_deg, unrest.log_scale, unrest.log_light]
    )
    drift = rng.standard_normal(5)
    made: list[UInt8Array] = []
    lapse = 0
    for _ in range(frames):
        x_px, y_px, turn_deg, log_scale, log_light = drift * spread
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn_deg, np.exp(log_scale))
        matrix[:, 2] += (x_px, y_px)
        moved = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
        noise = rng.standard_normal(moved.shape, np.float32) * np.float32(unrest.noise_levels)
        lit = np.clip(moved * np.float32(np.exp(log_light)) + noise, 0, 255).astype(np.uint8)
        if not lapse and rng.random() < unrest.lapse_share:
            lapse = int(rng.geometric(1 / unrest.lapse_frames))
        if lapse:
            lapse -= 1
            lit = augment(lit, side_px=width, settings=AugmentationSettings(), rng=rng)
        made.append(recompress(lit, quality=unrest.jpeg_quality))
        drift = unrest.memory * drift + np.sqrt(1 - unrest.memory**2) * rng.standard_normal(5)
    return made


def make_tracks(
    pictures: Sequence[UInt8Array],
    labels: Int64Array,
    reader: Reader,
    *,
    tracks: int,
    holds: int,
    hold_ms: float,
    seed: int,
) -> list[Track]:
    """Make tracks of several held expressions each; no picture is used twice.

    Args:
        pictures: grey pictures, not of a test split where something is to be fitted.
        labels: int64 (n,) in [0, 6).
        reader: the network with its temperature.
        tracks: how many; fewer where the pictures do not suffice.
        holds: expressions in a track; each is drawn evenly over the six and differs from the one before.
        hold_ms: how long one is held on average, exponentially distributed, at least 300 ms.
        seed: of all draws.
    """
    rng = np.random.default_rng(seed)
    waiting = {label: list(rng.permutation(np.flatnonzero(labels == label))) for label in range(N_LABELS)}
    made: list[Track] = []
    for _ in range(tracks):
        shown: list[int] = []
        for _ in range(holds):
            others = [k for k in range(N_LABELS) if waiting[k] and k != (labels[shown[-1]] if shown else -1)]
            if not others:
                return made
            shown.append(int(waiting[int(rng.choice(others))].pop()))
        frames = [1 + int(max(300.0, rng.exponential(hold_ms)) / FRAME_MS) for _ in shown]
        crops = [
            frame
            for index, count in zip(shown, frames, strict=True)
            for frame in unrestful_frames(pictures[index], frames=count, rng=rng)
        ]
        elapsed_ms = np.full(len(crops), FRAME_MS)
        elapsed_ms[0] = np.inf
        made.append(
            Track(
                probabilities=reader(crops),
                elapsed_ms=elapsed_ms,
                labels=np.repeat(labels[shown], frames).astype(np.int64),
            )
        )
    return made
