"""A viewer's timeline filtered over time when it is read; what is stored stays as it was.

The filter is `models.expression.temporal` (rules F1 to F4): forward only, so a frame is told without waiting for
later ones. Flags stay those of the frames as they were scored.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from functools import cache
from typing import Any

import numpy as np

from cloud.analytics.traces import Float64Array, FrameTrace, is_flagged
from cloud.reports.viewers import ViewerTimeline
from cloud.streams.entries import FLAG_OUT_OF_SCOPE
from models.errors import ManifestError
from models.expression.inference import FULL_SCALE, opt_out_mask, store_probabilities
from models.expression.temporal import DEFAULT_FILTER, FilterSettings, filter_of, filter_track
from models.runtime.manifest import ARTIFACTS_DIR, load_manifest

NOMINAL_STEP_MS = 1_000.0 / 30.0
"""Between neighbouring frame numbers where the film stands still."""


class Smoothing(StrEnum):
    """How scores are filtered over time: not at all, or by the hidden-Markov filter."""

    RAW = "raw"
    HMM = "hmm"


@cache
def installed_filter() -> FilterSettings:
    """Give the filter settings of the model that this installation carries."""
    try:
        return filter_of(load_manifest(ARTIFACTS_DIR / "expression").parameters)
    except ManifestError:
        return DEFAULT_FILTER


def smooth_viewer(viewer: ViewerTimeline, smoothing: Smoothing, settings: FilterSettings) -> ViewerTimeline:
    """Give the viewer's timeline with filtered probabilities and confidence; the same one for `RAW`."""
    if smoothing is Smoothing.RAW:
        return viewer
    trace = viewer.trace
    filtered = filter_track(
        trace.probabilities / float(FULL_SCALE),
        elapsed_ms(trace),
        settings,
        opted_out=opt_out_mask(str(expression) for expression in viewer.opted_out),
        informative=~is_flagged(trace, FLAG_OUT_OF_SCOPE),
    )
    confidence = np.rint(filtered.max(axis=1, initial=0.0) * FULL_SCALE).astype(np.uint8)
    return replace(
        viewer, trace=replace(trace, probabilities=store_probabilities(filtered), confidence=confidence)
    )


def kernel_document(smoothing: Smoothing, settings: FilterSettings) -> dict[str, Any]:
    """Name the kernel for an answer, with its settings and how far it looks ahead."""
    if smoothing is Smoothing.RAW:
        return {"kernel": str(smoothing)}
    return {"kernel": str(smoothing), **settings.to_json(), "look_ahead_ms": 0}


def elapsed_ms(trace: FrameTrace) -> Float64Array:
    """Tell the time from each frame to the next, which need not be even.

    Returns:
        float64 (n,); differences of media time, or of frame numbers at 30 a second where the film stands still;
        infinite at the first frame, at a new segment (pause, seek, another rate) and where time runs backwards.
    """
    elapsed = np.full(len(trace), np.inf)
    media = np.diff(trace.media_time_ms.astype(np.int64)).astype(np.float64)
    standing = np.diff(trace.frame) * NOMINAL_STEP_MS
    elapsed[1:] = np.where(media > 0, media, np.where(media == 0, standing, np.inf))
    elapsed[1:][np.diff(trace.segment) != 0] = np.inf
    return elapsed
