"""First weights of a network that does not start at random: face recognition's, or an earlier network's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from models.errors import DatasetError
from models.expression.preprocessing import resize_grey, standardise
from models.training.expression.data.datasets import PackedFaces
from models.training.expression.networks import face_network, mobile_network
from models.training.expression.networks.building import (
    FACE,
    FACE_MOBILE,
    RESIDUAL,
    first_difference,
    load_network,
)
from models.training.expression.networks.face_weights import read_face_layers
from models.training.expression.networks.mobile_weights import read_mobile_layers
from models.training.expression.training.training_config import TrainingConfig

Start = Callable[[keras.Model], None]
"""Gives a new network its first weights, in place."""

STARTING_PICTURES = 256
"""Training pictures whose activations start the batch normalisation of a network that starts from faces."""


def check_starts_from_faces(config: TrainingConfig) -> None:
    """Refuse face-recognition weights for a kind of network that takes none.

    Raises:
        DatasetError: the configured kind takes none.
    """
    kind = config.network.get("kind", RESIDUAL)
    if kind not in (FACE, FACE_MOBILE):
        raise DatasetError(
            f"a {kind} network does not start from face-recognition weights: give --config teacher.toml or "
            "teacher_mobile.toml, or leave out --faces"
        )


def from_faces(weights: Path, config: TrainingConfig, training: PackedFaces) -> Start:
    """Return a start from the face-recognition weights that the configured kind of network takes.

    Raises:
        DatasetError: the file cannot be read or is another network, or the configured kind starts from no such file.
    """
    check_starts_from_faces(config)
    if config.network["kind"] == FACE_MOBILE:
        layers, input_gain = read_mobile_layers(weights), mobile_network.INPUT_GAIN
    else:
        layers, input_gain = read_face_layers(weights), face_network.INPUT_GAIN

    def start(model: keras.Model) -> None:
        side_px = int(model.input_shape[1])
        drawn = np.random.default_rng(0).permutation(len(training))[:STARTING_PICTURES]
        crops = standardise(np.stack([resize_grey(training.grey[i], side_px) for i in drawn]))
        face_network.start_from_faces(model, layers, crops, input_gain=input_gain)

    return start


def from_network(path: Path) -> Start:
    """Return a start from another network of the same shape, be its layers plain or fast.

    Args:
        path: what training or `export` wrote, a `.keras` file.

    Raises:
        DatasetError: the file cannot be read; or, once it starts a network, is one of another shape.
    """
    return from_model(load_network(path), name=path.name)


def from_model(source: keras.Model, *, name: str) -> Start:
    """Return a start from a network of the same shape that is at hand; `name` is what a refusal calls it."""

    def start(model: keras.Model) -> None:
        if differs := first_difference(model, source):
            raise DatasetError(
                f"{name} is a network of another shape: it has {differs[1]} "
                f"where the configuration asks for {differs[0]}"
            )
        model.set_weights(source.get_weights())

    return start
