"""`countenance-agent bench-films`: what each frame of a film costs, with detection on few of them.

Files only, never a camera; nothing is sealed, sent or kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from edge_agent.camera.frames import Frame, UInt8Array, as_bgr
from edge_agent.camera.source import is_device, quiet_opencv
from edge_agent.camera.video_file import VideoFile
from edge_agent.clocks import monotonic_us
from edge_agent.errors import SettingError
from edge_agent.tracking.detection import Detection, FaceNetwork
from edge_agent.tracking.detector_selection import detector_manifest, load_selected
from edge_agent.tracking.geometry import Float32Array
from edge_agent.tracking.pipeline import FramePipeline
from edge_agent.tracking.search import FaceSearch, Sighting
from edge_agent.tracking.tracks import Tracker
from edge_agent.tracking.variant_choice import VariantChoice
from privacy.protocol.payload import max_content_bytes

FRAMES_RANGE = (10, 100_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmFigures:
    """Means over the frames of one film, in milliseconds of CPU time on one thread; decoding the film is left out.

    Attributes:
        film: its file name.
        frames: frames looked at.
        sent_share: share of frames that would have been sent.
        inferences_per_frame: runs of the face network.
        network_ms: the face network alone.
        detection_ms: network, letterboxes, decoding of boxes, close-ups.
        tracking_ms: carrying tracks from frame to frame by flow.
        frame_ms: everything from captured frame to encoded crop.
        frame_wall_ms: the same by the clock on the wall, waiting for a busy machine included.
    """

    film: str
    frames: int
    sent_share: float
    inferences_per_frame: float
    network_ms: float
    detection_ms: float
    tracking_ms: float
    frame_ms: float
    frame_wall_ms: float


@dataclass(slots=True)
class Stopwatch:
    """Adds up CPU time of this thread by part; a part inside itself is counted once."""

    taken_s: dict[str, float] = field(default_factory=dict)
    _running: set[str] = field(default_factory=set)

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Add what the block takes to `part`."""
        if part in self._running:
            yield
            return
        self._running.add(part)
        start = time.thread_time()
        try:
            yield
        finally:
            self.taken_s[part] = self.taken_s.get(part, 0.0) + time.thread_time() - start
            self._running.discard(part)


class TimedNetwork:
    """A face network whose runs are timed; implements `FaceNetwork`."""

    def __init__(self, network: FaceNetwork, watch: Stopwatch) -> None:
        self._network, self._watch = network, watch

    @property
    def detector_id(self) -> int:
        """Number of the variant on the wire."""
        return self._network.detector_id

    def infer(self, image: UInt8Array) -> tuple[Float32Array, Float32Array]:
        """Run the network; see the port."""
        with self._watch.timing("network"):
            return self._network.infer(image)


class TimedSearch(FaceSearch):
    """A face search whose looks are timed."""

    def __init__(self, network: FaceNetwork, watch: Stopwatch) -> None:
        super().__init__(TimedNetwork(network, watch))
        self._watch = watch

    def scan(self, *args: Any, **kwargs: Any) -> Sighting:
        """Look at the whole view; see `FaceSearch`."""
        with self._watch.timing("detection"):
            return super().scan(*args, **kwargs)

    def close_up(self, *args: Any, **kwargs: Any) -> Detection | None:
        """Look closely at one place; see `FaceSearch`."""
        with self._watch.timing("detection"):
            return super().close_up(*args, **kwargs)

    def confirming_look(self, *args: Any, **kwargs: Any) -> Detection | None:
        """Look closely at a new place; see `FaceSearch`."""
        with self._watch.timing("detection"):
            return super().confirming_look(*args, **kwargs)

    def mirrored_look(self, *args: Any, **kwargs: Any) -> Detection | None:
        """Look at a new place in the mirror; see `FaceSearch`."""
        with self._watch.timing("detection"):
            return super().mirrored_look(*args, **kwargs)

    def propose(self, *args: Any, **kwargs: Any) -> tuple[Detection, ...]:
        """Look where a fallback points; see `FaceSearch`."""
        with self._watch.timing("detection"):
            return super().propose(*args, **kwargs)


