from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models.errors import DatasetError, ManifestError, TensorShapeError
from models.expression.inference import opt_out_mask, score_logits
from models.expression.loading import EXPRESSION_DIR, load_expression
from models.expression.scope import ScopeRule, in_scope_probability, out_of_scope
from models.expression.taxonomy import LABELS
from models.runtime.manifest import load_manifest, write_manifest
from models.training.expression.calibration.abstention import area_under_roc, choose_scope_threshold
from models.training.expression.calibration.temperature import fit_scope_temperature, softmax
from tests.fixtures_expression import SEVEN_PARAMETERS, seven_logit_manifest

seven_logits = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 8), st.just(7)), elements=st.floats(-200, 200, allow_nan=False)
)
any_mask = hnp.arrays(np.bool_, 6)
anything = st.floats(allow_nan=True, allow_infinity=True)
RULE = ScopeRule(temperature=1.3, in_scope_above=0.5)


@given(seven_logits, any_mask, st.data())
def test_the_scope_does_not_depend_on_an_opted_out_logit_in_any_bit(
    logits: np.ndarray, mask: np.ndarray, data: st.DataObject
) -> None:
    other = logits.copy()
    for index in np.ndindex(*other.shape):
        if index[1] < 6 and mask[index[1]]:
            other[index] = data.draw(anything)
    first = in_scope_probability(logits, temperature=1.3, opted_out=mask)
    second = in_scope_probability(other, temperature=1.3, opted_out=mask)
    assert first.tobytes() == second.tobytes()
    assert (
        out_of_scope(logits, RULE, opted_out=mask).tobytes()
        == out_of_scope(other, RULE, opted_out=mask).tobytes()
    )


@given(seven_logits, any_mask, st.floats(-200, 200))
def test_the_six_scores_are_those_of_a_network_without_other(
    logits: np.ndarray, mask: np.ndarray, other: float
) -> None:
    with_other = score_logits(
        np.concatenate([logits[:, :6], np.full((len(logits), 1), other)], axis=1),
        temperature=1.3,
        opted_out=mask,
    )
    six = score_logits(logits[:, :6], temperature=1.3, opted_out=mask)
    for name in ("probabilities", "stored", "confidence", "sentiment", "engagement"):
        assert getattr(with_other, name).tobytes() == getattr(six, name).tobytes()


@given(seven_logits, st.floats(0.2, 5))
def test_in_scope_and_other_make_up_one(logits: np.ndarray, temperature: float) -> None:
    in_scope = in_scope_probability(logits, temperature=temperature)
    other = softmax(logits, temperature=temperature)[:, 6]
    np.testing.assert_allclose(in_scope + other, 1.0, atol=1e-12)


def test_a_face_that_shows_none_of_the_six_is_out_of_scope_and_a_smile_is_not() -> None:
    logits = np.zeros((2, 7))
    logits[0, 6], logits[1, 0] = 8.0, 8.0
    assert out_of_scope(logits, RULE).tolist() == [True, False]
    assert out_of_scope(logits, None).tolist() == [False, False]
    assert out_of_scope(logits[:, :6], None).tolist() == [False, False]


def test_where_everything_is_opted_out_nothing_is_in_scope() -> None:
    assert in_scope_probability(
        np.zeros((2, 7)), temperature=1.0, opted_out=opt_out_mask(LABELS)
    ).tolist() == [
        0.0,
        0.0,
    ]


@pytest.mark.parametrize(
    "logits", [np.zeros((2, 6)), np.zeros((2, 8)), np.zeros(7), np.array([[0, 0, 0, 0, 0, 0, np.nan]])]
)
def test_logits_without_a_finite_other_are_refused(logits: np.ndarray) -> None:
    with pytest.raises(TensorShapeError):
        in_scope_probability(logits, temperature=1.0)


def test_the_fitted_scope_temperature_undoes_a_known_over_confidence() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (20_000, 7))
    is_other = rng.random(20_000) < softmax(logits)[:, 6]
    assert fit_scope_temperature(logits * 1.7, is_other) == pytest.approx(1.7, abs=0.08)


def test_the_scope_threshold_keeps_the_share_that_was_asked_for() -> None:
    in_scope = np.random.default_rng(2).random(999)
    threshold = choose_scope_threshold(in_scope, kept_share=0.95)
    assert 0.95 <= (in_scope >= threshold).mean() < 0.952


