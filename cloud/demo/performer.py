"""Performs a schedule with the portrait and films it: the self-made viewer.

Between held expressions the landmarks move smoothly. The head sways a little, the eyes blink, the light changes and
the camera is noisy, so that no two frames are equal. Nothing in the film says what is shown: reading it is the
classifier's work.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from cloud.demo.portrait import POSES, Pose
from cloud.demo.schedule import TRANSITION_MS, Schedule
from cloud.demo.warping import Face, PortraitPainter, View
from cloud.errors import DemoError

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

FPS = 30
WIDTH_PX = 640
HEIGHT_PX = 480
TRANSITION_STEPS = 8
BLINK_LIDS = (0.5, 1.0, 1.0, 0.5)
"""How far the lids are closed on the frames of one blink."""

HEAD_CENTRE = (225.0, 130.0)
HEAD_RADIUS = (75.0, 95.0)
"""Half axes of the part of the picture that sways, in picture pixels; it fades out beyond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Staging:
    """How one viewer differs from another: where the camera is, the light, the rhythm of small movements."""

    seed: int
    mirrored: bool = False
    picture_px_per_px: float = 0.42
    centre: tuple[float, float] = (225.0, 131.0)
    gain: float = 1.0
    warmth: float = 0.0
    noise_levels: float = 3.0
    blink_every_ms: int = 3400


