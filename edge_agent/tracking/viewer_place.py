"""Where the viewer's face is, who may hide it, and when a face is the viewer's again after it was lost.

While the viewer is followed, the place of the last trustworthy look is kept. A track ends as soon as it may have passed to
somebody else: detections move or resize it beyond what optical flow carried, or the flow breaks up while somebody is
near. From then on the choice is open, and a face is the viewer's only if it keeps still where the viewer was, while
everybody else is accounted for; the less of this is certain, the longer it must keep still.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.tracking.company import Company, face_distance
from edge_agent.tracking.geometry import Box, centre_distance
from edge_agent.tracking.tracks import JUMP_MAX_GROWTH, JUMP_MAX_SHIFT, Track


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceSettings:
    """How sure is sure. Distances are in sides of the viewer's face, growth is a factor, either way.

    Attributes:
        sure_agreement: of flow from which a look is trustworthy.
        guarded_agreement: of flow below which the viewer may be hidden, while somebody is near.
        hidden_agreement: the same where nobody is known to be near, and a close-up does not see the viewer.
        still: how far a face that waits to be the viewer's may move, and how much farther with each frame.
        return_frames: how long it must be still where the viewer was, within `return_distance` and `return_growth`.
        return_distance: see there.
        return_growth: see there.
        loose_distance: enough where everybody who may have hidden the viewer was seen to go away.
        loose_growth: the same for the size.
        near_frames: how long it must be still within `near_distance` and `near_growth`, in the same case, and where
            nobody can have hidden the viewer who was clear to see a frame before.
        near_distance: see there.
        near_growth: see there.
        elsewhere_frames: how long any other face must be still, and alone.
        unclear_frames: how long any face must be still while somebody is not accounted for.
        steady_frames: who was clear to see for so long, and is gone from one frame to the next, has moved.
        empty_frames: after so long without any face it no longer matters where the viewer was.
    """

    sure_agreement: float = 0.8
    guarded_agreement: float = 0.6
    hidden_agreement: float = 0.5
    still: tuple[float, float] = (0.05, 0.02)
    return_frames: int = 3
    return_distance: float = 0.35
    return_growth: float = 1.25
    loose_distance: float = 0.6
    loose_growth: float = 1.3
    near_frames: int = 10
    near_distance: float = 1.2
    near_growth: float = 1.3
    elsewhere_frames: int = 60
    unclear_frames: int = 300
    steady_frames: int = 5
    empty_frames: int = 90


class ViewerPlace:
    """The viewer's place and the company there; pure, one call per frame."""

    def __init__(self, settings: PlaceSettings | None = None) -> None:
        self._settings = settings or PlaceSettings()
        self._company = Company()
        self._box: Box | None = None
        self._lost_number = 0
        self._is_sudden = False
        self._steady_frames = 0
        self._empty_frames = 0
        self._candidate: Track | None = None
        self._began_at: Box | None = None
        self._streak = 0

    @property
    def box(self) -> Box | None:
        """The viewer's face when it was last seen for sure; None where that matters no more."""
        return self._box

    @property
    def is_guarded(self) -> bool:
        """Whether somebody is near who may hide the viewer next."""
        return self._company.is_near()

    @property
    def candidate(self) -> Track | None:
        """The track that waits to be the viewer's again."""
        return self._candidate

    def forget(self) -> None:
        """Begin anew: it is open again who the viewer is."""
        self._box = None
        self._company.clear()

    def rescale(self, factor: float) -> None:
        """Multiply every place, as when the pictures are resized."""
        self._box = None if self._box is None else self._box.scaled(factor)
        self._began_at = None if self._began_at is None else self._began_at.scaled(factor)
        self._company.rescale(factor)

    def may_be_hidden(self, followed: Track) -> bool:
        """Tell whether somebody may have come before the viewer's face, so that its track shows somebody else."""
        settings = self._settings
        if _has_drifted(followed):
            return True
        is_missed = followed.missed_at_frames > 0
        if self.is_guarded:
            return is_missed or followed.agreement < settings.guarded_agreement
        return is_missed and followed.agreement < settings.hidden_agreement

    def lose(self, lost: Track, tracks: Sequence[Track]) -> None:
        """Note that the viewer's track is not the viewer's for certain any more, or has ended."""
        self._candidate, self._streak = None, 0
        self._lost_number = lost.number if any(track is lost for track in tracks) else 0
        self._is_sudden = self._steady_frames >= self._settings.steady_frames

    def keep(
        self,
        followed: Track,
        visible: Sequence[Track],
        *,
        glimpses: Sequence[Box],
        size: tuple[int, int],
        is_sure: bool,
    ) -> None:
        """Take in a frame on which the viewer is followed.

        Args:
            followed: the viewer's track.
            visible: all visible tracks.
            glimpses: faces that close-ups of this frame showed beside the viewer's.
            size: width and height of the frame, in pixels.
            is_sure: nobody touches the viewer's face, and nobody could as well be the viewer.
        """
        is_clear = followed.visible and followed.agreement >= self._settings.sure_agreement
        if is_sure and is_clear and followed.undetected_frames == 0:
            if not self.is_guarded:
                followed.carried = followed.box
            # Of a face that is partly covered the network sees a part: flow knows better where it is.
            self._box = followed.carried
        self._steady_frames = self._steady_frames + 1 if is_clear and not self.is_guarded else 0
        self._empty_frames = 0
        others = [track for track in visible if track is not followed]
        self._company.note(others, viewer=followed.box, size=size, glimpses=glimpses)

    def wait(
        self,
        visible: Sequence[Track],
        *,
        glimpses: Sequence[Box],
        size: tuple[int, int],
        is_unlit: bool = False,
    ) -> None:
        """Take in a frame on which the viewer is lost; parameters as of `keep`.

        In the dark nobody hides the viewer, who may be anywhere when there is light again.
        """
        if not any(track.number == self._lost_number for track in visible):
            self._lost_number = 0
        if self._box is None:
            return
        self._empty_frames = 0 if visible else self._empty_frames + 1
        self._company.note(visible, viewer=self._box, size=size, glimpses=glimpses, is_open=True)
        if (is_unlit or self._empty_frames >= self._settings.empty_frames) and self._company.is_gone:
            self.forget()

    def returned(self, visible: Sequence[Track]) -> Track | None:
        """Return the track that is the viewer's again on this frame, None while that is open."""
        candidate = self._only_one(visible)
        if candidate is None or self._box is None:
            self._candidate, self._streak = None, 0
            return None
        if candidate is not self._candidate or self._has_moved(candidate):
            self._candidate, self._streak, self._began_at = candidate, 0, candidate.box
        if candidate.agreement < self._settings.guarded_agreement and candidate.undetected_frames > 0:
            self._streak = 0
            return None
        self._streak += 1
        needed = self._frames_to_return(candidate, self._box)
        if self._streak < needed:
            return None
        if needed > self._settings.near_frames and len(visible) == 1:
            self._company.clear()
        candidate.carried = candidate.box
        self._candidate, self._streak = None, 0
        return candidate

    def _only_one(self, visible: Sequence[Track]) -> Track | None:
        """Return the one face that could be the viewer's: the one that is least known as somebody else's."""
        company = self._company
        for others in (company.numbers, company.known_numbers, company.unbroken_numbers):
            left = [track for track in visible if track.number not in others]
            if left:
                return left[0] if len(left) == 1 else None
        return None

    def _frames_to_return(self, face: Track, place: Box) -> int:
        settings = self._settings
        if not self._company.is_accounted_for(face, is_unbroken=face.number == self._lost_number):
            return settings.unclear_frames
        distance = centre_distance(face.box, place) / max(1.0, place.side)
        growth = _growth(face.box, place)
        if distance < settings.return_distance and growth < settings.return_growth:
            return settings.return_frames
        was_seen_to_go = self._company.is_known
        if was_seen_to_go and distance < settings.loose_distance and growth < settings.loose_growth:
            return settings.return_frames
        is_explained = was_seen_to_go or self._is_sudden
        if is_explained and distance < settings.near_distance and growth < settings.near_growth:
            return settings.near_frames
        return settings.elsewhere_frames

    def _has_moved(self, face: Track) -> bool:
        base, more = self._settings.still
        return (
            self._began_at is not None
            and face_distance(face.box, self._began_at) > base + more * self._streak
        )


def _has_drifted(track: Track) -> bool:
    """Tell whether detections have moved a face far from where flow alone would have carried it."""
    shift = centre_distance(track.box, track.carried) / max(1.0, track.carried.side)
    return shift > JUMP_MAX_SHIFT or _growth(track.box, track.carried) > JUMP_MAX_GROWTH


def _growth(a: Box, b: Box) -> float:
    small, large = sorted((max(1.0, a.side), max(1.0, b.side)))
    return large / small
