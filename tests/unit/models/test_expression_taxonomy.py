import numpy as np
import pytest

from models.errors import DatasetError
from models.expression.taxonomy import (
    FERPLUS_VOTES,
    LABELS,
    OUT_OF_SCOPE,
    VALENCE,
    ferplus_majority,
    ferplus_target,
    label_index,
    one_hot,
)


def votes(**counts: int) -> list[int]:
    return [counts.get(name, 0) for name in FERPLUS_VOTES]


def test_the_label_order_is_the_contract_of_artifacts_and_records() -> None:
    assert LABELS == ("happy", "sad", "angry", "surprised", "disgust", "neutral")
    assert len(VALENCE) == len(LABELS)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("happy", "happy"),
        ("Happiness", "happy"),
        ("surprise", "surprised"),
        ("sadness", "sad"),
        ("anger", "angry"),
    ],
)
def test_every_vocabulary_maps_onto_the_six(name: str, label: str) -> None:
    assert LABELS[label_index(name)] == label


@pytest.mark.parametrize("name", ["fear", "contempt", "NF", "unknown"])
def test_fear_contempt_and_non_faces_are_out_of_scope(name: str) -> None:
    assert label_index(name) == OUT_OF_SCOPE
    assert not one_hot(label_index(name)).any()


def test_an_unknown_label_is_refused_by_name() -> None:
    with pytest.raises(DatasetError, match="boredom"):
        label_index("boredom")


def test_a_vote_target_is_the_distribution_over_the_six() -> None:
    target = ferplus_target(votes(happiness=6, surprise=2, fear=2))
    assert target[LABELS.index("happy")] == pytest.approx(0.75)
    assert target[LABELS.index("surprised")] == pytest.approx(0.25)
    assert target.sum() == pytest.approx(1.0)


def test_single_votes_are_dropped_as_outliers_unless_nothing_else_is_left() -> None:
    assert ferplus_target(votes(neutral=9, sadness=1))[LABELS.index("neutral")] == 1.0
    assert np.count_nonzero(ferplus_target(votes(neutral=1, sadness=1, anger=1))) == 3


def test_a_picture_whose_votes_are_mostly_out_of_scope_teaches_nothing() -> None:
    assert not ferplus_target(votes(fear=6, surprise=4)).any()
    assert not ferplus_target(votes(NF=10)).any()


def test_the_majority_needs_more_than_half_of_all_ten_votes() -> None:
    assert ferplus_majority(votes(happiness=6, neutral=4)) == LABELS.index("happy")
    assert ferplus_majority(votes(happiness=5, neutral=5)) == OUT_OF_SCOPE
    assert ferplus_majority(votes(sadness=5, fear=3, unknown=2)) == OUT_OF_SCOPE
