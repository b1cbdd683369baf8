"""The measurements behind `countenance bench edge`; each runs in a process of its own."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cloud.bench.detector_engines import (
    MEDIAPIPE,
    UInt8Array,
    detector_manifest,
    open_mediapipe,
    open_others,
    open_ours,
)
from cloud.bench.instruction_sets import Level, restrict_xnnpack
from cloud.bench.timing import Runner, Turns, median_of, summarise, take_turns
from cloud.errors import DemoError

FRAME_SIZE = (640, 480)


def compare_detectors(
    frame_film: Path, data: Path, directory: Path | None, *, seconds: float
) -> dict[str, Any]:
    """Time every variant of our detector and every peer in turns, on one thread and one webcam-sized frame.

    Args:
        frame_film: a film; the frame in its middle is the one looked at.
        data: folder with the peers' files.
        directory: folder of the detector's artifact; None takes the shipped one.
        seconds: how long the inferences take turns; the steps around them take as long again.

    Returns:
        By detector: runtime, input, digest, faces found, figures of the inference against MediaPipe's, and the
        medians of what comes before and after it and of the whole.
    """
    cv2.setNumThreads(1)
    frame = middle_frame(frame_film)
    detectors = [*open_ours(detector_manifest(directory), frame), open_mediapipe(data, frame)]
    detectors += open_others(data, frame)
    inferences = take_turns(
        {d.name: d.inference for d in detectors}, seconds=seconds, cpu_clock=time.thread_time
    )
    figures = summarise(inferences, against=MEDIAPIPE, by_cpu=True)
    steps: dict[str, Runner] = {}
    for detector in detectors:
        steps |= {f"{detector.name} before": detector.before, f"{detector.name} whole": detector.whole}
        if detector.after is not None:
            steps[f"{detector.name} after"] = detector.after
    around = take_turns(steps, seconds=seconds, cpu_clock=time.thread_time)
    return {
        detector.name: {
            "runtime": detector.runtime,
            "input_px": detector.input_px,
            "sha256": detector.sha256,
            "faces_found": detector.whole(),
            "inference": figures[detector.name],
            "before_ms": _median_ms(around[f"{detector.name} before"]),
            "after_ms": _median_ms(around[f"{detector.name} after"]) if detector.after is not None else None,
            "whole_ms": _median_ms(around[f"{detector.name} whole"]),
        }
        for detector in detectors
    }


def compare_at_level(
    frame_film: Path, data: Path, directory: Path | None, *, level: Level, seconds: float
) -> dict[str, Any]:
    """Time our variants against MediaPipe's file with the kernels of one class of processors."""
    restriction = restrict_xnnpack(level)
    if restriction.problem:
        return {"level": str(level), "not_possible": restriction.problem}
    frame = middle_frame(frame_film)
    detectors = [*open_ours(detector_manifest(directory), frame), open_mediapipe(data, frame)]
    turns = take_turns({d.name: d.inference for d in detectors}, seconds=seconds, cpu_clock=time.thread_time)
    return {"level": str(level), "detectors": summarise(turns, against=MEDIAPIPE, by_cpu=True)}


def middle_frame(film: Path) -> UInt8Array:
    """Return the middle frame of a film at 640 x 480, uint8, B, G, R.

    Raises:
        DemoError: it cannot be read.
    """
    from models.errors import DatasetError
    from models.training.face_detector.evaluation.truth import read_clip

    try:
        frames = list(read_clip(film))
    except DatasetError as error:
        raise DemoError(str(error)) from None
    picture = cv2.resize(frames[len(frames) // 2], FRAME_SIZE, interpolation=cv2.INTER_AREA)
    return np.asarray(picture, np.uint8)


def _median_ms(turns: Turns) -> float:
    return median_of(turns.cpu_ms).as_json("median")["median"]
