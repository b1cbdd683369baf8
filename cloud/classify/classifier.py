"""The engine that reads an expression from a prepared face crop."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from cloud.streams.scoring import ScoringModel

Float32Array = npt.NDArray[np.float32]

BATCH_SIZES = (1, 8, 32, 64, 128, 256)
"""Padded batch sizes: few enough to compile each once."""


class Classifier(Protocol):
    """Any engine that runs the expression network."""

    @property
    def name(self) -> str:
        """Engine and artifact, for metrics and logs."""
        ...

    @property
    def model(self) -> ScoringModel:
        """The very file that it runs; recorded with every score."""
        ...

    @property
    def device(self) -> str:
        """`cpu` or `gpu`."""
        ...

    def classify(self, crops: Float32Array) -> Float32Array:
        """Run the network.

        Args:
            crops: float32 of shape (n, side, side, 1), as `models.expression.preprocessing` makes it;
                n is one of `BATCH_SIZES`.

        Returns:
            float32 of shape (n, 6): logits in `EXPRESSIONS` order; or (n, 7) with "other" last, where the
            artifact's network has it (`ExpressionArtifact.n_logits`).

        Raises:
            TensorShapeError: another shape or dtype.
        """
        ...

    def close(self) -> None:
        """Overwrite the engine's input buffers and let it go."""
        ...
