"""Opens the expression network in every runtime that is compared, through the adapters that serve it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cloud.bench.timing import Runner
from cloud.classify.classifier import Float32Array
from cloud.classify.litert_classifier import LiteRtClassifier, find_variant, scoring_model
from models.expression.loading import ExpressionArtifact

INT8, FLOAT32 = "LiteRT int8", "LiteRT float32"
TF_FUNCTION, KERAS_PREDICT = "tf.function", "Keras predict"


def sample_crops(count: int, side_px: int) -> Float32Array:
    """Return network input of the right shape and range; no engine's time depends on what it shows."""
    drawn = np.random.default_rng(0).normal(size=(count, side_px, side_px, 1))
    return np.asarray(drawn.clip(-3, 3), np.float32)


def open_litert_pair(artifact: ExpressionArtifact, *, threads: int) -> dict[str, LiteRtClassifier]:
    """Open the int8 and the float32 file of the family.

    Raises:
        ManifestError: the family lacks one of them.
        ArtifactDigestError: bytes are not the manifest's.
    """
    manifest = artifact.manifest
    variants = {name: find_variant(manifest, runtime="litert", precision=precision) for name, precision in
                ((INT8, "int8"), (FLOAT32, "float32"))}  # fmt: skip
    return {
        name: LiteRtClassifier(
            manifest.read(variant.id),
            side_px=artifact.input_side_px,
            model=scoring_model(manifest, variant),
            threads=threads,
        )
        for name, variant in variants.items()
    }


def litert_runners(engines: Mapping[str, LiteRtClassifier], crops: Float32Array) -> dict[str, Runner]:
    """Return a call of each LiteRT engine on the same crops."""
    return {name: partial(engine.classify, crops) for name, engine in engines.items()}


class TensorFlowEngines:
    """The same network as `tf.function`, as the TensorFlow worker runs it, and through Keras `predict`.

    Args:
        artifact: with a Keras variant.
        threads: of one operation; one operation runs at a time.

    Raises:
        ConfigError: TensorFlow is not installed.
    """

    def __init__(self, artifact: ExpressionArtifact, *, threads: int) -> None:
        from cloud.classify.tensorflow_classifier import open_tensorflow

        limit_tensorflow(threads)
        self._function = open_tensorflow(artifact)
        self._model = load_keras(artifact)

    def runners(self, crops: Float32Array) -> dict[str, Runner]:
        """Return a call of each on the same crops."""
        return {
            TF_FUNCTION: lambda: self._function.classify(crops),
            KERAS_PREDICT: lambda: self._model.predict(crops, batch_size=len(crops), verbose=0),
        }


def limit_tensorflow(threads: int) -> None:
    """Fix TensorFlow's threads; only possible before its first operation in this process.

    Raises:
        ConfigError: TensorFlow is not installed.
    """
    from cloud.classify.tensorflow_classifier import visible_gpus

    visible_gpus()
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    # The CPU is what is compared, also on a machine with a GPU.
    tf.config.set_visible_devices([], "GPU")


def load_keras(artifact: ExpressionArtifact) -> Any:
    """Load the Keras variant, its digest checked."""
    import keras

    variant = find_variant(artifact.manifest, runtime="keras")
    artifact.manifest.read(variant.id)
    path = Path(artifact.manifest.directory) / variant.file
    return keras.models.load_model(path, compile=False, safe_mode=True)
