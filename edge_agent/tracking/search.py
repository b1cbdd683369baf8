"""Find faces in two looks: propose on the whole view, confirm on a close-up.

The network sees 128 pixels. A viewer two metres away spans under 20 of them in the whole frame: scores sink below
0.5, landmarks shake, and a printed face on a shirt scores as high as its owner. In a close-up, the same
real face scores above 0.9 and the print does not, so a face counts only once a close-up has confirmed it,
and a tracked face is looked at in close-up alone.

Where no track is yet, one close-up is not enough: a chance likeness passes it on single frames, and then which
frames are looked at would decide. A real face is as much a face in the mirror, a chance likeness rarely is; so
a new place must also pass a mirrored, wider look *at the same frame*. What begins a track is thus a function of
one frame alone, whatever was skipped before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_agent.camera.frames import Frame, View
from edge_agent.tracking.detection import Detection, FaceNetwork, detect
from edge_agent.tracking.geometry import Box, centre_distance, iou
from edge_agent.tracking.region_pass import Glance, look
from models.face_detector.decoding import INPUT_PX

_KNOWN_MIN_IOU = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """Thresholds of the two looks.

    Attributes:
        propose_min_score: score from which a place in the whole view is worth a close-up.
        confirm_min_score: score in close-up from which it is a face.
        keep_min_score: score in close-up from which a face that is already tracked is still there.
        sure_min_score: score in the whole view that needs no close-up, if the face is large enough.
        sure_side_px: how large, in network input pixels.
        close_up_factor: side of the close-up per side of the face.
        mirrored_factor: side of the mirrored look that a new place must pass as well.
        proposals_max: close-ups per scan: bounds the work that a crowd can cause.
        rival_min_score: score in the whole view from which a place may be a second face that was not confirmed.
        rival_close_up_min_score: score that it must have in close-up as well.
        is_lifting: dark pictures are lifted before the network sees them.
        turn_from_deg: a head tilted further is shown upright in close-up.
        doubts_max: close-ups per scan at places below `propose_min_score`, while the viewer is not settled.
    """

    propose_min_score: float = 0.25
    confirm_min_score: float = 0.75
    keep_min_score: float = 0.4
    sure_min_score: float = 0.8
    sure_side_px: float = 36.0
    close_up_factor: float = 2.5
    mirrored_factor: float = 3.2
    proposals_max: int = 8
    rival_min_score: float = 0.15
    rival_close_up_min_score: float = 0.3
    is_lifting: bool = True
    turn_from_deg: float = 20.0
    doubts_max: int = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sighting:
    """What one scan saw, in frame pixels.

    Attributes:
        faces: confirmed faces, best first; those near a known box as seen in the whole view, so with coarse
            landmarks.
        rivals: places that look like a face without being confirmed as one.
    """

    faces: tuple[Detection, ...]
    rivals: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CloseLook:
    """What a close-up showed, in frame pixels.

    Attributes:
        face: the one that was looked for, None where it is not there.
        others: boxes of further faces beside it.
    """

    face: Detection | None
    others: tuple[Box, ...] = ()


class FaceSearch:
    """Two-look search with one network; coordinates in and out are frame pixels."""

    def __init__(self, network: FaceNetwork, settings: SearchSettings | None = None) -> None:
        self._network = network
        self._settings = settings or SearchSettings()
        self.inferences = 0

    def scan(
        self,
        frame: Frame,
        view: View,
        *,
        known: tuple[Box, ...] = (),
        tracked: tuple[Box, ...] = (),
        is_wary: bool = False,
    ) -> Sighting:
        """Look at the whole view, and at each new place in close-up.

        Args:
            frame: the full picture.
            view: the same picture made small.
            known: boxes of faces already followed; a proposal there needs no new confirmation.
            tracked: boxes of other live tracks; a proposal there needs the plain close-up only.
            is_wary: also look closely at fainter places, because a second face would matter now.
        """
        settings = self._settings
        self.inferences += 1
        least = settings.rival_min_score if is_wary else settings.propose_min_score
        seen = [
            face.moved(factor=1.0 / view.scale, dx=0.0, dy=0.0)
            for face in detect(self._network, view.bgr, min_score=least, is_lifted=settings.is_lifting)
        ]
        placed = [face for face in seen if face.score >= settings.propose_min_score][: settings.proposals_max]
        claimed = {_nearest(placed, box) for box in known}
        faces = [face for i, face in enumerate(placed) if i in claimed]
        doubts = []
        for i, face in enumerate(placed):
            if i in claimed:
                continue
            closer = face if self._is_sure(face, view) else self._glimpse(frame, face.box)
            if closer is None or _is_among(closer.box, faces):
                continue
            is_tracked = any(is_same_place(closer.box, box) for box in tracked)
            if closer.score >= settings.confirm_min_score and (
                is_tracked or self.mirrored_look(frame, closer.box) is not None
            ):
                faces.append(closer)
            else:
                doubts.append(closer.box)
        if is_wary and (faces or known):
            doubts += self._doubt_faint(frame, seen)
        rivals = tuple(box for box in doubts if not _is_among(box, faces))
        return Sighting(faces=tuple(faces), rivals=rivals)

    def _doubt_faint(self, frame: Frame, seen: list[Detection]) -> list[Box]:
        """Look closely at the best of the places that are too faint to be proposals."""
        settings = self._settings
        faint = [face for face in seen if face.score < settings.propose_min_score][: settings.doubts_max]
        closer = [self._glimpse(frame, face.box) for face in faint]
        return [face.box for face in closer if face is not None]

    def close_up(
        self,
        frame: Frame,
        box: Box,
        *,
        min_score: float | None = None,
        roll_deg: float = 0.0,
        is_quick: bool = False,
    ) -> Detection | None:
        """Look closely at one place.

        Args:
            frame: the full picture.
            box: where the face should be.
            min_score: `keep_min_score` if None.
            roll_deg: how far the head is tilted clockwise.
            is_quick: the face is followed already; see `Glance`.

        Returns:
            The face whose centre lies nearest to the box's, if within three quarters of its side, else None.
        """
        threshold = self._settings.keep_min_score if min_score is None else min_score
        return self._look_near(frame, box, self._closer(box, roll_deg, is_quick), min_score=threshold).face

    def close_look(self, frame: Frame, box: Box, *, roll_deg: float = 0.0) -> CloseLook:
        """Look closely at the face that is followed; tell as well who else is beside it."""
        glance = self._closer(box, roll_deg, True)
        return self._look_near(frame, box, glance, min_score=self._settings.keep_min_score)

    def _closer(self, box: Box, roll_deg: float, is_quick: bool) -> Glance:
        region = box.squared(self._settings.close_up_factor)
        return Glance(region=region, roll_deg=self._turn(roll_deg), is_quick=is_quick)

    def confirming_look(self, frame: Frame, box: Box, *, roll_deg: float = 0.0) -> Detection | None:
        """Look closely at a new place: the first of the two looks that a track begins with."""
        return self.close_up(frame, box, min_score=self._settings.confirm_min_score, roll_deg=roll_deg)

    def mirrored_look(self, frame: Frame, box: Box, *, roll_deg: float = 0.0) -> Detection | None:
        """Look at a new place in the mirror: the second of the two looks that a track begins with."""
        settings = self._settings
        glance = Glance(
            region=box.squared(settings.mirrored_factor), roll_deg=self._turn(roll_deg), is_mirrored=True
        )
        return self._look_near(frame, box, glance, min_score=settings.confirm_min_score).face

    def propose(self, frame: Frame, glance: Glance) -> tuple[Detection, ...]:
        """Run the network once on a part of the frame; return places worth a close-up, best first."""
        return self._run(frame, glance, min_score=self._settings.propose_min_score)

    def _turn(self, roll_deg: float) -> float:
        return roll_deg if abs(roll_deg) >= self._settings.turn_from_deg else 0.0

    def _run(self, frame: Frame, glance: Glance, *, min_score: float) -> tuple[Detection, ...]:
        shown = glance if self._settings.is_lifting else replace(glance, is_lifted=False)
        found = look(self._network, frame.pixels, shown, min_score=min_score)
        self.inferences += found is not None
        return found or ()

    def _look_near(self, frame: Frame, box: Box, glance: Glance, *, min_score: float) -> CloseLook:
        found = self._run(frame, glance, min_score=min_score)
        near = [face for face in found if is_same_place(face.box, box)]
        face = min(near, key=lambda face: centre_distance(face.box, box), default=None)
        least = self._settings.confirm_min_score
        others = tuple(other.box for other in found if other is not face and other.score >= least)
        return CloseLook(face=face, others=others)

    def _glimpse(self, frame: Frame, box: Box) -> Detection | None:
        return self.close_up(frame, box, min_score=self._settings.rival_close_up_min_score)

    def _is_sure(self, face: Detection, view: View) -> bool:
        side_px = face.box.side * view.scale * INPUT_PX / max(view.grey.shape)
        return face.score >= self._settings.sure_min_score and side_px >= self._settings.sure_side_px


def is_same_place(a: Box, b: Box) -> bool:
    """Tell whether two boxes are about the same face."""
    return centre_distance(a, b) < 0.75 * max(1.0, min(a.side, b.side))


def _is_among(box: Box, faces: list[Detection]) -> bool:
    return any(is_same_place(box, other.box) for other in faces)


def _nearest(faces: list[Detection], box: Box) -> int | None:
    near = [i for i, face in enumerate(faces) if iou(face.box, box) > _KNOWN_MIN_IOU]
    return max(near, key=lambda i: iou(faces[i].box, box), default=None)
