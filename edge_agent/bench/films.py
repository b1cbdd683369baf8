"""What the strategies do to films: false faces, cost, and losses that tracking bridges."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.camera.frames import Frame, UInt8Array
from edge_agent.camera.video_file import VideoFile
from edge_agent.tracking.detection import FaceNetwork
from edge_agent.tracking.fallbacks import ALL_FALLBACKS, Fallback
from edge_agent.tracking.geometry import Float32Array
from edge_agent.tracking.pipeline import FramePipeline, Outcome
from edge_agent.tracking.search import FaceSearch
from privacy.protocol.payload import max_content_bytes

NO_FACE_FILMS = {"no_face.mp4": 0, "face_noface.mov": 80}
"""Films of the data folder, with the frame from which on they show no face."""

ONE_FACE_FILMS = ("single_face.mp4", "liveportrait_d19.mp4", "intel_asl/again.mkv")
BLIND_FRAMES = (4, 8, 12)
BLIND_EVERY = 40
FRAMES_MAX = 300


class BlindSpells:
    """A face network that sees nothing for some frames of every forty; implements `FaceNetwork`."""

    def __init__(self, network: FaceNetwork, *, blind_frames: int) -> None:
        self._network, self._blind_frames = network, blind_frames
        self.frame = 0

    @property
    def detector_id(self) -> int:
        """Number of the variant on the wire."""
        return self._network.detector_id

    @property
    def is_blind(self) -> bool:
        """Whether this frame falls into a spell."""
        return self.frame % BLIND_EVERY >= BLIND_EVERY - self._blind_frames

    def infer(self, image: UInt8Array) -> tuple[Float32Array, Float32Array]:
        """Return the network's answer, or that of an empty picture."""
        boxes, scores = self._network.infer(image)
        return boxes, np.full_like(scores, -20.0) if self.is_blind else scores


def measure_films(network: FaceNetwork, videos: Path) -> dict[str, Any]:
    """Watch films without a face, without and with the fallbacks, and films of one face through blind spells."""
    empty = {
        name: {
            "without": _watch_empty(network, videos / name, first=first, fallbacks=()),
            "with": _watch_empty(network, videos / name, first=first, fallbacks=ALL_FALLBACKS),
        }
        for name, first in NO_FACE_FILMS.items()
    }
    spells = {
        f"{blind}_frames": {name: _watch_blind(network, videos / name, blind) for name in ONE_FACE_FILMS}
        for blind in BLIND_FRAMES
    }
    return {"no_face": empty, "blind_spells": spells}


def _watch_empty(
    network: FaceNetwork, path: Path, *, first: int, fallbacks: Sequence[Fallback]
) -> dict[str, Any]:
    search = FaceSearch(network)
    pipeline = FramePipeline(search, content_limit_bytes=max_content_bytes(), fallbacks=fallbacks)
    false_faces = crops = frames = 0
    spent_s, runs = 0.0, 0
    for frame in _frames(path):
        before, started = search.inferences, time.thread_time()
        outcome = pipeline.look_at(frame)
        if frame.index < first:
            continue
        frames += 1
        spent_s += time.thread_time() - started
        runs += search.inferences - before
        false_faces += outcome.faces > 0
        crops += outcome.crop is not None
    return {
        "frames": frames,
        "frames_with_a_false_face": false_faces,
        "crops": crops,
        "runs_per_frame": round(runs / max(1, frames), 3),
        "ms_per_frame": round(1000 * spent_s / max(1, frames), 3),
    }


def _watch_blind(network: FaceNetwork, path: Path, blind_frames: int) -> dict[str, float]:
    spells = BlindSpells(network, blind_frames=blind_frames)
    pipeline = FramePipeline(FaceSearch(spells), content_limit_bytes=max_content_bytes())
    blind = bridged = seeing = sent = 0
    for frame in _frames(path):
        spells.frame = frame.index
        is_sent = _is_sent(pipeline.look_at(frame))
        if spells.is_blind:
            blind, bridged = blind + 1, bridged + is_sent
        else:
            seeing, sent = seeing + 1, sent + is_sent
    return {
        "blind_frames": blind,
        "bridged_share": round(bridged / max(1, blind), 4),
        "sent_share_between": round(sent / max(1, seeing), 4),
    }


def _is_sent(outcome: Outcome) -> bool:
    return outcome.crop is not None


def _frames(path: Path) -> Iterator[Frame]:
    source, index = VideoFile(path), 0
    while index < FRAMES_MAX and (picture := source.read()) is not None:
        yield Frame(pixels=picture, index=index, monotonic_us=index * 33_333)
        index += 1
    source.close()
