"""Run any variant, or a peer, on decoded crops: the predictors that evaluation compares.

Training-side code: it may import TensorFlow and LiteRT. Serving has its own engines in `cloud.adapters`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import ManifestError, ModelsError
from models.expression.preprocessing import prepare_batch, resize_grey, to_grey
from models.expression.taxonomy import LABELS
from models.runtime.quiet import quiet_standard_error

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Predictor = Callable[[Sequence[UInt8Array]], Float32Array]
"""Turns decoded crops of any size into logits (n, 6) in the order of `taxonomy.LABELS`, or (n, 7) with "other" last."""

BATCH = 64

_XCEPTION_ORDER = ("angry", "disgust", "fear", "happy", "sad", "surprised", "neutral")


class LiteRtNetwork:
    """A TFLite file in LiteRT, resized to whatever batch comes."""

    def __init__(self, content: bytes, *, threads: int = 1) -> None:
        """Load a file's bytes.

        Raises:
            ModelsError: the runtime refuses them.
        """
        from ai_edge_litert.interpreter import Interpreter

        try:
            with quiet_standard_error():
                self._interpreter = Interpreter(model_content=content, num_threads=threads)
        except (ValueError, RuntimeError) as error:
            raise ModelsError(f"LiteRT takes this for no network: {error}") from error
        self._input = self._interpreter.get_input_details()[0]
        self._output = self._interpreter.get_output_details()[0]
        self._batch = 0

    def __call__(self, batch: Float32Array) -> Float32Array:
        """Return logits (n, 6 or 7) for float32 network input (n, side, side, 1)."""
        if len(batch) != self._batch:
            self._interpreter.resize_tensor_input(self._input["index"], batch.shape)
            self._interpreter.allocate_tensors()
            self._batch = len(batch)
        self._interpreter.set_tensor(self._input["index"], batch)
        self._interpreter.invoke()
        return np.array(self._interpreter.get_tensor(self._output["index"]), np.float32)

    @property
    def side_px(self) -> int:
        """Side of the network input, in pixels."""
        return int(self._input["shape"][1])

    @property
    def width(self) -> int:
        """How many logits the network gives: 6 or 7."""
        return int(self._output["shape"][-1])

    def operators(self) -> list[str]:
        """Return the distinct operators of the graph, sorted; the delegate's own node is left out."""
        self._interpreter.allocate_tensors()
        return sorted({d["op_name"] for d in self._interpreter._get_ops_details()} - {"DELEGATE"})


def litert_predictor(content: bytes, *, side_px: int, threads: int = 1) -> Predictor:
    """Return a predictor for the bytes of a TFLite variant."""
    network = LiteRtNetwork(content, threads=threads)
    return batched(network, side_px=side_px, width=network.width)


def keras_predictor(path: Path, *, side_px: int) -> Predictor:
    """Return a predictor for a `.keras` variant."""
    import keras

    model = keras.models.load_model(path, compile=False)
    width = int(model.output_shape[-1])
    return batched(lambda x: np.asarray(model(x, training=False), np.float32), side_px=side_px, width=width)


def batched(
    network: Callable[[Float32Array], Float32Array], *, side_px: int, width: int = len(LABELS)
) -> Predictor:
    """Put the shared preprocessing before a network of `width` logits and feed it in batches."""

    def predict(crops: Sequence[UInt8Array]) -> Float32Array:
        parts = [
            network(prepare_batch(crops[i : i + BATCH], side_px=side_px)) for i in range(0, len(crops), BATCH)
        ]
        return np.concatenate(parts) if parts else np.empty((0, width), np.float32)

    return predict


def mini_xception_predictor(weights: Path) -> Predictor:
    """Return mini_XCEPTION (Arriaga et al. 2017, arXiv:1710.07557) on our six labels; fear is left out.

    Raises:
        ManifestError: the file is not the published model.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import keras

    try:
        model: Any = keras.models.load_model(weights, compile=False)
    except (OSError, ValueError, TypeError) as error:
        raise ManifestError(f"cannot load mini_XCEPTION from {weights.name}: {error}") from error
    columns = [_XCEPTION_ORDER.index(label) for label in LABELS]

    def predict(crops: Sequence[UInt8Array]) -> Float32Array:
        parts = []
        for start in range(0, len(crops), BATCH):
            grey = [_enlarge(to_grey(c)) for c in crops[start : start + BATCH]]
            pixels = np.stack(grey).astype(np.float32)[..., None] / 127.5 - 1.0
            probabilities = np.asarray(model([pixels], training=False))[:, columns]
            parts.append(np.log(np.maximum(probabilities, 1e-9)))
        return np.concatenate(parts).astype(np.float32)

    return predict


def _enlarge(grey: UInt8Array) -> UInt8Array:
    if min(grey.shape) >= 64:
        return resize_grey(grey, 64)
    return np.asarray(cv2.resize(grey, (64, 64), interpolation=cv2.INTER_LINEAR), np.uint8)
