"""Where to look for a face that the whole view does not show.

Each strategy is pure: from the frame's size and the place where a face was last seen it gives glances, each of
which is one run of the network. `fallback_search` takes them in turn.
"""

from __future__ import annotations

from math import ceil
from typing import Protocol

import numpy as np

from edge_agent.tracking.geometry import Box
from edge_agent.tracking.region_pass import Glance


class Fallback(Protocol):
    """One reason why the whole view may miss a face, and the glances that do not share it."""

    @property
    def name(self) -> str:
        """What it is called in figures."""

    def glances(self, *, width: int, height: int, last: Box | None) -> tuple[Glance, ...]:
        """Return the glances of one complete turn.

        Args:
            width: of the frame, in pixels.
            height: of the frame, in pixels.
            last: where a face was last seen, in frame pixels; None if long ago or never.
        """


class LastPlace:
    """Looks around the place where the face was: it may be there still, too small or faint for the whole view."""

    name = "last_place"
    _FACTOR = 4.0

    def glances(self, *, width: int, height: int, last: Box | None) -> tuple[Glance, ...]:
        """Return one glance four face sides wide, none without a last place."""
        return (Glance(region=last.squared(self._FACTOR)),) if last is not None else ()


class Turned:
    """Shows the view turned: the network knows heads that are upright to within some thirty degrees."""

    name = "turned"
    _ROLLS_DEG = (40.0, -40.0)

    def glances(self, *, width: int, height: int, last: Box | None) -> tuple[Glance, ...]:
        """Return one glance for heads tilted to either side; the corners of the frame are cut."""
        whole = Box.of([0, 0, width, height]).squared(1.0)
        return tuple(Glance(region=whole, roll_deg=roll) for roll in self._ROLLS_DEG)


class Tiles:
    """Shows overlapping squares at twice the scale: small faces span twice as many of the network's pixels."""

    name = "tiles"
    _SHARE = 0.5

    def glances(self, *, width: int, height: int, last: Box | None) -> tuple[Glance, ...]:
        """Return squares of half the longer side; each face up to a half of a square lies wholly in one."""
        side = self._SHARE * max(width, height)
        return tuple(
            Glance(region=Box.of([x, y, x + side, y + side]))
            for y in _starts(height, side)
            for x in _starts(width, side)
        )


def _starts(length: float, side: float) -> tuple[float, ...]:
    spare = max(0.0, length - side)
    return tuple(float(start) for start in np.linspace(0.0, spare, 1 + ceil(spare / (side / 2))))


ALL_FALLBACKS: tuple[Fallback, ...] = (LastPlace(), Turned(), Tiles())
"""In the order in which they take turns."""