class TimedTracker(Tracker):
    """A tracker whose flow is timed."""

    def __init__(self, watch: Stopwatch) -> None:
        super().__init__()
        self._watch = watch

    def advance(self, before: UInt8Array | None, after: UInt8Array, *, scale: float) -> None:
        """Move every track to the next frame; see `Tracker`."""
        with self._watch.timing("tracking"):
            super().advance(before, after, scale=scale)


def measure_films(films: list[Path], *, detector: str, frames: int) -> dict[str, Any]:
    """Run the pipeline over films and return its figures, ready for JSON.

    Args:
        films: video files; each gets a pipeline of its own.
        detector: id of a variant.
        frames: most frames of each film.

    Raises:
        SettingError: a film is a camera's number, or `frames` is out of range.
        CameraError: a film cannot be played.
        DetectorError: there is no such variant.
    """
    if not FRAMES_RANGE[0] <= frames <= FRAMES_RANGE[1]:
        raise SettingError(f"--frames must lie in {FRAMES_RANGE[0]}..{FRAMES_RANGE[1]}")
    if any(is_device(str(film)) for film in films):
        raise SettingError("bench looks at films, never at a camera: name files")
    quiet_opencv()
    manifest = detector_manifest()
    network = load_selected(VariantChoice(variant=detector, fingerprint=""), manifest)
    measured = [measure_film(network, partial(VideoFile, film), film.name, frames=frames) for film in films]
    variant = manifest.variant(detector)
    return {
        "detector": variant.id,
        "sha256": variant.sha256,
        "films": [asdict(figures) for figures in measured],
    }


def measure_film(
    network: FaceNetwork, opened: Callable[[], VideoFile], name: str, *, frames: int
) -> FilmFigures:
    """Run a fresh pipeline over one film."""
    watch = Stopwatch()
    search = TimedSearch(network, watch)
    pipeline = FramePipeline(search, content_limit_bytes=max_content_bytes(), tracker=TimedTracker(watch))
    source, count, sent, wall_us = opened(), 0, 0, 0
    try:
        while count < frames and (picture := source.read()) is not None:
            frame = Frame(pixels=as_bgr(picture), index=count, monotonic_us=monotonic_us())
            start_us = monotonic_us()
            with watch.timing("frame"):
                outcome = pipeline.look_at(frame)
            wall_us += monotonic_us() - start_us
            count += 1
            sent += outcome.crop is not None
    finally:
        source.close()
    each = {part: round(1e3 * watch.taken_s.get(part, 0.0) / max(1, count), 4)
            for part in ("network", "detection", "tracking", "frame")}  # fmt: skip
    return FilmFigures(
        film=name,
        frames=count,
        sent_share=round(sent / max(1, count), 4),
        inferences_per_frame=round(search.inferences / max(1, count), 4),
        network_ms=each["network"],
        detection_ms=each["detection"],
        tracking_ms=each["tracking"],
        frame_ms=each["frame"],
        frame_wall_ms=round(wall_us / 1e3 / max(1, count), 4),
    )


def report(measured: dict[str, Any]) -> str:
    """Lay the figures out for a terminal."""
    lines = [
        f"detector {measured['detector']}; means per frame, ms of CPU on one thread, decoding left out",
        f"{'film':32} frames   sent  looks  network  detection  tracking  everything",
    ]
    for film in measured["films"]:
        lines.append(
            f"{film['film'][:32]:32} {film['frames']:6d} {film['sent_share']:6.1%} {film['inferences_per_frame']:6.2f} "
            f"{film['network_ms']:8.2f} {film['detection_ms']:10.2f} {film['tracking_ms']:9.2f} {film['frame_ms']:11.2f}"
        )
    return "\n".join(lines)
