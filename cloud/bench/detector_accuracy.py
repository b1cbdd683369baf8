"""What our detector's variants find beside MediaPipe's own file, on the same faces.

A door from the benchmarks to code that measures models (ADR 0083); what it loads, it loads when called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cloud.bench.detector_engines import MEDIAPIPE_FILE, detector_manifest, our_variants, read_weights


def compare_recall(data: Path, directory: Path | None) -> dict[str, Any]:
    """Return recall by set and the paired difference to MediaPipe's file, for each variant.

    Args:
        data: folder with the evaluation sets, the films and MediaPipe's file.
        directory: folder of the detector's artifact; None takes the shipped one.

    Raises:
        DatasetError: a set is missing or malformed.
        DemoError: MediaPipe's file is missing.
    """
    from models.face_detector.runtime import Detector
    from models.training.face_detector.evaluation.evaluate import (
        ORIGINAL,
        find_faces,
        paired_difference,
        recalls,
    )

    manifest = detector_manifest(directory)
    variants = our_variants(manifest)
    detectors = {ORIGINAL: Detector(read_weights(data, MEDIAPIPE_FILE))}
    detectors |= {name: Detector(manifest.read(name)) for name in variants}
    outcomes = find_faces(detectors, data, lambda: None)
    return {
        "recall": {name: recalls(outcomes, name) for name in detectors},
        "minus_mediapipe": {name: paired_difference(outcomes, name) for name in variants},
    }
