"""What each strategy recovers on labelled pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from edge_agent.bench.degradations import DEGRADATIONS, Degradation, Still
from edge_agent.camera.frames import Frame, make_view
from edge_agent.tracking.detection import Detection, FaceNetwork
from edge_agent.tracking.fallbacks import Fallback, Tiles, Turned
from edge_agent.tracking.geometry import Box, centre_distance
from edge_agent.tracking.search import FaceSearch, SearchSettings, is_same_place

SEED = 56
_CENTRE_MAX = 0.5
_SIZE_RANGE = (0.5, 2.0)


@dataclass(slots=True, kw_only=True)
class Tally:
    """One strategy on one kind of picture.

    Attributes:
        faces: faces to find.
        found: those that were confirmed.
        extra: confirmed places where no face is labelled.
        runs: network runs per picture, beyond the scan.
        ms: time per picture beyond the scan, in milliseconds.
    """

    faces: int = 0
    found: int = 0
    extra: int = 0
    runs: float = 0.0
    ms: float = 0.0
    pictures: int = field(default=0)

    def add(self, still: Still, faces: Sequence[Box], *, runs: int, ms: float) -> None:
        """Count one picture."""
        hits = [truth for truth in still.faces if any(is_hit(box, truth) for box in faces)]
        self.faces += len(still.faces)
        self.found += len(hits)
        self.extra += sum(not any(is_hit(box, truth) for truth in still.faces) for box in faces)
        self.runs += (runs - self.runs) / (self.pictures + 1)
        self.ms += (ms - self.ms) / (self.pictures + 1)
        self.pictures += 1

    def figures(self) -> dict[str, float]:
        """Return the counts with the recall, rounded."""
        rounded = {name: round(value, 3) for name, value in asdict(self).items()}
        return {"recall": round(self.found / max(1, self.faces), 4), **rounded}


def is_hit(box: Box, truth: Box) -> bool:
    """Tell whether a box names a labelled face: its centre within half a side, its size within a factor of two."""
    ratio = box.side / max(1e-6, truth.side)
    return (
        centre_distance(box, truth) <= _CENTRE_MAX * truth.side and _SIZE_RANGE[0] <= ratio <= _SIZE_RANGE[1]
    )


def measure_stills(
    network: FaceNetwork, stills: Iterable[Still], *, progress: Callable[[], object] = lambda: None
) -> dict[str, dict[str, dict[str, float]]]:
    """Spoil every picture in every way; search it without and with each strategy.

    Args:
        network: the detector variant.
        stills: labelled pictures.
        progress: called once a picture.

    Returns:
        By degradation and strategy (`none`, `lifting`, and the fallbacks, which look besides lifting): figures of a
        `Tally`. A fallback makes one complete turn on a picture in which the scan found nothing, as it would
        within a third of a second.
    """
    ways: dict[str, Fallback | None] = {"lifting": None, "turned": Turned(), "tiles": Tiles()}
    tallies = {kind: {name: Tally() for name in ("none", *ways)} for kind in DEGRADATIONS}
    for number, still in enumerate(stills):
        for kind, degradation in DEGRADATIONS.items():
            _measure_one(network, _spoil(still, degradation, number), ways, tallies[kind])
        progress()
    return {kind: {name: t.figures() for name, t in row.items()} for kind, row in tallies.items()}


def _spoil(still: Still, degradation: Degradation, number: int) -> Still:
    return degradation(still, np.random.default_rng((SEED, number)))


def _measure_one(
    network: FaceNetwork, still: Still, ways: dict[str, Fallback | None], tallies: dict[str, Tally]
) -> None:
    frame = Frame(pixels=still.pixels, index=0, monotonic_us=0)
    plain = FaceSearch(network, SearchSettings(is_lifting=False)).scan(frame, make_view(frame)).faces
    tallies["none"].add(still, [face.box for face in plain], runs=0, ms=0.0)
    search = FaceSearch(network)
    scanned = search.scan(frame, make_view(frame)).faces
    for name, fallback in ways.items():
        before, started = search.inferences, time.thread_time()
        found = scanned if scanned or fallback is None else one_turn(search, frame, fallback)
        tallies[name].add(
            still,
            [face.box for face in found],
            runs=search.inferences - before,
            ms=1000 * (time.thread_time() - started),
        )


def one_turn(search: FaceSearch, frame: Frame, fallback: Fallback) -> tuple[Detection, ...]:
    """Make every glance of a strategy, and confirm what it proposes, on one still picture."""
    found: list[Detection] = []
    for glance in fallback.glances(width=frame.width, height=frame.height, last=None):
        for face in search.propose(frame, glance)[:3]:
            closer = search.confirming_look(frame, face.box, roll_deg=face.roll_deg)
            if closer is None or any(is_same_place(closer.box, other.box) for other in found):
                continue
            if search.mirrored_look(frame, closer.box, roll_deg=closer.roll_deg) is not None:
                found.append(closer)
    return tuple(found)
