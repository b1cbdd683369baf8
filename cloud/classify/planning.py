"""How many crops go into the network at once."""

from __future__ import annotations

from cloud.classify.classifier import BATCH_SIZES

PADDING_WORTH = 0.7
"""On a CPU a padded slot costs as much as a real one: pad only a batch that is at least this full."""


def plan_batches(count: int, *, device: str) -> list[tuple[int, int]]:
    """Split `count` crops into batches.

    Args:
        count: crops to classify.
        device: `gpu` pads up to the next size, since a half-empty batch costs it nothing; `cpu` splits
            into sizes that fit.

    Returns:
        Pairs of (crops in the batch, padded size from `BATCH_SIZES`); the first numbers sum to `count`.
    """
    plan = []
    while count > 0:
        size = _gpu_size(count) if device == "gpu" else _cpu_size(count)
        taken = min(count, size)
        plan.append((taken, size))
        count -= taken
    return plan


def _gpu_size(count: int) -> int:
    return next((size for size in BATCH_SIZES if size >= count), BATCH_SIZES[-1])


def _cpu_size(count: int) -> int:
    return max(size for size in BATCH_SIZES if size <= count or count >= PADDING_WORTH * size)
