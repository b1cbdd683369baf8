"""Short-lived tracks of faces, without any template of who they are.

A track is a place that moves. It lives while a detection or trustworthy flow supports it, dies half a
second after both have failed, and its number is never used again. Nothing here could recognise a face
that comes back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import hypot, inf

import numpy as np

from edge_agent.camera.frames import UInt8Array
from edge_agent.tracking.detection import Detection
from edge_agent.tracking.geometry import Box, Float32Array, centre_distance, iou, transform_points
from edge_agent.tracking.optical_flow import Motion, carry
from models.face_crop.landmarks import LEFT_EYE, RIGHT_EYE

MEMORY_FRAMES = 15
"""A track unseen for this many frames is dropped: half a second at 30 fps."""

CARRY_MAX_FRAMES = 8
"""Flow alone may carry a track this long before a detection must agree."""

MISSED_CARRY_FRAMES = 5
"""Flow may carry the viewer's track on for this long after a close-up has failed: as long as between `CARRY_MAX_FRAMES`
and a close-up on every third frame, however late a close-up was due."""

_WEAK_AGREEMENT = 0.8
"""Share of agreeing points below which flow says little about where the landmarks went."""

JUMP_MAX_SHIFT = 0.25
"""A detection farther from where flow carried a face, in face sides, is of another face, or tells nothing."""

JUMP_MAX_GROWTH = 1.25
"""The same for its size: larger or smaller by this factor."""

_LOOSE_MAX_SHIFT = 0.5
_LOOSE_MAX_GROWTH = 1.5
"""The same where flow has failed, or the face is seen from afar."""

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
        agreement: share of the followed points that moved alike to this frame; 0 where flow failed.
        unseen_frames: frames since it was last visible.
        undetected_frames: frames since the latest detection.
        unrefined_frames: frames since the latest detection in close-up, or the first from afar after it.
        is_refined: no detection from afar has come since the latest in close-up.
        missed_at_frames: `undetected_frames` when a close-up of the viewer first failed; 0 if none has since.
        unrest: what the latest close-up had to correct, in eye distances, and how far the face has moved, grown
            and turned since, in face sides and radians; infinite where flow was weak or a close-up stood alone.
        velocity: pixels per frame, x and y, used only while nothing supports the track.
        carried: where flow alone would have carried the box since who follows it last set this to the box.
    """

    number: int
    box: Box
    landmarks: Float32Array
    score: float
    visible: bool = True
    flowed: bool = False
    agreement: float = 1.0
    unseen_frames: int = 0
    undetected_frames: int = 0
    unrefined_frames: int = 0
    is_refined: bool = True
    missed_at_frames: int = 0
    unrest: float = inf
    velocity: tuple[float, float] = (0.0, 0.0)
    carried: Box = field(default_factory=lambda: Box(x_min=0.0, y_min=0.0, x_max=0.0, y_max=0.0))

    def __post_init__(self) -> None:
        self.carried = self.box


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
            motion = None
            if before is not None and track.visible:
                motion = carry(before, after, track.box.scaled(scale))
            track.flowed = motion is not None
            track.agreement = 0.0 if motion is None else motion.agreement
            if motion is not None:
                _apply(track, motion, scale)
            else:
                track.box = track.box.shifted(*track.velocity)
                track.landmarks = np.asarray(track.landmarks + track.velocity, np.float32)
                track.velocity = (track.velocity[0] * 0.7, track.velocity[1] * 0.7)
            limit = max(CARRY_MAX_FRAMES, track.missed_at_frames + MISSED_CARRY_FRAMES)
            track.visible = track.flowed and track.undetected_frames <= limit

    def rescale(self, factor: float) -> None:
        """Follow a camera or recording that goes on with the same view in more or fewer pixels.

        Args:
            factor: new pixels per old one.
        """
        for track in self.tracks:
            track.box, track.carried = track.box.scaled(factor), track.carried.scaled(factor)
            track.landmarks = np.asarray(track.landmarks * factor, np.float32)
            track.velocity = (track.velocity[0] * factor, track.velocity[1] * factor)

    def forget(self) -> None:
        """Drop every track: what is seen from now on has nothing to do with where they are."""
        self.tracks = []

    def support(self, track: Track, detection: Detection, *, fine: bool) -> None:
        """Let a detection correct a track.

        Args:
            track: one of `tracks`.
            detection: the same face on this frame, in frame pixels.
            fine: its landmarks come from a close-up; coarse ones are used only where flow has failed.

        A detection that lies elsewhere than flow carried the face, or is of another size, may be of somebody
        else: the track ends, and another begins.
        """
        if _is_jump(track, detection, fine=fine):
            if track.flowed and not fine:
                return
            self.tracks = [other for other in self.tracks if other is not track]
            if not any(_may_match(other.box, detection.box) for other in self.tracks if other.visible):
                self._begin(detection)
            return
        if fine or not track.flowed:
            shift = _correction(track, detection)
            weight = _BLEND if track.flowed and shift < _BLEND_MAX_SHIFT else 1.0
            track.unrest = shift if fine and track.flowed else inf
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
        track.missed_at_frames = 0
        if fine or track.is_refined:
            # One look from afar may stand for a close-up; many would let the landmarks drift.
            track.unrefined_frames = 0
        track.is_refined = fine

    def miss(self, track: Track) -> None:
        """Note that a close-up of the viewer's track did not see it."""
        track.missed_at_frames = track.missed_at_frames or track.undetected_frames

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
        known = list(self.tracks)
        taken: set[int] = set()
        used: set[int] = set()
        for _, t, d in pairs:
            if t in taken or d in used:
                continue
            self.support(known[t], detections[d], fine=fine)
            taken.add(t)
            used.add(d)
        for d, detection in enumerate(detections):
            if d not in used:
                self._begin(detection)
        return [track for t, track in enumerate(known) if t in taken and track in self.tracks]

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


