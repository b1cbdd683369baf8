"""Search by the fallbacks, one run of the network per frame, while no face is seen.

What a glance proposes is confirmed as anything else that begins a track ([ADR 0057]: a close-up, then a mirrored
look), one look a frame. A face that was found so may have company that the whole view misses as well. So after a
find every strategy gets one complete turn, the *survey*, before the face may be taken for the viewer's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edge_agent.camera.frames import Frame
from edge_agent.tracking.detection import Detection
from edge_agent.tracking.fallbacks import ALL_FALLBACKS, Fallback
from edge_agent.tracking.geometry import Box
from edge_agent.tracking.region_pass import Glance
from edge_agent.tracking.search import FaceSearch, is_same_place

EAGER_FRAMES = 300
"""A face that has been away for longer is looked for on every third frame only."""

IDLE_EVERY = 3
QUEUE_MAX = 3
"""Proposals kept of one glance: bounds how long the next one has to wait."""


class FallbackSearch:
    """Takes turns among strategies.

    Attributes:
        finds: confirmed faces, by the strategy that proposed them.
    """

    def __init__(self, search: FaceSearch, fallbacks: Sequence[Fallback] = ALL_FALLBACKS) -> None:
        self._search = search
        self._fallbacks = tuple(fallbacks)
        self._turns = [0] * len(self._fallbacks)
        self._next = 0
        self._queue: list[Detection] = []
        self._half_confirmed: Detection | None = None
        self._proposer = ""
        self._lost_frames = 0
        self._survey: list[tuple[str, Glance]] = []
        self._is_surveying = False
        self.finds: Counter[str] = Counter()

    @property
    def is_surveying(self) -> bool:
        """Whether a find still waits for the strategies to have looked for company."""
        return self._is_surveying

    def step(
        self, frame: Frame, *, tracked: Sequence[Box], last: Box | None, is_followed: bool
    ) -> Detection | None:
        """Make at most one run of the network; return a face once it is confirmed.

        Args:
            frame: the full picture.
            tracked: boxes of the faces seen on this frame.
            last: where a face was last seen.
            is_followed: the viewer is chosen already, so that a find needs no survey.
        """
        if not (self._survey or self._queue or self._half_confirmed):
            self._is_surveying = False
        if not self._is_due(bool(tracked)):
            return None
        face = self._look(frame, tracked, last)
        if face is not None:
            self.finds[self._proposer] += 1
            if not is_followed and not self.is_surveying:
                self._survey, self._is_surveying = self._complete_turn(frame), True
        return face

    def _is_due(self, is_seen: bool) -> bool:
        if is_seen:
            self._lost_frames = 0
            if not self.is_surveying:
                self._queue, self._half_confirmed = [], None
            return self.is_surveying
        self._lost_frames += 1
        return self._lost_frames <= EAGER_FRAMES or self._lost_frames % IDLE_EVERY == 0

    def _look(self, frame: Frame, tracked: Sequence[Box], last: Box | None) -> Detection | None:
        if self._half_confirmed is not None:
            face, self._half_confirmed = self._half_confirmed, None
            return self._search.mirrored_look(frame, face.box, roll_deg=face.roll_deg)
        if self._queue:
            face = self._queue.pop(0)
            self._half_confirmed = self._search.confirming_look(frame, face.box, roll_deg=face.roll_deg)
            return None
        glance = self._next_glance(frame, last)
        if glance is not None:
            found = self._search.propose(frame, glance)
            new = [face for face in found if not any(is_same_place(face.box, box) for box in tracked)]
            self._queue = new[:QUEUE_MAX]
        return None

    def _next_glance(self, frame: Frame, last: Box | None) -> Glance | None:
        if self._survey:
            self._proposer, glance = self._survey.pop(0)
            return glance
        for _ in self._fallbacks:
            index = self._next
            self._next = (self._next + 1) % len(self._fallbacks)
            fallback = self._fallbacks[index]
            glances = fallback.glances(width=frame.width, height=frame.height, last=last)
            if glances:
                self._proposer = fallback.name
                self._turns[index] += 1
                return glances[(self._turns[index] - 1) % len(glances)]
        return None

    def _complete_turn(self, frame: Frame) -> list[tuple[str, Glance]]:
        """Return every glance of every strategy; the last place, which is the find's own, left out."""
        size = {"width": frame.width, "height": frame.height}
        return [(f.name, glance) for f in self._fallbacks for glance in f.glances(**size, last=None)]
