"""Lays the figures of `countenance bench edge` out for a terminal. Pure: figures in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MEDIAPIPE = "MediaPipe short range"


def detector_lines(detectors: Mapping[str, Any]) -> list[str]:
    """Return one row per detector: before, inference, after, whole, and how much faster than MediaPipe."""
    lines = [
        f"{'detector':24}{'runtime':20}{'input':12}{'before':>8}{'inference':>11}{'after':>8}{'whole':>8}  times as fast"
    ]
    for name, found in detectors.items():
        inference = found["inference"]
        after = "    -" if found["after_ms"] is None else f"{found['after_ms']:.2f}"
        ratio = inference["times_as_fast"]
        lines.append(
            f"{name:24}{found['runtime']:20}{found['input_px']:12}{found['before_ms']:8.2f}"
            f"{inference['cpu_ms']:11.2f}{after:>8}{found['whole_ms']:8.2f}  "
            f"{ratio['ratio']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"
        )
    lines.append(
        f"Median ms of CPU on one thread, a single full inference in turns, no tracking; the last column is its speed\n"
        f"against {MEDIAPIPE}, with its 95 % interval. Each step alone finds its data in the caches; the whole does not."
    )
    return lines


def level_lines(levels: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how fast each variant is against MediaPipe's file on older processors' kernels."""
    lines = []
    for level in levels:
        if "not_possible" in level:
            lines.append(f"  {level['level']}: not possible ({level['not_possible']})")
            continue
        each = "; ".join(
            f"{name} {found['cpu_ms']:.2f} ms ({found['times_as_fast']['ratio']:.2f}x)"
            for name, found in level["detectors"].items()
        )
        lines.append(f"  {level['level']}: {each}")
    return (
        ["the same inference by instruction set, speed against MediaPipe in brackets:", *lines]
        if lines
        else []
    )


def film_lines(tracked: Mapping[str, Any]) -> list[str]:
    """Return what a frame costs the agent on real films, detection on few of the frames."""
    lines = [f"the agent on films, {tracked['detector']}: mean ms of CPU per frame, decoding left out"]
    for film in tracked["films"]:
        lines.append(
            f"  {film['film']:28} {film['inferences_per_frame']:.2f} looks: detection {film['detection_ms']:.2f}, "
            f"tracking {film['tracking_ms']:.2f}, everything to the encoded crop {film['frame_ms']:.2f} "
            f"({film['frames']} frames, {film['sent_share']:.0%} sent)"
        )
    return lines


def recall_lines(recall: Mapping[str, Any] | None) -> list[str]:
    """Return recall against MediaPipe's file, or that it was not measured."""
    if recall is None:
        return ["recall against MediaPipe: not measured (--no-recall)"]
    lines = ["recall at IoU .5 on the pooled faces, against MediaPipe's file on the same faces:"]
    for name, found in recall["minus_mediapipe"].items():
        pooled = recall["recall"][name]["pooled"]
        lines.append(
            f"  {name}: {pooled['recall']:.4f}, {found['points']:+.2f} points "
            f"({found['lower95_points']:+.2f} to {found['upper95_points']:+.2f}), {found['faces']} faces"
        )
    return lines
