"""Accuracy over short clips, with and without the filter over time, on synthetic clips of labelled pictures.

Two kinds, because no labelled film is at hand: `unrest` films one picture with an unsteady camera, so its frames
repeat one face's errors; `faces` shows several faces of one label in turn, so its frames err apart. Real clips lie
between the two. Made of a test set they measure, and nothing may be chosen by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from models.expression.inference import Float64Array
from models.expression.preprocessing import to_grey
from models.expression.taxonomy import N_LABELS
from models.expression.temporal import FilterSettings, filter_track
from models.training.expression.calibration.temperature import softmax
from models.training.expression.data.synthetic_tracks import (
    FRAME_MS,
    Int64Array,
    Reader,
    UInt8Array,
    unrestful_frames,
)
from models.training.expression.evaluation.engines import Predictor
from models.training.expression.evaluation.scoring import wilson_interval

UNREST_FRAMES = 15
FACES = 5
CLIPS = 400
"""Of each kind at most: intervals of four to five points."""


def reader_of(predictor: Predictor, *, temperature: float) -> Reader:
    """Give a predictor's calibrated probabilities of the six, whatever the width of its logits."""
    return lambda crops: softmax(predictor(crops)[:, :N_LABELS], temperature=temperature)


def clip_figures(
    crops: Sequence[UInt8Array],
    labels: Int64Array,
    reader: Reader,
    settings: FilterSettings,
    *,
    clips: int = CLIPS,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure both kinds of clips on one set.

    Args:
        crops: pictures, uint8, square, grey or R, G, B.
        labels: int64 (n,) in [0, 6).
        reader: from `reader_of`.
        settings: the artifact's filter.
        clips: how many of each kind at most.
        seed: of every draw.

    Returns:
        By kind (`unrest`, `faces`): `clips`, `frames` in a clip, and accuracies: `frame` over all frames,
        `last_frame` raw, `filtered` (the last frame after the filter), `mean` (the mean over the whole clip,
        which has to wait for its end), the last three with 95 % Wilson intervals over clips.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(labels))[:clips]
    filmed = [unrestful_frames(to_grey(crops[i]), frames=UNREST_FRAMES, rng=rng) for i in chosen]
    groups = _groups(labels, rng)[:clips]
    shown = [[crops[i] for i in group] for group in groups]
    group_labels = np.array([labels[group[0]] for group in groups], np.int64)
    return {
        "unrest": _figures(filmed, labels[chosen], reader, settings),
        "faces": _figures(shown, group_labels, reader, settings),
    }


def _groups(labels: Int64Array, rng: np.random.Generator) -> list[Int64Array]:
    """Put pictures of one label together, `FACES` at a time, each in at most one group, in a random order."""
    groups: list[Int64Array] = []
    for label in range(N_LABELS):
        members = rng.permutation(np.flatnonzero(labels == label))
        groups += list(members[: len(members) // FACES * FACES].reshape(-1, FACES))
    return [groups[i] for i in rng.permutation(len(groups))]


def _figures(
    clips: Sequence[Sequence[UInt8Array]], labels: Int64Array, reader: Reader, settings: FilterSettings
) -> dict[str, Any]:
    if not len(clips):
        return {"clips": 0}
    length = len(clips[0])
    read = reader([frame for clip in clips for frame in clip]).reshape(len(clips), length, N_LABELS)
    elapsed_ms = np.full(length, FRAME_MS)
    elapsed_ms[0] = np.inf
    answers: dict[str, Float64Array] = {
        "last_frame": read[:, -1],
        "filtered": np.stack([filter_track(rows, elapsed_ms, settings)[-1] for rows in read]),
        "mean": read.mean(axis=1),
    }
    figures: dict[str, Any] = {
        "clips": len(clips),
        "frames": length,
        "frame": float((read.argmax(axis=2) == labels[:, None]).mean()),
    }
    for name, rows in answers.items():
        right = rows.argmax(axis=1) == labels
        figures[name] = float(right.mean())
        figures[f"{name}_95"] = wilson_interval(int(right.sum()), len(right))
    return figures
