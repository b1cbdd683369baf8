"""Choose the one track that may go on: the consented viewer's.

Rules (architecture rule G10). Only the chosen track is ever cropped. With one face in view, it is the
viewer. With several at the start, the viewer is the one that is clearly largest and nearest the middle
for a third of a second; until then every frame is dropped as ambiguous. A rival, which is anything beside it that is
about as large and looks at all like a face, confirmed or not, leaves the choice open, and reopens it for a second.
After that second a track is followed however many others appear, until it touches another one or is lost;
then nothing goes on until the choice is clear again, because nothing here can tell two people apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from edge_agent.tracking.geometry import Box, centre_distance, iou
from edge_agent.tracking.tracks import Track
from edge_agent.tracking.viewer_place import ViewerPlace


class Standing(Enum):
    """What is known about the viewer on one frame."""

    FOLLOWED = "followed"
    HIDDEN = "hidden"
    AMBIGUOUS = "ambiguous"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """The outcome on one frame.

    Attributes:
        standing: whether a track may go on, and if not, why.
        track: the viewer's track where `standing` is FOLLOWED, else None.
        faces: visible faces, the viewer's among them.
    """

    standing: Standing
    track: Track | None
    faces: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceSettings:
    """How sure is sure.

    Attributes:
        return_frames: a single face must be seen alone this long before it is the viewer again.
        crowd_frames: among several, one must be dominant this long.
        dominance: how many times more prominent than the next one.
        touch_distance: centre distance over mean side below which two tracks may swap.
        touch_iou: overlap above which two tracks may swap.
        rival_size: smallest and largest side of a rival, per side of the viewer's face.
        rival_memory_frames: a rival that was not confirmed counts for this long after it was last seen.
        probation_frames: a rival reopens a choice that is not older than this, in frames of 30 a second.
        incumbent_frames: a rival who comes later than this suspends it.
    """

    return_frames: int = 3
    crowd_frames: int = 10
    dominance: float = 1.3
    touch_distance: float = 0.75
    touch_iou: float = 0.1
    rival_size: tuple[float, float] = (0.7, 2.0)
    rival_memory_frames: int = 15
    probation_frames: int = 30
    incumbent_frames: int = 8


class ConsentedTrack:
    """Follows the viewer's track through one session."""

    def __init__(self, settings: ChoiceSettings | None = None) -> None:
        self._settings = settings or ChoiceSettings()
        self._followed: Track | None = None
        self._candidate: Track | None = None
        self._streak = 0
        self._was_followed = False
        self._age_frames = 0.0
        self._followed_frames = 0
        self._rivals: list[tuple[Box, int]] = []
        self._place = ViewerPlace()

    @property
    def is_guarded(self) -> bool:
        """Whether somebody is near who may hide the viewer next."""
        return self._place.is_guarded

    @property
    def lost_at(self) -> Box | None:
        """Where the viewer's face was when it was lost; None while it is followed, or where that matters no more."""
        return self._place.box if self._followed is None else None

    @property
    def returning(self) -> Track | None:
        """The track that waits to be the viewer's again; where its face is must be known well."""
        return self._place.candidate

    @property
    def followed(self) -> Track | None:
        """The chosen track, visible or not."""
        return self._followed

    @property
    def is_settled(self) -> bool:
        """Whether a second face would no longer reopen the choice."""
        return self._followed is not None and self._age_frames >= self._settings.probation_frames

    def forget_place(self) -> None:
        """Pictures have another shape from now on: where anybody was says nothing any more."""
        self._place.forget()

    def rescale(self, factor: float) -> None:
        """Multiply every remembered place, as when the pictures are resized."""
        self._place.rescale(factor)
        self._rivals = [(box.scaled(factor), age) for box, age in self._rivals]

    def choose(
        self,
        tracks: Sequence[Track],
        *,
        width: int,
        height: int,
        rivals: Sequence[Box] = (),
        glimpses: Sequence[Box] = (),
        is_surveyed: bool = True,
        is_unlit: bool = False,
        elapsed_frames: float = 1.0,
    ) -> Choice:
        """Decide for one frame.

        Args:
            tracks: all live tracks after this frame's look.
            width: of the frame, in pixels.
            height: of the frame, in pixels.
            rivals: places that this frame's look found to be like a face, without confirming it.
            glimpses: faces that this frame's close-up of the viewer's showed beside it.
            is_surveyed: other faces would be seen, were they there; until then nobody is chosen.
            is_unlit: the picture is too dark to show anybody.
            elapsed_frames: time since the frame before, in frames of 30 a second.
        """
        visible = [track for track in tracks if track.visible]
        self._remember(rivals)
        self._age_frames += elapsed_frames
        self._followed_frames += 1
        is_open = self._doubt(tracks, visible, glimpses)
        size = (width, height)
        if self._followed is not None:
            self._place.keep(self._followed, visible, glimpses=glimpses, size=size, is_sure=not is_open)
        else:
            self._place.wait(visible, glimpses=glimpses, size=size, is_unlit=is_unlit)
        if self._followed is None and is_surveyed and not is_open:
            if self._place.box is None:
                self._seek(visible, width=width, height=height)
            else:
                self._followed = self._place.returned(visible)
        if self._followed is None or is_open:
            standing = Standing.AMBIGUOUS if visible else Standing.NOBODY
            return Choice(standing=standing, track=None, faces=len(visible))
        if not self._followed.visible:
            return Choice(standing=Standing.HIDDEN, track=None, faces=len(visible))
        return Choice(standing=Standing.FOLLOWED, track=self._followed, faces=len(visible))

    def _doubt(self, tracks: Sequence[Track], visible: Sequence[Track], glimpses: Sequence[Box]) -> bool:
        """Give up a track that may not be the viewer's any more; tell whether this frame leaves the choice open."""
        followed = self._followed
        if followed is None:
            return False
        is_live = any(track is followed for track in tracks)
        is_contested = is_live and not self.is_settled and self._is_contested(followed, visible)
        if is_contested and self._followed_frames <= self._settings.incumbent_frames:
            self._release()
            self._place.forget()
            return True
        if is_contested:
            self._age_frames = 0.0
        if not is_live or self._place.may_be_hidden(followed):
            self._release()
            self._place.lose(followed, tracks)
            return False
        return (
            is_contested
            or self._touches(followed, visible)
            or any(self._is_touching(followed.box, box) for box in glimpses)
        )

    def _remember(self, rivals: Sequence[Box]) -> None:
        kept = [
            (box, age + 1)
            for box, age in self._rivals
            if age < self._settings.rival_memory_frames
            and not any(_is_same_place(box, new) for new in rivals)
        ]
        self._rivals = kept + [(box, 0) for box in rivals]

    def _is_contested(self, chosen: Track, visible: Sequence[Track]) -> bool:
        """Tell whether another face, confirmed or not, could as well be the viewer's."""
        least, most = (factor * chosen.box.side for factor in self._settings.rival_size)
        if any(track is not chosen and track.box.side >= least for track in visible):
            return True
        return any(
            least <= rival.side <= most and not _is_on_body(rival, chosen.box)
            for rival, _ in self._rivals
            if not any(_is_same_place(rival, track.box) for track in visible)
        )

    def _release(self) -> None:
        self._followed, self._candidate, self._streak = None, None, 0

    def _touches(self, followed: Track, visible: Sequence[Track]) -> bool:
        return any(self._is_touching(followed.box, other.box) for other in visible if other is not followed)

    def _is_touching(self, a: Box, b: Box) -> bool:
        settings = self._settings
        mean_side = (a.side + b.side) / 2
        return centre_distance(a, b) < settings.touch_distance * mean_side or iou(a, b) > settings.touch_iou

    def _seek(self, visible: Sequence[Track], *, width: int, height: int) -> None:
        if not visible:
            self._candidate, self._streak = None, 0
            return
        ranked = sorted(visible, key=lambda t: _prominence(t, width, height), reverse=True)
        best = ranked[0]
        clear = not self._is_contested(best, visible) and (
            len(ranked) == 1
            or (
                _prominence(best, width, height)
                >= self._settings.dominance * _prominence(ranked[1], width, height)
                and not self._touches(best, visible)
            )
        )
        if not clear:
            self._candidate, self._streak = None, 0
            return
        self._streak = self._streak + 1 if best is self._candidate else 1
        self._candidate = best
        if self._streak >= self._needed(len(ranked)):
            self._followed, self._was_followed, self._age_frames = best, True, 0.0
            self._followed_frames = 0
            self._candidate, self._streak = None, 0

    def _needed(self, faces: int) -> int:
        if faces > 1:
            return self._settings.crowd_frames
        return self._settings.return_frames if self._was_followed else 1


def _is_same_place(a: Box, b: Box) -> bool:
    return centre_distance(a, b) < 0.75 * min(a.side, b.side) or iou(a, b) > 0.3


def _is_on_body(place: Box, face: Box) -> bool:
    """Tell whether a place lies where the body of this face is: prints on clothes and hands look like faces."""
    (x, y), (face_x, face_y) = place.centre, face.centre
    return y - face_y > 0.6 * face.side and abs(x - face_x) < 2 * face.side


def _prominence(track: Track, width: int, height: int) -> float:
    x, y = track.box.centre
    off_x, off_y = abs(2 * x / width - 1), abs(2 * y / height - 1)
    return track.box.area * (1 - 0.5 * min(1.0, max(off_x, off_y)))
