"""The six expressions of Countenance, their order, and what each data set calls them.

The order of `LABELS` is part of the artifact's contract: it is the order of the network's logits, of the
probabilities in a score record, and of every confusion matrix. The code names the *expression* that a
face shows; it never claims an inner emotion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError

LABELS: tuple[str, ...] = ("happy", "sad", "angry", "surprised", "disgust", "neutral")
"""Fixed order of the logits and of every six-vector in the product."""

N_LABELS = len(LABELS)

OTHER_COLUMN = N_LABELS
"""Column of the seventh logit, "other", in networks that have it: fear, contempt, unknown, not a face."""

N_OUTPUTS = N_LABELS + 1
"""Width of a training target, and of the networks trained here: the six expressions, then "other"."""

LOGIT_WIDTHS = (N_LABELS, N_OUTPUTS)
"""How many logits a network may give: the six, or the six and "other"."""

OUT_OF_SCOPE = -1
"""Label index of a picture whose expression is none of the six (fear, contempt, not a face, unknown)."""

VALENCE: tuple[float, ...] = (1.0, -1.0, -1.0, 0.0, -1.0, 0.0)
"""Sign of each label for the sentiment score, in the order of `LABELS`; surprise may be good or bad: 0."""

FERPLUS_VOTES: tuple[str, ...] = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
)
"""Column order of the ten FER+ votes (Barsoum et al. 2016, arXiv:1608.01041)."""

_FERPLUS_IN_LABEL_ORDER = ("happiness", "sadness", "anger", "surprise", "disgust", "neutral")
_FERPLUS_COLUMNS = np.array([FERPLUS_VOTES.index(name) for name in _FERPLUS_IN_LABEL_ORDER])

_NAMES: Mapping[str, int] = MappingProxyType(
    {
        "happy": 0,
        "happiness": 0,
        "joy": 0,
        "sad": 1,
        "sadness": 1,
        "angry": 2,
        "anger": 2,
        "surprise": 3,
        "surprised": 3,
        "disgust": 4,
        "disgusted": 4,
        "neutral": 5,
        "fear": OUT_OF_SCOPE,
        "fearful": OUT_OF_SCOPE,
        "afraid": OUT_OF_SCOPE,
        "contempt": OUT_OF_SCOPE,
        "unknown": OUT_OF_SCOPE,
        "nf": OUT_OF_SCOPE,
        "none": OUT_OF_SCOPE,
    }
)


def label_index(name: str) -> int:
    """Return the index in `LABELS` of a data set's own label, `OUT_OF_SCOPE` if it is none of the six.

    Raises:
        DatasetError: the name is in no known vocabulary.
    """
    try:
        return _NAMES[name.strip().lower()]
    except KeyError:
        known = ", ".join(sorted(_NAMES))
        raise DatasetError(f"unknown expression label {name!r}; known: {known}") from None


def one_hot(label: int) -> npt.NDArray[np.float32]:
    """Return a float32 vector of shape (6,): 1 at `label`, else 0; all zero for `OUT_OF_SCOPE`."""
    target = np.zeros(N_LABELS, np.float32)
    if label != OUT_OF_SCOPE:
        target[label] = 1.0
    return target


def ferplus_majority(votes: Sequence[int]) -> int:
    """Return the label that more than half of the ten-way votes name, else `OUT_OF_SCOPE`.

    This is the evaluation rule: a picture counts in the FER+ test set only if one of the six has more than
    half of all votes cast, out-of-scope votes included.
    """
    counts = np.asarray(votes, np.float32)
    shares = counts[_FERPLUS_COLUMNS]
    best = int(np.argmax(shares))
    return best if shares[best] * 2 > counts.sum() else OUT_OF_SCOPE


def ferplus_target(votes: Sequence[int]) -> npt.NDArray[np.float32]:
    """Turn ten FER+ votes into a soft target over the six labels.

    Single votes are dropped as outliers (as the FER+ paper does) unless nothing else is left; out-of-scope
    votes are then removed and the rest renormalised.

    Args:
        votes: ten counts in the order of `FERPLUS_VOTES`.

    Returns:
        float32 of shape (6,), sum 1; all zero where out-of-scope votes are at least half of those kept,
        which marks a picture that says nothing about the six.
    """
    kept = _without_single_votes(votes)
    six = kept[_FERPLUS_COLUMNS]
    if six.sum() * 2 <= kept.sum():
        return np.zeros(N_LABELS, np.float32)
    return np.asarray(six / six.sum(), np.float32)


def ferplus_other(votes: Sequence[int]) -> float:
    """Return the share of out-of-scope votes (fear, contempt, unknown, not a face) among those kept, in [0, 1].

    Args:
        votes: ten counts in the order of `FERPLUS_VOTES`; single votes are dropped as in `ferplus_target`.
    """
    kept = _without_single_votes(votes)
    return float(1.0 - kept[_FERPLUS_COLUMNS].sum() / kept.sum())


def _without_single_votes(votes: Sequence[int]) -> npt.NDArray[np.float32]:
    counts = np.asarray(votes, np.float32)
    kept = np.where(counts > 1, counts, 0.0)
    return np.asarray(kept if kept.sum() > 0 else counts, np.float32)
