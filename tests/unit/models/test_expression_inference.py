import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.errors import TensorShapeError
from models.expression.inference import masked_probabilities, opt_out_mask, score_logits, store_probabilities
from models.expression.taxonomy import LABELS

any_logits = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 8), st.just(6)), elements=st.floats(-200, 200, allow_nan=False)
)
any_mask = hnp.arrays(np.bool_, 6)
anything = st.floats(allow_nan=True, allow_infinity=True)


@given(any_logits, any_mask, st.floats(0.2, 5))
def test_stored_bytes_sum_to_255_and_opted_out_labels_are_zero(
    logits: np.ndarray, mask: np.ndarray, temperature: float
) -> None:
    scores = score_logits(logits, temperature=temperature, opted_out=mask)
    assert not scores.stored[:, mask].any()
    expected = 0 if mask.all() else 255
    assert (scores.stored.astype(int).sum(axis=1) == expected).all()


@given(any_logits, any_mask, st.data())
def test_no_result_depends_on_an_opted_out_logit_in_any_bit(
    logits: np.ndarray, mask: np.ndarray, data: st.DataObject
) -> None:
    other = logits.copy()
    for index in np.ndindex(*other.shape):
        if mask[index[1]]:
            other[index] = data.draw(anything)
    first = score_logits(logits, temperature=1.3, opted_out=mask)
    second = score_logits(other, temperature=1.3, opted_out=mask)
    for name in ("probabilities", "stored", "confidence", "sentiment", "engagement"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


@given(any_logits)
def test_stored_bytes_are_within_one_of_the_probability(logits: np.ndarray) -> None:
    scores = score_logits(logits, temperature=1.0)
    assert np.abs(scores.stored - scores.probabilities * 255).max() < 1.0 + 1e-9


@given(any_logits, any_mask)
def test_confidence_sentiment_and_engagement_stay_in_their_ranges(
    logits: np.ndarray, mask: np.ndarray
) -> None:
    scores = score_logits(logits, temperature=1.0, opted_out=mask)
    assert ((scores.confidence >= 0) & (scores.confidence <= 1)).all()
    assert (np.abs(scores.sentiment) <= 1 + 1e-12).all()
    if mask[LABELS.index("neutral")]:
        assert np.isnan(scores.engagement).all()
    else:
        assert ((scores.engagement >= 0) & (scores.engagement <= 1 + 1e-12)).all()


def test_each_face_may_have_its_own_opt_outs() -> None:
    logits = np.zeros((2, 6))
    mask = np.stack([opt_out_mask(["happy"]), opt_out_mask([])])
    probabilities = masked_probabilities(logits, temperature=1.0, opted_out=mask)
    np.testing.assert_allclose(probabilities[0], [0, 0.2, 0.2, 0.2, 0.2, 0.2])
    np.testing.assert_allclose(probabilities[1], np.full(6, 1 / 6))


def test_opting_out_of_everything_gives_a_record_of_zeros() -> None:
    scores = score_logits(np.ones((3, 6)), temperature=1.0, opted_out=opt_out_mask(LABELS))
    assert not scores.stored.any()
    assert not scores.confidence.any()
    assert not scores.sentiment.any()


def test_equal_shares_round_in_the_fixed_order_of_labels() -> None:
    assert store_probabilities(np.full((1, 6), 1 / 6)).tolist() == [[43, 43, 43, 42, 42, 42]]


def test_a_higher_temperature_lowers_confidence_but_not_the_order() -> None:
    logits = np.array([[3.0, 1.0, 0.0, -1.0, -2.0, 2.0]])
    cool, warm = score_logits(logits, temperature=1.0), score_logits(logits, temperature=2.0)
    assert warm.confidence[0] < cool.confidence[0]
    assert np.argsort(warm.probabilities[0]).tolist() == np.argsort(cool.probabilities[0]).tolist()


def test_a_smile_is_positive_and_a_frown_negative() -> None:
    logits = np.full((2, 6), -20.0)
    logits[0, LABELS.index("happy")] = 0
    logits[1, LABELS.index("angry")] = 0
    np.testing.assert_allclose(score_logits(logits, temperature=1.0).sentiment, [1, -1], atol=1e-6)


@pytest.mark.parametrize(
    "logits", [np.zeros((2, 5)), np.zeros(6), np.full((1, 6), np.nan), np.full((1, 6), np.inf)]
)
def test_malformed_logits_are_refused(logits: np.ndarray) -> None:
    with pytest.raises(TensorShapeError):
        score_logits(logits, temperature=1.0)


def test_an_unknown_opt_out_is_refused() -> None:
    with pytest.raises(TensorShapeError, match="bored"):
        opt_out_mask(["bored"])


def test_the_serving_half_reaches_no_training_library() -> None:
    code = (
        "import sys, models.cli, models.runtime.manifest, models.expression.loading, models.expression.inference, "
        "models.expression.preprocessing, models.expression.taxonomy; "
        "print([m for m in ('tensorflow', 'keras', 'ai_edge_litert', 'h5py') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
