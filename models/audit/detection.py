"""Recall of the shipped detector and of its peers on the same faces, whole and by group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.audit.comparisons import Group, adjust_fdr, fisher_exact
from models.audit.peers import FindFaces
from models.errors import DatasetError
from models.face_detector.decoding import iou_matrix
from models.training.expression.evaluation.scoring import wilson_interval
from models.training.face_detector.evaluation.truth import VIDEOS_FOLDER, read_clip, read_scenes

BoolArray = npt.NDArray[np.bool_]
Float32Array = npt.NDArray[np.float32]
Progress = Callable[[Iterable[Any]], Iterable[Any]]

SHIPPED = "int8"
MATCH_IOU, LOOSE_IOU = 0.5, 0.3
BOOTSTRAP_ROUNDS = 10_000
FACELESS_CLIP = "no_face.mp4"
FACELESS_EVERY = 10
"""Of the frames without a face, every n-th is looked at: neighbours hardly differ."""

TRAITS_OF = {
    "fairface": ("gender", "age"),
    "wider": ("gender", "age", "skin", "blur", "illumination", "occlusion", "pose"),
}
SCENES_ABOUT = 880
"""Scenes in all sets together, for a quick look at some of them."""

LEAST_GROUP = 5
"""Smaller groups are not listed: their intervals say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What each detector did with each of n true faces.

    Attributes:
        sources: (n,) "fairface", "wider" or "video".
        groups: (n,) picture or clip; faces of one are not independent.
        sides_px: (n,).
        traits: what the set says of each face.
        hits: by detector, bool (n,): a detection overlaps the face by at least `MATCH_IOU`.
        loose_hits: the same at `LOOSE_IOU`, because detectors draw boxes by different conventions.
        false_alarms: by detector, detections per frame that shows no face; None where no such clip is there.
    """

    sources: npt.NDArray[np.str_]
    groups: npt.NDArray[np.str_]
    sides_px: Float32Array
    traits: tuple[dict[str, str], ...]
    hits: dict[str, BoolArray]
    loose_hits: dict[str, BoolArray]
    false_alarms: dict[str, float] | None


def find_faces(
    detectors: Mapping[str, FindFaces], data: Path, *, limit: int | None = None, progress: Progress = iter
) -> Found:
    """Let every detector look at every scene once, at full frame, without tracking.

    Args:
        detectors: by name.
        data: folder with the sets.
        limit: look at about this many of the scenes, a fixed random choice; None looks at all.
        progress: wraps the scenes, for a progress bar.

    Raises:
        DatasetError: a set is missing or malformed.
    """
    sources, groups, sides, traits = [], [], [], []
    best: dict[str, list[float]] = {name: [] for name in detectors}
    rng = np.random.default_rng(0)
    for scene in progress(read_scenes(data)):
        if limit is not None and rng.random() * SCENES_ABOUT > limit:
            continue
        count = len(scene.boxes_xyxy)
        sources += [scene.source] * count
        groups += [f"{scene.source}/{scene.group}"] * count
        sides += scene.sides_px.tolist()
        traits += list(scene.traits)
        for name, find in detectors.items():
            boxes = find(scene.frame_bgr)
            best[name] += iou_matrix(scene.boxes_xyxy, boxes).max(axis=1, initial=0.0).tolist()
    overlaps = {name: np.array(values) for name, values in best.items()}
    return Found(
        sources=np.array(sources),
        groups=np.array(groups),
        sides_px=np.array(sides, np.float32),
        traits=tuple(traits),
        hits={name: values >= MATCH_IOU for name, values in overlaps.items()},
        loose_hits={name: values >= LOOSE_IOU for name, values in overlaps.items()},
        false_alarms=_false_alarms(detectors, data / VIDEOS_FOLDER / FACELESS_CLIP),
    )


def recall_table(found: Found) -> dict[str, Any]:
    """Return recall with Wilson intervals of every detector on every part, and what it finds where no face is."""
    parts = {
        "fairface540": found.sources == "fairface",
        "wider_32px": found.sources == "wider",
        "wider_48px": (found.sources == "wider") & (found.sides_px >= 48),
        "video_frames": found.sources == "video",
        "pooled": np.ones(len(found.sources), np.bool_),
    }
    table: dict[str, Any] = {}
    for name, hits in found.hits.items():
        table[name] = {part: _share(hits[mask]) for part, mask in parts.items() if mask.any()}
        loose = found.loose_hits[name]
        table[name]["pooled_iou_0.3"] = _share(loose)
        if found.false_alarms is not None:
            table[name]["false_alarms_per_empty_frame"] = found.false_alarms[name]
    return table


def paired_points(found: Found, name: str, other: str, *, seed: int = 0) -> dict[str, float | int]:
    """Return recall of one detector minus another's on the same faces, pooled, in points.

    The interval is a bootstrap over pictures and clips, whose faces stand and fall together; the one over
    single faces, narrower, is given beside it.
    """
    gaps = found.hits[name].astype(np.int64) - found.hits[other].astype(np.int64)
    _, member = np.unique(found.groups, return_inverse=True)
    lower, upper = _cluster_bounds(gaps, member, seed)
    face_lower, face_upper = _cluster_bounds(gaps, np.arange(len(gaps)), seed)
    return {
        "faces": len(gaps),
        "points": 100 * float(gaps.mean()),
        "lower95_points": 100 * lower,
        "upper95_points": 100 * upper,
        "lower95_points_by_face": 100 * face_lower,
        "upper95_points_by_face": 100 * face_upper,
        "lost": int((gaps < 0).sum()),
        "gained": int((gaps > 0).sum()),
    }


def recall_by_trait(found: Found, name: str = SHIPPED) -> list[dict[str, Any]]:
    """Return recall of one detector by every trait that a set tells, each group tested against the rest.

    p values are Fisher's, adjusted over all rows (Benjamini-Hochberg). Groups of one trait also differ in face
    size, which decides recall most: `side_px` gives each group's median.
    """
    rows = []
    for source, traits in TRAITS_OF.items():
        for trait in traits:
            known = np.array([trait in t for t in found.traits]) & (found.sources == source)
            values = np.array([t.get(trait, "") for t in found.traits])
            for value in sorted(set(values[known])):
                inside = known & (values == value)
                if inside.sum() < LEAST_GROUP:
                    continue
                rest, hits = known & ~inside, found.hits[name]
                rows.append(
                    {
                        "set": source,
                        "trait": trait,
                        "group": value,
                        **_share(hits[inside]),
                        "side_px": float(np.median(found.sides_px[inside])),
                        "p": fisher_exact(
                            int(hits[inside].sum()), int(inside.sum()), int(hits[rest].sum()), int(rest.sum())
                        ),
                    }
                )
    for row, adjusted in zip(rows, adjust_fdr([row["p"] for row in rows]), strict=True):
        row["p_fdr"] = adjusted
    return rows


def trait_groups(found: Found, source: str, trait: str, name: str = SHIPPED) -> list[Group]:
    """Return the groups of one trait, with whether each face was found."""
    values = np.array([t.get(trait, "") for t in found.traits])
    known = (found.sources == source) & (values != "")
    return [
        Group(
            attribute=f"detector recall, {source} {trait}",
            name=str(value),
            hits=found.hits[name][known & (values == value)],
        )
        for value in sorted(set(values[known]))
    ]


def _share(hits: BoolArray) -> dict[str, Any]:
    return {
        "faces": len(hits),
        "recall": float(hits.mean()),
        "recall_95": wilson_interval(int(hits.sum()), len(hits)),
    }


def _cluster_bounds(gaps: npt.NDArray[np.int64], member: npt.NDArray[Any], seed: int) -> tuple[float, float]:
    sums, sizes = np.bincount(member, weights=gaps), np.bincount(member)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(10):
        drawn = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), BOOTSTRAP_ROUNDS // 10)
        means.append((drawn @ sums) / (drawn @ sizes))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def _false_alarms(detectors: Mapping[str, FindFaces], clip: Path) -> dict[str, float] | None:
    if not clip.exists():
        return None
    try:
        frames = [frame for index, frame in enumerate(read_clip(clip)) if index % FACELESS_EVERY == 0]
    except DatasetError:
        return None
    return {name: float(np.mean([len(find(frame)) for frame in frames])) for name, find in detectors.items()}
