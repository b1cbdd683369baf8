"""Fit the filter over time on synthetic tracks of validation pictures, and say what it gains and costs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from models.errors import DatasetError
from models.expression.inference import Float64Array
from models.expression.temporal import FilterSettings, filter_track
from models.training.expression.data.synthetic_tracks import (
    FRAME_MS,
    Int64Array,
    Reader,
    Track,
    UInt8Array,
    make_tracks,
)

DWELLS_MS = (1_000.0, 2_000.0, 4_000.0, 8_000.0)
MEMORIES_MS = (20.0, 33.0, 50.0, 70.0, 100.0, 150.0)
EVIDENCES = (0.8, 1.0, 1.25)

Smoother = Callable[[Track], Float64Array]
"""Turns a track into filtered probabilities, float64 (n, 6)."""


TRACKS = 160
HOLDS = 5
HOLD_MS = 2_000.0
"""An assumption, not a measurement: no labelled film says how long viewers hold an expression."""


def fit_on_pictures(
    pictures: Sequence[UInt8Array], labels: Int64Array, reader: Reader, *, tracks: int = TRACKS, seed: int = 0
) -> tuple[FilterSettings, dict[str, Any]]:
    """Fit on every other synthetic track, and measure on the rest, which shows other pictures.

    Args:
        pictures: grey validation pictures, uint8, square; never of a test split.
        labels: int64 (n,) in [0, 6).
        reader: the network with its temperature.
        tracks: how many tracks to make.
        seed: of all draws.

    Returns:
        The settings, and `track_figures` of `raw`, `hmm` and the fitted plain `exponential` filter on the rest.

    Raises:
        DatasetError: too few pictures for two tracks.
    """
    made = make_tracks(pictures, labels, reader, tracks=tracks, holds=HOLDS, hold_ms=HOLD_MS, seed=seed)
    fitting, rest = made[::2], made[1::2]
    if not rest:
        raise DatasetError("too few validation pictures to make tracks of")
    settings, memory_ms = fit_filter(fitting), fit_exponential(fitting)
    return settings, {
        "raw": track_figures(rest, raw),
        "hmm": track_figures(rest, hmm(settings)),
        "exponential": {"memory_ms": memory_ms, **track_figures(rest, exponential(memory_ms))},
    }


def fit_filter(tracks: Sequence[Track]) -> FilterSettings:
    """Choose the settings with the least mean negative log-likelihood of the true expression.

    Args:
        tracks: of validation pictures; never of a test split.
    """
    tried = [
        FilterSettings(dwell_ms=dwell, memory_ms=memory, evidence=evidence)
        for dwell, memory, evidence in itertools.product(DWELLS_MS, MEMORIES_MS, EVIDENCES)
    ]
    return min(tried, key=lambda settings: _loss(tracks, map(hmm(settings), tracks)))


def fit_exponential(tracks: Sequence[Track]) -> float:
    """Choose the time constant, in ms, of the plain exponential filter that the other is compared with."""
    return min(MEMORIES_MS, key=lambda memory: _loss(tracks, map(exponential(memory), tracks)))


def hmm(settings: FilterSettings) -> Smoother:
    """Give the filter as a function of a track."""
    return lambda track: filter_track(track.probabilities, track.elapsed_ms, settings)


def exponential(memory_ms: float) -> Smoother:
    """Give the exponential moving average of the probabilities as a function of a track."""

    def smooth(track: Track) -> Float64Array:
        share = 1.0 - np.exp(-np.minimum(track.elapsed_ms, 1e6) / memory_ms)
        smoothed = np.empty_like(track.probabilities)
        state = track.probabilities[0]
        for row, seen in enumerate(track.probabilities):
            state = state + share[row] * (seen - state)
            smoothed[row] = state
        return smoothed

    return smooth


def raw(track: Track) -> Float64Array:
    """Give the probabilities as they are."""
    return track.probabilities


def track_figures(tracks: Sequence[Track], smoother: Smoother) -> dict[str, Any]:
    """Measure a filter on tracks.

    Returns:
        `frame_accuracy`; `nll`, mean negative log-likelihood in nats; `changes_per_s` of the leading
        expression; `delay_ms_p50` and `delay_ms_p90`, from a change to the first frame that reads it, over the
        changes that are read at all; `unread_share` of the changes.
    """
    filtered = [smoother(track) for track in tracks]
    leading = [rows.argmax(axis=1) for rows in filtered]
    frames = sum(len(track.labels) for track in tracks)
    right = sum(int((read == track.labels).sum()) for read, track in zip(leading, tracks, strict=True))
    changes = sum(int((np.diff(read) != 0).sum()) for read in leading)
    delays = [d for read, track in zip(leading, tracks, strict=True) for d in _delays_ms(read, track)]
    read_at_all = [delay for delay in delays if delay is not None]
    return {
        "frames": frames,
        "frame_accuracy": right / frames,
        "nll": _loss(tracks, filtered),
        "changes_per_s": changes / (frames * FRAME_MS / 1_000.0),
        "delay_ms_p50": float(np.median(read_at_all)) if read_at_all else None,
        "delay_ms_p90": float(np.quantile(read_at_all, 0.9)) if read_at_all else None,
        "unread_share": 1.0 - len(read_at_all) / len(delays) if delays else None,
    }


def _loss(tracks: Sequence[Track], filtered: Iterable[Float64Array]) -> float:
    """Mean of -log p(true expression) over all frames, in nats."""
    total = 0.0
    for track, rows in zip(tracks, filtered, strict=True):
        picked = rows[np.arange(len(track.labels)), track.labels]
        total -= float(np.log(np.maximum(picked, 1e-12)).sum())
    return total / sum(len(track.labels) for track in tracks)


def _delays_ms(read: np.ndarray, track: Track) -> list[float | None]:
    begins = np.flatnonzero(np.diff(track.labels)) + 1
    delays: list[float | None] = []
    for first, end in zip(begins, [*begins[1:], len(read)], strict=True):
        hits = np.flatnonzero(read[first:end] == track.labels[first])
        delays.append(float(hits[0] * FRAME_MS) if len(hits) else None)
    return delays
