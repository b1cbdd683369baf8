"""From logits to what the product would answer: six probabilities, a confidence, or "uncertain"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.expression.inference import score_logits
from models.expression.loading import ExpressionArtifact
from models.expression.prior import CONFIDENT_AT_HOME, at_prior, read_home_shares
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
class AtHome:
    """How an artifact is read on the sets that its network learned from: at the shares of their training parts.

    Attributes:
        carried: float64 (6,), prior of the logits as they come.
        shares: float64 (6,) by test set.
        rule: with the threshold fitted at such shares.
    """

    carried: Float64Array
    shares: Mapping[str, Float64Array]
    rule: AnswerRule

    @classmethod
    def of(cls, artifact: ExpressionArtifact) -> AtHome | None:
        """Take it from an artifact; None where the manifest states no shares."""
        parameters = artifact.manifest.parameters
        shares = read_home_shares(parameters)
        if not shares:
            return None
        if "ferplus" in shares:
            shares["fer2013"] = shares["ferplus"]
        threshold = float(parameters.get(CONFIDENT_AT_HOME, artifact.confident_above))
        rule = replace(AnswerRule.of(artifact), confident_above=threshold)
        return cls(carried=artifact.prior, shares=shares, rule=rule)

    def move(self, name: str, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return a set's logits at its training shares; another set's as they come."""
        if name not in self.shares:
            return logits
        moved = at_prior(
            logits, carried=self.carried, wanted=self.shares[name], temperature=self.rule.temperature
        )
        return moved.astype(np.float32)


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
