"""From logits to what the product would answer: six probabilities, a confidence, or "uncertain"."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.expression.inference import score_logits
from models.expression.loading import ExpressionArtifact
from models.expression.scope import ScopeRule, in_scope_probability, out_of_scope

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerRule:
    """The numbers of an artifact that turn logits into answers; all fixed on validation pictures.

    Attributes:
        temperature: calibration temperature of the six.
        confident_above: confidence from which an answer is given.
        scope: when a face shows none of the six; None where the network cannot tell.
    """

    temperature: float
    confident_above: float
    scope: ScopeRule | None = None

    @classmethod
    def of(cls, artifact: ExpressionArtifact) -> AnswerRule:
        """Take the rule from an artifact."""
        return cls(
            temperature=artifact.temperature,
            confident_above=artifact.confident_above,
            scope=artifact.scope,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What is answered about n faces.

    Attributes:
        probabilities: float64 (n, 6), calibrated.
        confidence: float64 (n,), the largest of them.
        in_scope: float64 (n,), probability of any of the six; None where the network cannot tell.
        abstains: bool (n,), True where the product says "uncertain".
    """

    probabilities: Float64Array
    confidence: Float64Array
    in_scope: Float64Array | None
    abstains: BoolArray

    @property
    def predicted(self) -> Int64Array:
        """Leading label, int64 (n,)."""
        return np.asarray(self.probabilities.argmax(axis=1), np.int64)


def answer(logits: npt.ArrayLike, rule: AnswerRule) -> Answers:
    """Turn logits of shape (n, 6), or (n, 7) with "other" last, into answers.

    Raises:
        TensorShapeError: another shape, or logits that are not finite.
    """
    scores = score_logits(logits, temperature=rule.temperature)
    return Answers(
        probabilities=scores.probabilities,
        confidence=scores.confidence,
        in_scope=in_scope_probability(logits, temperature=rule.scope.temperature) if rule.scope else None,
        abstains=(scores.confidence < rule.confident_above) | out_of_scope(logits, rule.scope),
    )
