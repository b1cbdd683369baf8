"""The only door from the agent's benchmarks to the labelled pictures of `models`; nothing that serves uses it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edge_agent.bench.degradations import Still
from edge_agent.tracking.geometry import Box


def read_stills(data: Path, source: str, *, every: int = 1) -> Iterator[Still]:
    """Yield labelled pictures with their faces, in a fixed order.

    Args:
        data: folder with the archives.
        source: `fairface` or `wider`.
        every: takes one picture of so many.

    Raises:
        models.errors.DatasetError: the archive is missing or malformed.
    """
    from models.training.face_detector.evaluation.truth import (
        FAIRFACE_ARCHIVE,
        WIDER_ARCHIVE,
        read_fairface,
        read_wider,
    )

    scenes = (
        read_fairface(data / FAIRFACE_ARCHIVE) if source == "fairface" else read_wider(data / WIDER_ARCHIVE)
    )
    for index, scene in enumerate(scenes):
        if index % every:
            continue
        height, width = scene.frame_bgr.shape[:2]
        size = np.array([width, height, width, height], np.float32)
        yield Still(pixels=scene.frame_bgr, faces=tuple(Box.of(box * size) for box in scene.boxes_xyxy))
