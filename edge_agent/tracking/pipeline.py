"""From a captured frame to a face worth sealing, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from edge_agent.camera.frames import Frame, UInt8Array, View, make_view
from edge_agent.tracking.crop_encoding import LADDER, EncodedCrop, Step, encode_crop
from edge_agent.tracking.detection import eyes_roll_deg
from edge_agent.tracking.fallback_search import EAGER_FRAMES, FallbackSearch
from edge_agent.tracking.fallbacks import ALL_FALLBACKS, Fallback
from edge_agent.tracking.gate import GateSettings, refuse_choice, refuse_quality
from edge_agent.tracking.geometry import Box
from edge_agent.tracking.lost_search import LostSearch
from edge_agent.tracking.schedule import Look, Schedule, are_near
from edge_agent.tracking.search import FaceSearch
from edge_agent.tracking.subject_selector import Choice, ConsentedTrack
from edge_agent.tracking.tracks import MEMORY_FRAMES, Track, Tracker
from models.face_crop.alignment import cut_crop
from models.face_crop.quality import Quality, is_dark, measure
from privacy.protocol.messages import SkipReason

_FLOW_MAX_STEP_FRAMES = 3
"""Over a longer gap, what moved is not told from what changed."""

_NOMINAL_FRAME_US = 1e6 / 30
_ABSENCE_MAX_US = 2_000_000

_SAME_SHAPE_MAX = 0.02
"""A size is rounded to even pixels; sides that differ by more from the scaled ones are another shape."""

_ELAPSED_MAX_FRAMES = 6
"""The choice of the viewer stands after a second of pictures, at least five of them."""

_UNCHOSEN_CLOSE_UP_EVERY = 3
_UNCHOSEN_CLOSE_UPS_MAX = 2
_RETURNING_CLOSE_UP_EVERY = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What became of one frame.

    Attributes:
        frame: its index.
        monotonic_us: its capture time.
        faces: faces visible in it.
        skip: a `SkipReason` value, None where `crop` may be sealed.
        crop: the viewer's face, encoded, None where skipped.
        quality: of the crop, None where none was cut.
        score: the detector's latest score of the viewer's face, in [0, 1].
        look: how closely the network looked.
    """

    frame: int
    monotonic_us: int
    faces: int
    skip: str | None
    crop: EncodedCrop | None
    quality: Quality | None
    score: float
    look: Look

    @property
    def second_face(self) -> bool:
        """Whether a face beside the viewer's was in view, and dropped."""
        return self.faces > 1 or self.skip == SkipReason.SECOND_FACE


def absent_outcome(frame: int, *, monotonic_us: int, reason: SkipReason) -> Outcome:
    """Return the outcome of a frame that has no picture.

    Args:
        frame: its index.
        monotonic_us: when it would have been captured.
        reason: why there is none.
    """
    return Outcome(
        frame=frame,
        monotonic_us=monotonic_us,
        faces=0,
        skip=reason.value,
        crop=None,
        quality=None,
        score=0.0,
        look=Look.CARRY,
    )


