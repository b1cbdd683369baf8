"""Measure the artifact's variants against the float original: recall, agreement, clips, speed."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.face_detector import decoding
from models.face_detector.preprocessing import letterbox_frame
from models.face_detector.runtime import Detector
from models.runtime.manifest import Manifest, write_manifest
from models.training.face_detector.evaluation.truth import VIDEOS_FOLDER, read_clip, read_scenes

ORIGINAL = "original"
MATCH_IOU = 0.5
BOOTSTRAP_ROUNDS = 10_000
LARGE_FACE_PX = 48
TIMED_RUNS = 400
SINGLE_FACE_CLIPS = (
    "single_face.mp4",
    "WolfgangLanger_Pexels.mp4",
    "intel_head-pose-face-detection-female.mp4",
    "intel_head-pose-face-detection-male.mp4",
)
SIGNED_CLIPS = "intel_asl"
"""Folder of clips that show one person, far from the camera."""

INSTRUCTION_SETS = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "amx_int8",
    "asimddp",
    "i8mm",
)
Progress = Callable[[], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceOutcomes:
    """What each detector did with each true face.

    Attributes:
        sources: (n,) str.
        groups: (n,) str; faces of one group are not independent.
        sides_px: float32 (n,).
        found: by detector, bool (n,): some detection overlaps the face by at least `MATCH_IOU`.
    """

    sources: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]
    sides_px: npt.NDArray[np.float32]
    found: dict[str, npt.NDArray[np.bool_]]


def evaluate(
    manifest: Manifest, *, source: bytes, data: Path, now: datetime, progress: Progress
) -> dict[str, Any]:
    """Return all figures, ready for JSON, with one flat object `headline`.

    Args:
        manifest: the artifact.
        source: the float original, from the wheel.
        data: folder with the evaluation sets and videos.
        now: aware UTC.
        progress: called once per picture or frame.

    Raises:
        DatasetError: a data set is missing or malformed.
        ArtifactDigestError: the artifact's bytes are not the manifest's.
    """
    detectors = {ORIGINAL: Detector(source)}
    detectors |= {v.id: Detector(manifest.read(v.id)) for v in manifest.variants}
    outcomes = find_faces(detectors, data, progress)
    clips = measure_clips(detectors, data / VIDEOS_FOLDER, progress)
    recall = {name: recalls(outcomes, name) for name in detectors}
    paired = {name: paired_difference(outcomes, name) for name in detectors if name != ORIGINAL}
    latency = time_detectors(detectors)
    return {
        "what": "face detector against the float original",
        "date_utc": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": describe_machine(),
        "versions": {name: version(name) for name in ("ai-edge-litert", "numpy", "opencv-python-headless")},
        "artifact": {v.id: v.sha256 for v in manifest.variants},
        "operating_point": {"min_score": decoding.DEFAULT_MIN_SCORE, "match_iou": MATCH_IOU},
        "recall": recall,
        "paired_difference": paired,
        "clips": clips,
        "latency_ms": latency,
        "headline": _headline(recall, paired, clips, latency),
    }


def find_faces(detectors: Mapping[str, Detector], data: Path, progress: Progress) -> FaceOutcomes:
    """Run every detector on every scene."""
    sources, groups, sides = [], [], []
    found: dict[str, list[bool]] = {name: [] for name in detectors}
    for scene in read_scenes(data):
        progress()
        count = len(scene.boxes_xyxy)
        sources += [scene.source] * count
        groups += [f"{scene.source}/{scene.group}"] * count
        sides += scene.sides_px.tolist()
        for name, detector in detectors.items():
            overlaps = decoding.iou_matrix(scene.boxes_xyxy, detector.detect(scene.frame_bgr).boxes_xyxy)
            found[name] += (overlaps.max(axis=1, initial=0.0) >= MATCH_IOU).tolist()
    return FaceOutcomes(
        sources=np.array(sources),
        groups=np.array(groups),
        sides_px=np.array(sides, np.float32),
        found={name: np.array(hits, bool) for name, hits in found.items()},
    )


def recalls(outcomes: FaceOutcomes, name: str) -> dict[str, dict[str, float | int]]:
    """Return recall and number of faces for each set."""
    wider = outcomes.sources == "wider"
    parts = {
        "wider_48px": wider & (outcomes.sides_px >= LARGE_FACE_PX),
        "wider_32px": wider,
        "fairface540": outcomes.sources == "fairface",
        "video_frames": outcomes.sources == "video",
        "pooled": np.ones(len(wider), bool),
    }
    hits = outcomes.found[name]
    return {
        part: {"faces": int(mask.sum()), "recall": round(float(hits[mask].mean()), 4)}
        for part, mask in parts.items()
    }


def paired_difference(outcomes: FaceOutcomes, name: str) -> dict[str, float | int]:
    """Return recall minus the original's on the same faces, in points, with bootstrap bounds.

    Two bounds of a 95 % interval: over faces, and over groups (pictures, clips), because the frames of
    one clip resemble each other. Rounds are seeded, so the same outcomes give the same bounds.
    """
    difference = outcomes.found[name].astype(int) - outcomes.found[ORIGINAL].astype(int)
    count = len(difference)
    rng = np.random.default_rng(0)
    by_face = rng.multinomial(count, np.full(count, 1 / count), BOOTSTRAP_ROUNDS) @ difference / count
    _, member = np.unique(outcomes.groups, return_inverse=True)
    sums = np.bincount(member, weights=difference)
    sizes = np.bincount(member)
    drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), BOOTSTRAP_ROUNDS)
    by_group = (drawn @ sums) / (drawn @ sizes)
    return {
        "faces": count,
        "lost": int((difference < 0).sum()),
        "gained": int((difference > 0).sum()),
        "points": round(float(difference.mean() * 100), 3),
        "lower95_points": round(float(np.quantile(by_face, 0.025) * 100), 3),
        "upper95_points": round(float(np.quantile(by_face, 0.975) * 100), 3),
        "lower95_points_by_group": round(float(np.quantile(by_group, 0.025) * 100), 3),
    }


def measure_clips(
    detectors: Mapping[str, Detector], videos: Path, progress: Progress
) -> dict[str, dict[str, float]]:
    """Return the share of frames with a detection for each single-face clip: one full-frame pass, no tracks."""
    clips = [
        *SINGLE_FACE_CLIPS,
        *sorted(f"{SIGNED_CLIPS}/{p.name}" for p in (videos / SIGNED_CLIPS).glob("*.mkv")),
    ]
    shares: dict[str, dict[str, float]] = {}
    for clip in clips:
        hits: dict[str, list[bool]] = {name: [] for name in detectors}
        for frame in read_clip(videos / clip):
            progress()
            for name, detector in detectors.items():
                hits[name].append(len(detector.detect(frame)) > 0)
        shares[clip] = {"frames": len(hits[ORIGINAL])}
        shares[clip] |= {name: round(float(np.mean(found)), 4) for name, found in hits.items()}
    return shares


def time_detectors(detectors: Mapping[str, Detector]) -> dict[str, dict[str, float]]:
    """Return milliseconds per inference on one thread, the detectors taking turns."""
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (480, 640, 3), np.uint8)
    letterbox = decoding.letterbox_parameters(480, 640)
    steps: dict[str, Callable[[], Any]] = {"letterbox": lambda: letterbox_frame(frame, letterbox)}
    pixels = letterbox_frame(frame, letterbox)
    steps |= {name: detector.timed(pixels) for name, detector in detectors.items()}
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(TIMED_RUNS):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            taken[name].append((time.perf_counter() - start) * 1e3)
    return {
        name: {"median": round(float(np.median(t)), 4), "p10": round(float(np.quantile(t, 0.1)), 4)}
        for name, t in taken.items()
    }


def describe_machine() -> dict[str, Any]:
    """Return processor, kernel and the instruction sets that decide between int8 and float."""
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        text = ""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return {
        "processor": fields.get("model name", platform.processor() or platform.machine()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
    }


def write_headline(manifest: Manifest, figures: dict[str, Any]) -> None:
    """Put the headline of an evaluation into the artifact's manifest."""
    measured = {"measured_utc": figures["date_utc"], "processor": figures["machine"]["processor"]}
    write_manifest(replace(manifest, metrics={**figures["headline"], **measured}))


def _headline(
    recall: dict[str, Any], paired: dict[str, Any], clips: dict[str, Any], latency: dict[str, Any]
) -> dict[str, float | int]:
    headline: dict[str, float | int] = {}
    for name in (ORIGINAL, *paired):
        headline |= {f"{name}_recall_{part}": r["recall"] for part, r in recall[name].items()}
        headline[f"{name}_latency_ms"] = latency[name]["median"]
    for name, difference in paired.items():
        headline[f"{name}_minus_original_points"] = difference["points"]
        headline[f"{name}_minus_original_lower95_points"] = difference["lower95_points"]
    headline["paired_faces"] = recall[ORIGINAL]["pooled"]["faces"]
    headline["int8_clips_with_95_share"] = sum(c["int8"] >= 0.95 for c in clips.values())
    headline["clips"] = len(clips)
    return headline