class Performance:
    """One viewer's film, frame by frame."""

    def __init__(self, schedule: Schedule, staging: Staging) -> None:
        self._schedule = schedule
        self._staging = staging
        step = staging.picture_px_per_px
        self._view = View(
            left=staging.centre[0] - WIDTH_PX * step / 2,
            top=staging.centre[1] - HEIGHT_PX * step / 2,
            step=step,
            width_px=WIDTH_PX,
            height_px=HEIGHT_PX,
        )
        self._painter = PortraitPainter(self._view)
        self._painted: dict[tuple[str, str, int, float], UInt8Array] = {}
        self._sway_basis = _sway_basis(self._view)
        rng = np.random.default_rng(staging.seed)
        grain = rng.normal(0, staging.noise_levels, (HEIGHT_PX + 64, WIDTH_PX + 64, 3))
        self._brighter = np.clip(grain, 0, 255).astype(np.uint8)
        self._darker = np.clip(-grain, 0, 255).astype(np.uint8)
        self._rng = rng
        self._phases = rng.uniform(0, 2 * math.pi, 6)

    def frames(self) -> Iterator[UInt8Array]:
        """Yield every frame, uint8 of shape (480, 640, 3), R, G, B, at 30 frames a second."""
        for index in range(self._schedule.duration_ms * FPS // 1000):
            yield self.frame_at(index * 1000 / FPS)

    def frame_at(self, media_time_ms: float) -> UInt8Array:
        """Return the frame at a media time: uint8 of shape (480, 640, 3), R, G, B."""
        still = self._still_at(media_time_ms)
        swayed = self._sway(still, media_time_ms / 1000)
        if self._staging.mirrored:
            swayed = swayed[:, ::-1]
        return self._film(swayed, media_time_ms / 1000)

    def _still_at(self, media_time_ms: float) -> UInt8Array:
        index = self._schedule.moment_at(media_time_ms)
        moment = self._schedule.moments[index]
        before = self._schedule.moments[max(index - 1, 0)].expression
        progress = min((media_time_ms - moment.start_ms) / TRANSITION_MS, 1.0)
        steps = round(TRANSITION_STEPS * progress) if before != moment.expression else TRANSITION_STEPS
        blink_frame = int(
            (media_time_ms + self._staging.seed * 700) % self._staging.blink_every_ms * FPS / 1000
        )
        lids = BLINK_LIDS[blink_frame] if blink_frame < len(BLINK_LIDS) else 0.0
        key = (before if steps < TRANSITION_STEPS else moment.expression, moment.expression, steps, lids)
        if key not in self._painted:
            self._painted[key] = self._painter.paint(_blend(POSES[key[0]], POSES[key[1]], steps, lids))
        return self._painted[key]

    def _sway(self, still: UInt8Array, seconds: float) -> UInt8Array:
        waves = [
            math.sin(seconds * rate + phase) for rate, phase in zip(_SWAY_RATES, self._phases, strict=True)
        ]
        right_px, down_px = 3.0 * waves[0] + 1.5 * waves[1], 2.0 * waves[2] + 1.0 * waves[3]
        turn, zoom = math.radians(1.4) * waves[4], 0.012 * waves[5]
        x, y, weight, weighted_x, weighted_y = self._sway_basis
        map_x = x + zoom * weighted_x - turn * weighted_y - right_px * weight
        map_y = y + turn * weighted_x + zoom * weighted_y - down_px * weight
        return np.asarray(cv2.remap(still, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))

    def _film(self, frame: UInt8Array, seconds: float) -> UInt8Array:
        light = self._staging.gain * (1 + 0.05 * math.sin(seconds * 0.7 + self._phases[0]))
        tint = np.array([1 + self._staging.warmth, 1.0, 1 - self._staging.warmth]) * light
        levels = np.arange(256)[:, None] * tint[None]
        lit = cv2.LUT(np.ascontiguousarray(frame), np.clip(levels, 0, 255).astype(np.uint8)[:, None, :])
        top, left = self._rng.integers(0, 64, 2)
        window = slice(top, top + HEIGHT_PX), slice(left, left + WIDTH_PX)
        return np.asarray(cv2.subtract(cv2.add(lit, self._brighter[window]), self._darker[window]), np.uint8)


_SWAY_RATES = (0.9, 2.3, 1.1, 2.9, 0.6, 0.5)
"""Angular rates of the small movements, in radians a second."""


def _sway_basis(view: View) -> tuple[Float32Array, ...]:
    x, y = np.meshgrid(
        np.arange(view.width_px, dtype=np.float32), np.arange(view.height_px, dtype=np.float32)
    )
    from_centre_x = x - np.float32((HEAD_CENTRE[0] - view.left) / view.step)
    from_centre_y = y - np.float32((HEAD_CENTRE[1] - view.top) / view.step)
    distance = np.hypot(
        from_centre_x * view.step / HEAD_RADIUS[0], from_centre_y * view.step / HEAD_RADIUS[1]
    )
    ease = np.clip((1.8 - distance) / 0.9, 0, 1).astype(np.float32)
    weight = ease * ease * (3 - 2 * ease)
    return x, y, weight, weight * from_centre_x, weight * from_centre_y


def _blend(start: Pose, end: Pose, steps: int, lids: float) -> Face:
    share = steps / TRANSITION_STEPS
    share = share * share * (3 - 2 * share)

    def between(first: float, second: float) -> float:
        return first + (second - first) * share

    moves = {}
    for name in {**start.moves, **end.moves}:
        (x0, y0), (x1, y1) = start.moves.get(name, (0.0, 0.0)), end.moves.get(name, (0.0, 0.0))
        moves[name] = (between(x0, x1), between(y0, y1))
    return Face(
        moves=moves,
        smile_folds=between(start.smile_folds, end.smile_folds),
        teeth=between(start.teeth, end.teeth),
        mouth_depth=between(start.mouth_depth, end.mouth_depth),
        lids=lids,
    )


def film(schedule: Schedule, staging: Staging, path: Path) -> int:
    """Write the performance as an MP4 file at 30 frames a second.

    Returns:
        The number of frames written.

    Raises:
        DemoError: no MPEG-4 encoder, or the path cannot be written.
    """
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH_PX, HEIGHT_PX))
    if not writer.isOpened():
        raise DemoError(f"cannot write a film to {path}")
    count = 0
    try:
        for frame in Performance(schedule, staging).frames():
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            count += 1
    finally:
        writer.release()
    return count
