"""The expression network on LiteRT: the CPU engine, one thread unless more are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from cloud.classify.classifier import BATCH_SIZES, Float32Array
from cloud.streams.scoring import ScoringModel
from models.errors import ManifestError, TensorShapeError
from models.expression.loading import ExpressionArtifact
from models.runtime.manifest import Manifest, Variant


class LiteRtClassifier:
    """One interpreter per batch size, each allocated on first use.

    Args:
        content: verified bytes of a `.tflite` variant with float32 interface.
        side_px: side of the network input.
        model: the variant's record.
        threads: of one invocation; a worker uses one, and runs more workers for more cores.
    """

    device = "cpu"

    def __init__(self, content: bytes, *, side_px: int, model: ScoringModel, threads: int = 1) -> None:
        self.model = model
        self.name = f"litert:{model.name}-{model.version}:{model.variant}"
        self._threads = threads
        self._content = content
        self._side_px = side_px
        self._interpreters: dict[int, Interpreter] = {}

    def classify(self, crops: Float32Array) -> Float32Array:
        """Run the network; see the port. The input buffer is overwritten before this returns.

        Raises:
            TensorShapeError: another shape or dtype, or a batch size that is not one of `BATCH_SIZES`.
        """
        check_batch(crops, side_px=self._side_px)
        interpreter = self._interpreter(len(crops))
        feed = interpreter.get_input_details()[0]["index"]
        interpreter.set_tensor(feed, crops)
        interpreter.invoke()
        logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        interpreter.tensor(feed)().fill(0)
        return np.asarray(logits, np.float32)

    def close(self) -> None:
        """Let the interpreters go; their input buffers are already overwritten."""
        self._interpreters.clear()

    def _interpreter(self, batch: int) -> Any:
        made = self._interpreters.get(batch)
        if made is None:
            made = Interpreter(model_content=self._content, num_threads=self._threads)
            feed = made.get_input_details()[0]["index"]
            made.resize_tensor_input(feed, (batch, self._side_px, self._side_px, 1), strict=False)
            made.allocate_tensors()
            self._interpreters[batch] = made
        return made


def open_litert(artifact: ExpressionArtifact) -> LiteRtClassifier:
    """Open the artifact's int8 LiteRT variant.

    Raises:
        ManifestError: the family has none.
        ArtifactDigestError: its bytes are not the manifest's.
    """
    manifest = artifact.manifest
    variant = find_variant(manifest, runtime="litert", precision="int8")
    return LiteRtClassifier(
        manifest.read(variant.id),
        side_px=artifact.input_side_px,
        model=scoring_model(manifest, variant),
    )


def scoring_model(manifest: Manifest, variant: Variant) -> ScoringModel:
    """Name a variant as it is recorded with scores.

    Raises:
        ManifestError: a name is too long, or the digest is none.
    """
    try:
        return ScoringModel(
            name=manifest.name,
            version=manifest.version,
            variant=variant.id,
            sha256=bytes.fromhex(variant.sha256),
        )
    except ValueError as error:
        raise ManifestError(f"artifact {manifest.name} cannot be recorded with scores: {error}") from None


def find_variant(manifest: Manifest, *, runtime: str, precision: str | None = None) -> Variant:
    """Return the first variant for a runtime.

    Raises:
        ManifestError: there is none.
    """
    for variant in manifest.variants:
        if variant.runtime == runtime and precision in (None, variant.precision):
            return variant
    raise ManifestError(
        f"artifact {manifest.name} has no {precision or ''} variant for {runtime}; rebuild it"
    )


def check_batch(crops: Float32Array, *, side_px: int) -> None:
    """Check a batch against the port's promise.

    Raises:
        TensorShapeError: another shape or dtype, or a batch size that is not one of `BATCH_SIZES`.
    """
    if crops.dtype != np.float32 or crops.shape[1:] != (side_px, side_px, 1) or len(crops) not in BATCH_SIZES:
        raise TensorShapeError(
            f"crops must be float32 (n, {side_px}, {side_px}, 1) with n in {BATCH_SIZES}, "
            f"got {crops.dtype} {crops.shape}"
        )
