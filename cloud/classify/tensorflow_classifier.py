"""The expression network on TensorFlow; the GPU engine. Importing this module does not import TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from cloud.classify.classifier import Float32Array
from cloud.classify.litert_classifier import check_batch, find_variant, scoring_model
from cloud.errors import ConfigError
from cloud.streams.scoring import ScoringModel
from models.expression.loading import ExpressionArtifact


class TensorFlowClassifier:
    """A Keras model traced once per batch size.

    Args:
        network: a loaded Keras model, float32 (n, side, side, 1) -> float32 (n, 6 or 7) logits.
        side_px: side of the network input.
        model: the variant's record.
    """

    def __init__(self, network: Any, *, side_px: int, model: ScoringModel) -> None:
        tensorflow = _tensorflow()
        self.model = model
        self.name = f"tensorflow:{model.name}-{model.version}:{model.variant}"
        self.device = "gpu" if visible_gpus() else "cpu"
        self._side_px = side_px
        self._constant = tensorflow.constant
        self._run = tensorflow.function(lambda crops: network(crops, training=False), reduce_retracing=False)

    def classify(self, crops: Float32Array) -> Float32Array:
        """Run the network; see the port.

        Raises:
            TensorShapeError: another shape or dtype, or a batch size that is not one of `BATCH_SIZES`.
        """
        check_batch(crops, side_px=self._side_px)
        return np.asarray(self._run(self._constant(crops)).numpy(), np.float32)

    def close(self) -> None:
        """Let the traced graphs go."""
        self._run = _closed


def open_tensorflow(artifact: ExpressionArtifact) -> TensorFlowClassifier:
    """Open the artifact's Keras variant.

    Raises:
        ConfigError: TensorFlow is not installed.
        ManifestError: the family has no Keras variant.
        ArtifactDigestError: its bytes are not the manifest's.
    """
    _tensorflow()
    import keras

    manifest = artifact.manifest
    variant = find_variant(manifest, runtime="keras")
    # the digest is checked on the file that is then loaded; the artifact directory is not writable by others
    manifest.read(variant.id)
    network = keras.models.load_model(Path(manifest.directory) / variant.file, compile=False, safe_mode=True)
    return TensorFlowClassifier(
        network,
        side_px=artifact.input_side_px,
        model=scoring_model(manifest, variant),
    )


def visible_gpus() -> int:
    """Count the GPUs that TensorFlow can use; lets it take memory as it needs it."""
    tensorflow = _tensorflow()
    gpus = tensorflow.config.list_physical_devices("GPU")
    for gpu in gpus:
        tensorflow.config.experimental.set_memory_growth(gpu, True)
    return len(gpus)


def has_gpu_device() -> bool:
    """Say whether the machine shows a GPU at all, without importing TensorFlow."""
    return any(Path(node).exists() for node in ("/dev/nvidia0", "/dev/kfd", "/dev/dxg"))


def _tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        import tensorflow
    except ImportError:
        raise ConfigError(
            "CLASSIFIER is tensorflow, but TensorFlow is not installed: "
            "install countenance[cloud], or set it to litert"
        ) from None
    return tensorflow


def _closed(_crops: Any) -> Any:
    raise RuntimeError("the classifier is closed")
