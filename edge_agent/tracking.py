"""Short-lived tracks of faces, without any template of who they are.

A track is a place that moves. It lives while a detection or trustworthy flow supports it, dies half a
second after both have failed, and its number is never used again. Nothing here could recognise a face
that comes back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_agent.detection import Detection
from edge_agent.flow import carry
from edge_agent.frames import UInt8Array
from edge_agent.geometry import Box, Float32Array, centre_distance, iou, transform_points
from models.face_crop.landmarks import LEFT_EYE, RIGHT_EYE

MEMORY_FRAMES = 15
"""A track unseen for this many frames is dropped: half a second at 30 fps."""

CARRY_MAX_FRAMES = 8
"""Flow alone may carry a track this long before a detection must agree."""

_BLEND = 0.5
_BLEND_MAX_SHIFT = 0.15
_MATCH_MIN_IOU = 0.2
_MATCH_MAX_DISTANCE = 0.6


@dataclass(slots=True, kw_only=True, eq=False)
class Track:
    """One face as long as it stays in view.

    Attributes:
        number: counts tracks in this session; says nothing about who it is.
        box: in frame pixels.
        landmarks: float32 of shape (6, 2), frame pixels.
        score: of the latest detection.
        visible: a detection or flow supports this very frame.
        flowed: flow carried it to this frame.
        unseen_frames: frames since it was last visible.
        undetected_frames: frames since the latest detection.
        unrefined_frames: frames since the latest detection in close-up, or the first from afar after it.
        is_refined: no detection from afar has come since the latest in close-up.
        velocity: pixels per frame, x and y, used only while nothing supports the track.
    """

    number: int
    box: Box
    landmarks: Float32Array
    score: float
    visible: bool = True
    flowed: bool = False
    unseen_frames: int = 0
    undetected_frames: int = 0
    unrefined_frames: int = 0
    is_refined: bool = True
    velocity: tuple[float, float] = (0.0, 0.0)


class Tracker:
    """All faces in view; at most one track per detection."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []
        self._next_number = 1

    def advance(self, before: UInt8Array | None, after: UInt8Array, *, scale: float) -> None:
        """Move every track to the next frame, by flow where it can be trusted, else by its last velocity.

        Args:
            before: grey view of the previous frame, uint8 of shape (h, w), None if there is none.
            after: grey view of this frame.
            scale: view pixels per frame pixel.
        """
        for track in self.tracks:
            track.undetected_frames += 1
            track.unrefined_frames += 1
            matrix = None
            if before is not None and track.visible:
                matrix = carry(before, after, track.box.scaled(scale))
            track.flowed = matrix is not None
            if matrix is not None:
                _apply(track, matrix, scale)
            else:
                track.box = track.box.shifted(*track.velocity)
                track.landmarks = np.asarray(track.landmarks + track.velocity, np.float32)
                track.velocity = (track.velocity[0] * 0.7, track.velocity[1] * 0.7)
            track.visible = track.flowed and track.undetected_frames <= CARRY_MAX_FRAMES

    def support(self, track: Track, detection: Detection, *, fine: bool) -> None:
        """Let a detection correct a track.

        Args:
            track: one of `tracks`.
            detection: the same face on this frame, in frame pixels.
            fine: its landmarks come from a close-up; coarse ones are used only where flow has failed.
        """
        if fine or not track.flowed:
            weight = _blend_weight(track, detection)
            moved = _mix(track.landmarks, detection.landmarks, weight)
            before = track.box.centre
            track.box = Box.of(_mix(_xyxy(track.box), _xyxy(detection.box), weight))
            track.landmarks = moved
            if not track.flowed and track.unseen_frames == 0:
                centre = track.box.centre
                track.velocity = (
                    track.velocity[0] / 0.7 + centre[0] - before[0],
                    track.velocity[1] / 0.7 + centre[1] - before[1],
                )
        track.score = detection.score
        track.visible = True
        track.undetected_frames = 0
        if fine or track.is_refined:
            # One look from afar may stand for a close-up; many would let the landmarks drift.
            track.unrefined_frames = 0
        track.is_refined = fine

    def take(self, detections: tuple[Detection, ...], *, fine: bool) -> list[Track]:
        """Give each detection to the nearest track, or begin a new one; return the tracks it supported."""
        pairs = sorted(
            (
                (centre_distance(track.box, detection.box) / max(1.0, track.box.side), t, d)
                for t, track in enumerate(self.tracks)
                for d, detection in enumerate(detections)
                if _may_match(track.box, detection.box)
            ),
        )
        supported: dict[int, Track] = {}
        used: set[int] = set()
        for _, t, d in pairs:
            if t in supported or d in used:
                continue
            self.support(self.tracks[t], detections[d], fine=fine)
            supported[t] = self.tracks[t]
            used.add(d)
        for d, detection in enumerate(detections):
            if d not in used:
                self._begin(detection)
        return list(supported.values())

    def settle(self) -> None:
        """End the frame: count unseen frames, drop dead tracks and those that fell onto another."""
        for track in self.tracks:
            track.unseen_frames = 0 if track.visible else track.unseen_frames + 1
        alive = [track for track in self.tracks if track.unseen_frames <= MEMORY_FRAMES]
        self.tracks = [
            track for i, track in enumerate(alive) if not any(_is_twin(track, older) for older in alive[:i])
        ]

    @property
    def visible(self) -> tuple[Track, ...]:
        """Tracks supported on this frame."""
        return tuple(track for track in self.tracks if track.visible)

    def _begin(self, detection: Detection) -> None:
        self.tracks.append(
            Track(
                number=self._next_number,
                box=detection.box,
                landmarks=detection.landmarks,
                score=detection.score,
            )
        )
        self._next_number += 1


def _apply(track: Track, matrix: Float32Array, scale: float) -> None:
    old = track.box.centre
    track.landmarks = transform_points(matrix, track.landmarks * np.float32(scale)) / np.float32(scale)
    centre = transform_points(matrix, np.array([old], np.float32) * np.float32(scale))[0] / np.float32(scale)
    growth = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    half_width, half_height = track.box.width * growth / 2, track.box.height * growth / 2
    x, y = float(centre[0]), float(centre[1])
    track.box = Box(x_min=x - half_width, y_min=y - half_height, x_max=x + half_width, y_max=y + half_height)
    track.velocity = (x - old[0], y - old[1])


def _blend_weight(track: Track, detection: Detection) -> float:
    if not track.flowed:
        return 1.0
    eyes = float(np.hypot(*(track.landmarks[LEFT_EYE] - track.landmarks[RIGHT_EYE])))
    shift = float(np.abs(track.landmarks[:4] - detection.landmarks[:4]).mean())
    return _BLEND if shift < _BLEND_MAX_SHIFT * eyes else 1.0


def _mix(old: Float32Array, new: Float32Array, weight: float) -> Float32Array:
    return np.asarray(old + (new - old) * np.float32(weight), np.float32)


def _xyxy(box: Box) -> Float32Array:
    return np.array([box.x_min, box.y_min, box.x_max, box.y_max], np.float32)


def _may_match(a: Box, b: Box) -> bool:
    sides = sorted((a.side, b.side))
    if sides[0] * 2.5 < sides[1]:
        return False
    return iou(a, b) >= _MATCH_MIN_IOU or centre_distance(a, b) < _MATCH_MAX_DISTANCE * sides[0]


def _is_twin(track: Track, older: Track) -> bool:
    return track.undetected_frames >= older.undetected_frames and iou(track.box, older.box) > 0.6