class FramePipeline:
    """The agent's view of one camera, frame after frame; no clock, no device, no network.

    Args:
        search: the face search, with its network.
        content_limit_bytes: longest crop that fits an envelope.
        gate: thresholds of the quality gate.
        ladder: how crops may be encoded, best first.
        fallbacks: what to try while no face is seen.
        tracker: of its own, without tracks yet; None makes one.
    """

    def __init__(
        self,
        search: FaceSearch,
        *,
        content_limit_bytes: int,
        gate: GateSettings | None = None,
        ladder: Sequence[Step] = LADDER,
        fallbacks: Sequence[Fallback] = ALL_FALLBACKS,
        tracker: Tracker | None = None,
    ) -> None:
        self._search = search
        self._limit_bytes = content_limit_bytes
        self._gate = gate or GateSettings()
        self._ladder = ladder
        self._tracker = tracker or Tracker()
        self._schedule = Schedule()
        self._viewer = ConsentedTrack()
        self._fallbacks = FallbackSearch(search, fallbacks)
        self._lost_search = LostSearch(search)
        self._last_place: Box | None = None
        self._last_place_age = 0
        self._before: UInt8Array | None = None
        self._before_index = -1
        self._before_us = 0
        self._size: tuple[int, int] | None = None

    def look_at(self, frame: Frame) -> Outcome:
        """Handle one frame; frames come in order of capture.

        Raises:
            DetectorError: the network failed.
        """
        view = make_view(frame)
        elapsed_frames = self._elapsed_frames(frame)
        self._follow_size(frame, view)
        self._advance(frame, view)
        look, rivals, glimpses = self._look(frame, view, elapsed_frames=elapsed_frames)
        glimpses += self._look_where_lost(frame)
        is_unlit = not self._tracker.visible and is_dark(view.grey)
        if not is_unlit:
            self._fall_back(frame)
        choice = self._viewer.choose(
            self._tracker.tracks,
            width=frame.width,
            height=frame.height,
            rivals=rivals,
            glimpses=glimpses,
            is_surveyed=not self._fallbacks.is_surveying,
            is_unlit=is_unlit,
            elapsed_frames=min(elapsed_frames, _ELAPSED_MAX_FRAMES),
        )
        self._tracker.settle()
        skip = refuse_choice(choice, dark=choice.faces == 0 and is_unlit)
        if skip is not None or choice.track is None:
            return _outcome(frame, choice, look, skip=skip or SkipReason.NO_FACE)
        return self._crop(frame, choice, choice.track, look)

    def _follow_size(self, frame: Frame, view: View) -> None:
        """Carry places over where pictures change size; where they change shape, nothing known is where it was."""
        size, before = (frame.width, frame.height), self._size
        self._size = size
        if before is None or before == size:
            return
        factor = size[0] / before[0]
        if abs(factor * before[1] - size[1]) > _SAME_SHAPE_MAX * size[1]:
            self._tracker.forget()
            self._viewer.forget_place()
            self._before = self._last_place = None
            return
        self._tracker.rescale(factor)
        self._viewer.rescale(factor)
        self._last_place = None if self._last_place is None else self._last_place.scaled(factor)
        if self._before is not None:
            self._before = np.asarray(cv2.resize(self._before, view.grey.shape[::-1]), np.uint8)

    def _advance(self, frame: Frame, view: View) -> None:
        before = self._before if frame.index - self._before_index <= _FLOW_MAX_STEP_FRAMES else None
        self._tracker.advance(before, view.grey, scale=view.scale)
        self._before, self._before_index = view.grey, frame.index

    def _elapsed_frames(self, frame: Frame) -> int:
        """Return the time since the previous frame in nominal ones; over a long absence, forget who was where."""
        since_us, self._before_us = frame.monotonic_us - self._before_us, frame.monotonic_us
        passed = frame.index - self._before_index
        if passed > MEMORY_FRAMES or (passed > 1 and since_us > _ABSENCE_MAX_US):
            # Whoever sits there now may be somebody else: the choice must be clear again.
            self._tracker.forget()
        return max(1, round(since_us / _NOMINAL_FRAME_US))

    def _look(
        self, frame: Frame, view: View, *, elapsed_frames: int
    ) -> tuple[Look, tuple[Box, ...], tuple[Box, ...]]:
        followed, is_settled = self._viewer.followed, self._viewer.is_settled
        look = self._schedule.next_look(
            self._tracker.tracks,
            followed=followed,
            is_settled=is_settled,
            is_guarded=self._viewer.is_guarded,
            elapsed_frames=elapsed_frames,
        )
        rivals: tuple[Box, ...] = ()
        glimpses: tuple[Box, ...] = ()
        if look is Look.SCAN:
            known = (followed.box,) if followed is not None else ()
            tracked = tuple(track.box for track in self._tracker.tracks if track is not followed)
            sighting = self._search.scan(frame, view, known=known, tracked=tracked, is_wary=not is_settled)
            self._tracker.take(sighting.faces, fine=False)
            rivals = sighting.rivals
        for track in self._due_tracks(followed, look, is_settled=is_settled):
            roll_deg = eyes_roll_deg(track.landmarks)
            if track is followed:
                closer = self._search.close_look(frame, track.box, roll_deg=roll_deg)
                face, glimpses = closer.face, closer.others
            else:
                face = self._search.close_up(frame, track.box, roll_deg=roll_deg)
            if face is not None:
                self._tracker.support(track, face, fine=True)
            elif track is followed:
                self._tracker.miss(track)
        return look, rivals, glimpses

    def _look_where_lost(self, frame: Frame) -> tuple[Box, ...]:
        """Look around the place where the viewer was lost; return whom else that shows."""
        tracked = [track.box for track in self._tracker.visible]
        faces, others = self._lost_search.step(frame, place=self._viewer.lost_at, tracked=tracked)
        self._tracker.take(faces, fine=True)
        return others

    def _due_tracks(self, followed: Track | None, look: Look, *, is_settled: bool) -> Sequence[Track]:
        """Return the tracks that need a close-up on this frame.

        While nobody is chosen that is each that the scans do not see: what was found by looking again must not
        fade, or the other of two would seem alone. Tracks that are near another are left out: two close-ups of
        one face would make one track of two.
        """
        if followed is not None and followed in self._tracker.tracks:
            is_due = self._schedule.is_close_up_due(
                followed, is_settled=is_settled, is_guarded=self._viewer.is_guarded
            )
            return [followed] if look is not Look.CARRY and is_due else []
        tracks, returning = self._tracker.tracks, self._viewer.returning
        if (
            returning is not None
            and returning in tracks
            and returning.unrefined_frames >= _RETURNING_CLOSE_UP_EVERY
        ):
            return [returning]
        missed = [
            track
            for track in tracks
            if track.undetected_frames >= _UNCHOSEN_CLOSE_UP_EVERY
            and not any(are_near(track, other) for other in tracks if other is not track)
        ]
        return sorted(missed, key=lambda t: -t.undetected_frames)[:_UNCHOSEN_CLOSE_UPS_MAX]

    def _fall_back(self, frame: Frame) -> None:
        visible = self._tracker.visible
        self._last_place_age += 1
        if visible:
            self._last_place = max(visible, key=lambda track: track.box.area).box
            self._last_place_age = 0
        elif self._last_place_age > EAGER_FRAMES:
            self._last_place = None
        face = self._fallbacks.step(
            frame,
            tracked=[track.box for track in visible],
            last=self._last_place,
            is_followed=self._viewer.followed is not None,
        )
        if face is not None:
            self._tracker.take((face,), fine=True)

    def _crop(self, frame: Frame, choice: Choice, track: Track, look: Look) -> Outcome:
        try:
            crop = cut_crop(frame.pixels, track.landmarks)
        except ValueError:
            return _outcome(frame, choice, look, skip=SkipReason.LOW_QUALITY)
        quality = measure(crop, track.landmarks)
        skip = refuse_quality(quality, self._gate)
        encoded = None
        if skip is None:
            encoded = encode_crop(crop, limit_bytes=self._limit_bytes, ladder=self._ladder)
            skip = SkipReason.TOO_LARGE if encoded is None else None
        return Outcome(
            frame=frame.index,
            monotonic_us=frame.monotonic_us,
            faces=choice.faces,
            skip=skip,
            crop=encoded,
            quality=quality,
            score=track.score,
            look=look,
        )


def _outcome(frame: Frame, choice: Choice, look: Look, *, skip: str) -> Outcome:
    return Outcome(
        frame=frame.index,
        monotonic_us=frame.monotonic_us,
        faces=choice.faces,
        skip=skip,
        crop=None,
        quality=None,
        score=0.0,
        look=look,
    )
