"""Say what making a network smaller cost: several files on the same pictures, paired, with size and time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.errors import DatasetError
from models.expression.taxonomy import N_LABELS
from models.training.expression.evaluation.engines import LiteRtNetwork, batched
from models.training.expression.evaluation.evaluate import TestSet
from models.training.expression.evaluation.scoring import (
    accuracy,
    macro_recall,
    paired_difference_interval,
    wilson_interval,
)

WARM_UP = 10


def compare_files(
    files: Mapping[str, bytes], sets: Sequence[TestSet], *, threads: Sequence[int] = (1, 2), rounds: int = 200
) -> dict[str, Any]:
    """Measure each file; the first is what the others are compared with.

    Args:
        files: TFLite files by name, each from crops (1, side, side, 1) to 6 or 7 logits.
        sets: test sets.
        threads: LiteRT threads to time one crop with, interleaved over the files.
        rounds: timings of each.

    Returns:
        Per file: size_bytes, median milliseconds per crop by threads, and per set n, accuracy with its 95 %
        interval, macro recall, and loss_points, paired against the first file, with its 95 % interval.

    Raises:
        DatasetError: no file was given.
    """
    if not files:
        raise DatasetError("name at least one file to compare")
    right: dict[str, dict[str, np.ndarray]] = {}
    body: dict[str, Any] = {}
    for name, content in files.items():
        network = LiteRtNetwork(content)
        predict = batched(network, side_px=network.side_px, width=network.width)
        figures: dict[str, Any] = {"size_bytes": len(content), "sets": {}}
        for test_set in sets:
            predicted = predict(list(test_set.crops))[:, :N_LABELS].argmax(axis=1)
            hits = predicted == test_set.labels
            first = right.setdefault(test_set.name, {}).setdefault("first", hits)
            figures["sets"][test_set.name] = {
                "n": len(hits),
                "accuracy": accuracy(test_set.labels, predicted),
                "accuracy_95": wilson_interval(int(hits.sum()), len(hits)),
                "macro_recall": macro_recall(test_set.labels, predicted),
                "loss_points": [100 * d for d in paired_difference_interval(first, hits)],
            }
        body[name] = figures
    for count in threads:
        for name, median_ms in time_files(files, threads=count, rounds=rounds).items():
            body[name][f"ms_{count}_threads" if count > 1 else "ms_1_thread"] = median_ms
    return body


def time_files(files: Mapping[str, bytes], *, threads: int, rounds: int) -> dict[str, float]:
    """Return the median milliseconds for one crop per file, interleaved so that noise hits all alike."""
    networks = {name: LiteRtNetwork(content, threads=threads) for name, content in files.items()}
    rng = np.random.default_rng(0)
    crops = {
        name: rng.normal(size=(1, n.side_px, n.side_px, 1)).clip(-3, 3).astype(np.float32)
        for name, n in networks.items()
    }
    times: dict[str, list[float]] = {name: [] for name in files}
    for turn in range(rounds + WARM_UP):
        for name, network in networks.items():
            start = time.perf_counter()
            network(crops[name])
            if turn >= WARM_UP:
                times[name].append(time.perf_counter() - start)
    return {name: float(np.median(seconds) * 1e3) for name, seconds in times.items()}
