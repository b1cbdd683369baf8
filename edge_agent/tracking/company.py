"""Who else is about: places of the people beside the viewer, as long as one of them could be taken for the viewer.

Nobody is recognised here. A stranger is a place that was seen while the viewer was somewhere else, and the number of the
track that was there. Where a stranger came close to the viewer and was not seen to go away again, any face at the
viewer's place may be the stranger's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_agent.tracking.geometry import Box, centre_distance
from edge_agent.tracking.tracks import Track


@dataclass(frozen=True, slots=True, kw_only=True)
class CompanySettings:
    """Distances in sides of the larger of the two faces.

    Attributes:
        near: a stranger within this distance may hide the viewer next.
        coming: within this distance, whoever comes nearer may be anywhere next.
        away: a stranger from this distance on is clear of the viewer.
        apart: two faces that are seen at once, from this distance on, are two people.
        apart_seen: the same where it is certain which of them is the stranger.
        same_person: how far a stranger whose place is known may have come since last seen.
        elsewhere: a face at this distance from the viewer's place is not there, in sides of the viewer's.
        beside: a stranger last seen at this distance was not at the viewer's place, in sides of the viewer's.
        near_frames: a stranger who was near counts as near for this long after he was last seen.
        memory_frames: one who was not seen to go away is remembered for this long.
        approach: change of distance per frame from which somebody comes nearer.
        other_size: a face so much larger or smaller than a stranger's is not the stranger's.
    """

    near: float = 2.0
    coming: float = 3.0
    away: float = 1.5
    apart: float = 0.85
    apart_seen: float = 0.75
    same_person: float = 2.5
    elsewhere: float = 0.8
    beside: float = 0.5
    near_frames: int = 15
    memory_frames: int = 300
    approach: float = 0.01
    other_size: float = 1.4


@dataclass(slots=True, kw_only=True, eq=False)
class Stranger:
    """Somebody beside the viewer.

    Attributes:
        number: of the track, 0 where only a close-up saw them.
        box: where they were last seen, in frame pixels.
        distance: from the viewer's place then, in sides of the larger face.
        unseen_frames: since then.
        is_approaching: came nearer then, or was seen for the first time.
        is_leaving: was on the way over the edge of the frame then.
        is_receding: was farther away then than when seen before that.
        is_known: was seen while the viewer was.
        is_unbroken: by the very track that shows them now, which is never the viewer's.
    """

    number: int
    box: Box
    distance: float
    unseen_frames: int = 0
    is_approaching: bool = True
    is_leaving: bool = False
    is_receding: bool = False
    is_known: bool = True
    is_unbroken: bool = True


class Company:
    """Remembers strangers."""

    def __init__(self, settings: CompanySettings | None = None) -> None:
        self._settings = settings or CompanySettings()
        self._strangers: list[Stranger] = []
        self._unclaimed: frozenset[int] = frozenset()

    @property
    def numbers(self) -> frozenset[int]:
        """Numbers of the tracks that are somebody else's for now."""
        return frozenset(stranger.number for stranger in self._strangers)

    @property
    def is_known(self) -> bool:
        """Whether anybody is remembered who was seen beside the viewer."""
        return any(stranger.is_known for stranger in self._strangers)

    @property
    def known_numbers(self) -> frozenset[int]:
        """Those of them that show somebody who was seen beside the viewer, as far as is known."""
        return frozenset(stranger.number for stranger in self._strangers if stranger.is_known)

    @property
    def unbroken_numbers(self) -> frozenset[int]:
        """Those of them that were there while the viewer was seen: never the viewer's."""
        return frozenset(stranger.number for stranger in self._strangers if stranger.is_unbroken)

    def clear(self) -> None:
        """Forget everybody."""
        self._strangers = []

    def rescale(self, factor: float) -> None:
        """Multiply every place, as when the pictures are resized."""
        for stranger in self._strangers:
            stranger.box = stranger.box.scaled(factor)

    def note(
        self,
        others: Sequence[Track],
        *,
        viewer: Box,
        size: tuple[int, int],
        glimpses: Sequence[Box] = (),
        is_open: bool = False,
    ) -> None:
        """Take in one frame.

        Args:
            others: visible tracks of other faces.
            viewer: where the viewer's face is, or was last seen.
            size: width and height of the frame, in pixels.
            glimpses: faces that a close-up of the viewer's showed beside it.
            is_open: it is in doubt which face is the viewer's.
        """
        for stranger in self._strangers:
            stranger.unseen_frames += 1
        for track in others:
            whose = self._whose(track, viewer, is_open=is_open)
            if whose is None:
                continue
            stranger = whose
            if stranger.unseen_frames > 0 and track.undetected_frames == 0:
                stranger.is_approaching = face_distance(track.box, viewer) < stranger.distance
            elif stranger.unseen_frames > 0 and track.flowed:
                stranger.is_approaching = _closing_speed(track, viewer) > self._settings.approach
            stranger.is_leaving = _is_leaving(track.box, track.velocity, size)
            stranger.number = track.number
            _see(stranger, track.box, viewer)
        for box in glimpses:
            self._glimpse(box, viewer, is_open=is_open)
        self._reunite()
        self._unclaimed = frozenset(track.number for track in others) - self.numbers
        self._strangers = [s for s in self._strangers if not self._is_over(s)]

    def _reunite(self) -> None:
        """Take new faces elsewhere for those who are not accounted for: somebody went there unseen."""
        for missing in [
            s for s in self._strangers if s.is_known and s.unseen_frames and not self._is_elsewhere(s)
        ]:
            found = next((s for s in self._strangers if not s.is_known and self._is_elsewhere(s)), None)
            if found is None:
                return
            found.is_known = True
            self._strangers.remove(missing)

    def is_near(self) -> bool:
        """Tell whether somebody may hide the viewer now."""
        settings = self._settings
        return any(
            s.distance < settings.near and s.unseen_frames <= settings.near_frames for s in self._strangers
        )

    def is_accounted_for(self, face: Track, *, is_unbroken: bool = False) -> bool:
        """Tell whether everybody is known to be elsewhere than at the viewer's place, or not to be this face.

        Args:
            face: that may be the viewer's.
            is_unbroken: its track is the viewer's since before the doubt.
        """
        return all(
            self._is_elsewhere(s, face, is_unbroken=is_unbroken) or self._is_another(s, face)
            for s in self._strangers
        )

    @property
    def is_gone(self) -> bool:
        """Whether everybody is known to be elsewhere than at the viewer's place."""
        return all(self._is_elsewhere(s) for s in self._strangers)

    def _is_another(self, stranger: Stranger, face: Track) -> bool:
        """Tell whether a stranger is not who a face belongs to, wherever they are."""
        settings = self._settings
        if stranger.number == face.number:
            return not stranger.is_known
        if stranger.distance < settings.apart and stranger.unseen_frames <= settings.near_frames:
            return False
        small, large = sorted((stranger.box.side, face.box.side))
        return large > settings.other_size * small

    def _is_elsewhere(
        self, stranger: Stranger, face: Track | None = None, *, is_unbroken: bool = False
    ) -> bool:
        settings = self._settings
        if stranger.unseen_frames == 0 and stranger.is_unbroken:
            return face is None or face_distance(stranger.box, face.box) >= settings.apart_seen
        if stranger.unseen_frames > 0 and (stranger.is_leaving or stranger.is_receding):
            return stranger.distance >= settings.apart
        if stranger.is_approaching and stranger.distance < settings.coming:
            return False
        if is_unbroken and stranger.unseen_frames == 0 and stranger.is_receding:
            return stranger.distance >= settings.apart
        return stranger.distance >= settings.away

    def _is_over(self, stranger: Stranger) -> bool:
        if stranger.unseen_frames > self._settings.memory_frames:
            return True
        return stranger.unseen_frames > self._settings.near_frames and self._is_elsewhere(stranger)

    def _whose(self, track: Track, viewer: Box, *, is_open: bool) -> Stranger | None:
        """Return the stranger whom a track shows; None where it may be the viewer's, or nobody's."""
        settings = self._settings
        is_elsewhere = not is_open or centre_distance(track.box, viewer) > settings.elsewhere * viewer.side
        for stranger in self._strangers:
            if stranger.number == track.number:
                if stranger.unseen_frames <= 1 and (track.flowed or is_elsewhere):
                    return stranger
                # What flow did not carry there, or was not seen for a moment, may be another face by now.
                stranger.number, stranger.is_unbroken = 0, False
        if track.undetected_frames > 0:
            return None
        unseen = [
            s
            for s in self._strangers
            if s.unseen_frames > 0
            and (
                self._is_near_enough(s, track.box, settings.same_person)
                if is_elsewhere
                else track.number not in self._unclaimed and self._is_beside(s, track, viewer)
            )
        ]
        if unseen:
            stranger = min(unseen, key=lambda s: (self._is_elsewhere(s), centre_distance(s.box, track.box)))
            stranger.is_unbroken = not is_open
            return stranger
        if not is_elsewhere:
            return None
        stranger = Stranger(
            number=track.number,
            box=track.box,
            distance=face_distance(track.box, viewer),
            is_known=not is_open,
            is_unbroken=not is_open,
        )
        self._strangers.append(stranger)
        return stranger

    def _is_near_enough(self, stranger: Stranger, box: Box, reach: float) -> bool:
        """Tell whether a face may be a stranger's; who is not accounted for may be anywhere by now."""
        return face_distance(stranger.box, box) < reach or not self._is_elsewhere(stranger)

    def _is_beside(self, stranger: Stranger, track: Track, viewer: Box) -> bool:
        """Tell whether a face is rather where a stranger was beside the viewer than where the viewer was."""
        way = centre_distance(stranger.box, track.box)
        return centre_distance(
            stranger.box, viewer
        ) > self._settings.beside * viewer.side and way < centre_distance(track.box, viewer)

    def _glimpse(self, box: Box, viewer: Box, *, is_open: bool) -> None:
        reach = 1.0
        if centre_distance(box, viewer) < self._settings.beside * viewer.side:
            return
        if any(s.unseen_frames == 0 and face_distance(s.box, box) < reach for s in self._strangers):
            return
        near = [
            s
            for s in self._strangers
            if self._is_near_enough(s, box, self._settings.same_person) and s.unseen_frames
        ]
        nearest = min(near, key=lambda s: centre_distance(s.box, box), default=None)
        distance = face_distance(box, viewer)
        if nearest is None:
            self._strangers.append(
                Stranger(number=0, box=box, distance=distance, is_known=not is_open, is_unbroken=False)
            )
        else:
            nearest.is_approaching = distance < nearest.distance
            nearest.is_unbroken = False
            _see(nearest, box, viewer)


def _see(stranger: Stranger, box: Box, viewer: Box) -> None:
    distance = face_distance(box, viewer)
    if stranger.unseen_frames > 0 or distance != stranger.distance:
        stranger.is_receding = distance > stranger.distance
    stranger.box, stranger.distance, stranger.unseen_frames = box, distance, 0


def face_distance(a: Box, b: Box) -> float:
    """Return the distance of two faces, in sides of the larger one."""
    return centre_distance(a, b) / max(1.0, a.side, b.side)


def _closing_speed(track: Track, viewer: Box) -> float:
    later = track.box.shifted(*track.velocity)
    return (centre_distance(track.box, viewer) - centre_distance(later, viewer)) / max(
        1.0, track.box.side, viewer.side
    )


def _is_leaving(box: Box, velocity: tuple[float, float], size: tuple[int, int]) -> bool:
    margin = 0.35 * box.side
    (x, y), (width, height) = velocity, size
    return (
        (x < 0 and box.x_min < margin)
        or (x > 0 and box.x_max > width - margin)
        or (y < 0 and box.y_min < margin)
        or (y > 0 and box.y_max > height - margin)
    )