def test_the_area_under_the_roc_curve_of_hand_made_cases() -> None:
    assert area_under_roc(np.array([0.9, 0.8]), np.array([0.1, 0.2])) == 1.0
    assert area_under_roc(np.array([0.5, 0.5]), np.array([0.5])) == 0.5
    assert area_under_roc(np.array([0.9, 0.1]), np.array([0.5, 0.0])) == 0.75
    assert area_under_roc(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == pytest.approx(3.5 / 4)
    assert np.isnan(area_under_roc(np.array([]), np.array([1.0])))


def test_a_manifest_of_seven_logits_brings_its_scope_rule(tmp_path: Path) -> None:
    write_manifest(seven_logit_manifest(tmp_path))
    artifact = load_expression(tmp_path)
    assert artifact.n_logits == 7
    assert artifact.scope == ScopeRule(temperature=1.5, in_scope_above=0.4)


def test_the_shipped_artifact_has_a_rule_exactly_if_it_has_a_seventh_logit() -> None:
    artifact = load_expression()
    assert (artifact.scope is not None) == (artifact.n_logits == 7)


@pytest.mark.parametrize(
    "change",
    [
        {"in_scope_above": 1.5},
        {"in_scope_above": None},
        {"scope_temperature": 0.0},
        {"scope_temperature": None},
    ],
)
def test_seven_logits_without_a_usable_rule_are_refused(tmp_path: Path, change: dict[str, object]) -> None:
    write_manifest(seven_logit_manifest(tmp_path, parameters={**SEVEN_PARAMETERS, **change}))
    with pytest.raises(ManifestError):
        load_expression(tmp_path)


def test_a_rule_without_a_seventh_logit_is_refused(tmp_path: Path) -> None:
    seven = seven_logit_manifest(tmp_path)
    write_manifest(replace(seven, outputs=(replace(seven.outputs[0], shape=(1, 6)),)))
    with pytest.raises(ManifestError, match="no logit for 'other'"):
        load_expression(tmp_path)


def test_eight_logits_are_refused(tmp_path: Path) -> None:
    shipped = load_manifest(EXPRESSION_DIR)
    outputs = (replace(shipped.outputs[0], shape=(1, 8)),)
    write_manifest(replace(shipped, directory=tmp_path, outputs=outputs))
    with pytest.raises(ManifestError):
        load_expression(tmp_path)


def _faces(count: int):
    from models.training.expression.data.datasets import PackedFaces

    labels = np.arange(count) % 6
    return PackedFaces(
        grey=np.repeat(labels.astype(np.uint8)[:, None, None], 8, axis=1).repeat(8, axis=2),
        targets=np.eye(6, dtype=np.float32)[labels],
        labels=labels,
        sources=("made",) * count,
        digests=tuple(f"{i:064x}" for i in range(count)),
    )


def _reads_the_first_pixel(pictures) -> np.ndarray:
    """Gives the expression (or other, 6) that the first pixel names, less surely for every third picture."""
    logits = np.zeros((len(pictures), 7), np.float32)
    for row, picture in enumerate(pictures):
        logits[row, int(picture[0, 0])] = 1.0 if row % 3 == 0 else 6.0
    return logits


def test_calibration_fits_the_six_and_the_scope_apart() -> None:
    pytest.importorskip("tensorflow", reason="needs the train extra")
    from models.training.expression.exporting.artifact import calibrate_on_validation

    outside = [np.full((8, 8), 6, np.uint8)] * 60
    network = _reads_the_first_pixel
    parameters, figures = calibrate_on_validation(_faces(300), int8=network, float32=network, outside=outside)
    six = lambda pictures: network(pictures)[:, :6]  # noqa: E731
    alone, _ = calibrate_on_validation(_faces(300), int8=six, float32=six)
    assert parameters["temperature"] == alone["temperature"]
    assert set(alone) == {"temperature", "confident_above", "neutral_logits"}
    assert 0 < parameters["in_scope_above"] < 1
    assert figures["outside_found"] == 1.0
    assert figures["inside_kept"] >= 0.95
    assert figures["scope_auroc"] == 1.0
    with pytest.raises(DatasetError):
        calibrate_on_validation(_faces(300), int8=network, float32=network)