def _is_jump(track: Track, detection: Detection, *, fine: bool) -> bool:
    """Tell whether a detection lies where, or is as large as, the face of a track cannot be on this frame."""
    is_tight = fine and track.flowed
    most_shift = JUMP_MAX_SHIFT if is_tight else _LOOSE_MAX_SHIFT
    most_growth = JUMP_MAX_GROWTH if is_tight else _LOOSE_MAX_GROWTH
    shift = centre_distance(track.box, detection.box) / max(1.0, track.box.side)
    small, large = sorted((max(1.0, track.box.side), max(1.0, detection.box.side)))
    return shift > most_shift or large > most_growth * small


def _apply(track: Track, motion: Motion, scale: float) -> None:
    """Move a track by a similarity of the view, which `scale` turns into one of the frame."""
    (a, c, shift_x), (b, d, shift_y) = motion.matrix.tolist()
    on_frame = np.asarray(motion.matrix / np.array([1.0, 1.0, scale], np.float32), np.float32)
    track.landmarks = transform_points(on_frame, track.landmarks)
    growth = hypot(a, b)

    def moved(box: Box) -> Box:
        (x, y), half_width, half_height = box.centre, box.width * growth / 2, box.height * growth / 2
        x, y = a * x + c * y + shift_x / scale, b * x + d * y + shift_y / scale
        return Box(x_min=x - half_width, y_min=y - half_height, x_max=x + half_width, y_max=y + half_height)

    old_x, old_y = track.box.centre
    track.box, track.carried = moved(track.box), moved(track.carried)
    x, y = track.box.centre
    track.velocity = (x - old_x, y - old_y)
    step = hypot(x - old_x, y - old_y) / max(1.0, track.box.side)
    track.unrest += step + abs(growth - 1.0) + abs(b)
    if motion.agreement < _WEAK_AGREEMENT:
        track.unrest = inf


def _correction(track: Track, detection: Detection) -> float:
    """Return how far eyes, nose and mouth lie from where they were carried to, in eye distances."""
    x, y = (track.landmarks[LEFT_EYE] - track.landmarks[RIGHT_EYE]).tolist()
    shift = float(np.abs(track.landmarks[:4] - detection.landmarks[:4]).mean())
    return shift / max(1e-6, hypot(x, y))


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
