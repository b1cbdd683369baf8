"""Look around the place where the viewer was lost: what faces are there."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.camera.frames import Frame
from edge_agent.tracking.detection import Detection
from edge_agent.tracking.geometry import Box
from edge_agent.tracking.region_pass import Glance
from edge_agent.tracking.search import FaceSearch, is_same_place

LOOK_EVERY = 2
REGION_FACTOR = 5.0
"""Side of the region per side of the viewer's face: whoever hid it is still there for a moment."""

PROPOSALS_MAX = 2


class LostSearch:
    """One look around on every second frame while the viewer is lost."""

    def __init__(self, search: FaceSearch) -> None:
        self._search = search
        self._frames = 0

    def step(
        self, frame: Frame, *, place: Box | None, tracked: Sequence[Box]
    ) -> tuple[tuple[Detection, ...], tuple[Box, ...]]:
        """Return new faces, confirmed as any that begins a track, and boxes of what only looks like one.

        Args:
            frame: the full picture.
            place: where the viewer was lost, None while that does not matter.
            tracked: boxes of the faces seen on this frame.
        """
        self._frames = 0 if place is None else self._frames + 1
        if place is None or self._frames % LOOK_EVERY:
            return (), ()
        found = self._search.propose(frame, Glance(region=place.squared(REGION_FACTOR)))
        new = [face for face in found if not any(is_same_place(face.box, box) for box in tracked)]
        faces: list[Detection] = []
        others: list[Box] = []
        for face in new[:PROPOSALS_MAX]:
            closer = self._search.confirming_look(frame, face.box)
            if closer is None:
                continue
            if self._search.mirrored_look(frame, closer.box) is not None:
                faces.append(closer)
            else:
                others.append(closer.box)
        return tuple(faces), tuple(others)
