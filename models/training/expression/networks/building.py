"""From a configuration's network table to an untrained network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.training.expression.networks.architectures import NetworkSettings, build_network
from models.training.expression.networks.face_network import FaceNetworkSettings, build_face_network
from models.training.expression.networks.mobile_network import MobileNetworkSettings, build_mobile_network

Float32Array = npt.NDArray[np.float32]

RESIDUAL, FACE, FACE_MOBILE = "residual", "face", "face_mobile"
"""Values of `kind` in the table: the student's plain network, the two teachers that start from faces."""


def build_from_table(table: Mapping[str, Any], *, fast: bool = False) -> keras.Model:
    """Build the network that a configuration describes.

    Args:
        table: `kind` ("residual" if absent) and the settings of that kind.
        fast: use the training layers, where the kind knows them.

    Raises:
        DatasetError: the table names an unknown kind or setting.
    """
    settings = {k: v for k, v in table.items() if k != "kind"}
    kind = table.get("kind", RESIDUAL)
    try:
        if kind == RESIDUAL:
            return build_network(NetworkSettings(**settings), fast=fast)
        if kind == FACE:
            return build_face_network(FaceNetworkSettings(**settings))
        if kind == FACE_MOBILE:
            return build_mobile_network(MobileNetworkSettings(**settings))
    except TypeError as error:
        raise DatasetError(f"the network table does not fit its kind {kind!r}: {error}") from None
    raise DatasetError(f"unknown kind of network {kind!r}; known: {RESIDUAL}, {FACE}, {FACE_MOBILE}")


def load_network(path: Path) -> keras.Model:
    """Load a network that training wrote; this module's imports are what makes its layers known to Keras.

    Raises:
        DatasetError: there is no such file, or it holds no network.
    """
    try:
        return keras.models.load_model(path, compile=False)
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"cannot read the network {path}: {error}") from error


def describe_weights(model: keras.Model) -> list[str]:
    """Describe the input and, in order, every weight by its layer and shape."""
    weights = [f"{w.path} {tuple(w.shape)}" for layer in model.layers for w in layer.weights]
    return [f"input {tuple(model.input_shape[1:])}", *weights]


def first_difference(own: keras.Model, other: keras.Model) -> tuple[str, str] | None:
    """Return where the shapes of two networks part, as `describe_weights` says it, or None where they do not."""
    pairs = zip_longest(describe_weights(own), describe_weights(other), fillvalue="nothing")
    return next(((a, b) for a, b in pairs if a != b), None)


def as_function(model: keras.Model) -> Callable[[Float32Array], Float32Array]:
    """Return what a network computes when it is not trained: from crops to logits, as arrays."""

    def answer(crops: Float32Array) -> Float32Array:
        with without_gradients():
            return np.asarray(keras.ops.convert_to_numpy(model(crops, training=False)), np.float32)

    return answer


@contextmanager
def without_gradients() -> Iterator[None]:
    """Keep PyTorch from recording what a gradient would need; under other backends nothing changes."""
    if keras.backend.backend() != "torch":
        yield
        return
    import torch

    with torch.no_grad():
        yield
