"""The closed set of expressions that may be read from a face, in wire order."""

from enum import StrEnum


class Expression(StrEnum):
    """What a face shows; never a claim about what its owner feels."""

    HAPPY = "happy"
    SAD = "sad"
    ANGRY = "angry"
    SURPRISED = "surprised"
    DISGUST = "disgust"
    NEUTRAL = "neutral"


EXPRESSIONS: tuple[Expression, ...] = tuple(Expression)
"""Wire and storage order: index i of any probability vector is `EXPRESSIONS[i]`."""
