"""Structured pruning: take whole channels out of each block's middle, where nothing else depends on them.

A block's two convolutions meet in channels that only the second one reads. A channel matters as much as its
batch normalisation's gain lets through, times what the second convolution makes of it; the least are dropped,
and the network that is left is an ordinary, narrower one.

References:
    Liu et al. (2017), Learning Efficient Convolutional Networks through Network Slimming, arXiv:1708.06519.
    Li et al. (2017), Pruning Filters for Efficient ConvNets, arXiv:1608.08710.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.training.expression.networks.architectures import NetworkSettings, block_shapes, build_network

Float32Array = npt.NDArray[np.float32]

LEAST_CHANNELS = 8
CHANNEL_STEP = 8
"""Widths stay multiples of this: vector units work in such steps anyway."""


def prune_network(
    trained: keras.Model, table: Mapping[str, Any], *, keep: float
) -> tuple[keras.Model, dict[str, Any]]:
    """Return a narrower network with the weights that are left, and its network table.

    Args:
        trained: a residual network from `architectures.build_network`.
        table: the network table it was built from.
        keep: share of each block's inner channels to keep, in (0, 1].

    Raises:
        DatasetError: the table is of another kind of network, or `keep` is outside its range.
    """
    if table.get("kind", "residual") != "residual":
        raise DatasetError("only residual networks can be pruned")
    if not 0 < keep <= 1:
        raise DatasetError(f"keep must lie in (0, 1], got {keep}")
    settings = {k: v for k, v in table.items() if k != "kind"}
    kept: dict[str, npt.NDArray[np.int64]] = {}
    for name, _, inner, _ in block_shapes(NetworkSettings(**settings)):
        wanted = min(inner, max(LEAST_CHANNELS, round(inner * keep / CHANNEL_STEP) * CHANNEL_STEP))
        kept[name] = np.sort(np.argsort(-channel_importance(trained, name), kind="stable")[:wanted])
    narrow_table = {**table, "inner_channels": [len(channels) for channels in kept.values()]}
    narrow = build_network(NetworkSettings(**{**settings, "inner_channels": tuple(map(len, kept.values()))}))
    for layer in narrow.layers:
        if layer.weights:
            layer.set_weights(_kept_weights(layer.name, trained.get_layer(layer.name).get_weights(), kept))
    return narrow, narrow_table


def channel_importance(model: keras.Model, block: str) -> Float32Array:
    """Return float32 (inner,): gain of each inner channel times the norm of the weights that read it."""
    gain = np.abs(model.get_layer(f"{block}_a_bn").get_weights()[0])
    readers = model.get_layer(f"{block}_b_conv").get_weights()[0]
    return np.asarray(gain * np.sqrt((readers**2).sum(axis=(0, 1, 3))), np.float32)


def _kept_weights(
    layer: str, weights: list[Float32Array], kept: Mapping[str, npt.NDArray[np.int64]]
) -> list[Float32Array]:
    block, _, role = layer.partition("_")
    if role == "a_conv":
        return [weights[0][..., kept[block]]]
    if role == "a_bn":
        return [w[kept[block]] for w in weights]
    if role == "b_conv":
        return [weights[0][:, :, kept[block]]]
    return weights
