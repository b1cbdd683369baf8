from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.errors import ManifestError, TensorShapeError
from models.expression.inference import masked_probabilities
from models.expression.loading import EXPRESSION_DIR, load_expression
from models.expression.regions import Calibration, RegionalCalibration, read_calibration, with_region
from models.runtime.manifest import load_manifest, write_manifest

OWN = {"temperature": 1.0, "confident_above": 0.9}
GERMANY = Calibration(temperature=2.0, confident_above=0.8)
ILLINOIS = Calibration(temperature=3.0, confident_above=0.7)


def test_a_region_takes_its_own_entry_then_its_countrys_then_the_artifacts() -> None:
    table = RegionalCalibration(
        own=Calibration(temperature=1.0, confident_above=0.9), regions={"DE": GERMANY, "US-IL": ILLINOIS}
    )
    assert table.for_jurisdiction("DE") == table.for_jurisdiction("DE-BY") == GERMANY
    assert table.for_jurisdiction("US-IL") == ILLINOIS
    assert table.for_jurisdiction("US-CA") == table.for_jurisdiction("FR") == table.own
    assert [table.region_of(code) for code in ("DE-BY", "US-IL", "US")] == ["DE", "US-IL", "default"]


def test_a_manifest_brings_the_table_and_needs_none(tmp_path: Path) -> None:
    shipped = load_manifest(EXPRESSION_DIR)
    parameters = with_region(shipped.parameters, "DE", {"temperature": 2.0, "confident_above": 0.8, "n": 1.0})
    write_manifest(replace(shipped, directory=tmp_path, parameters=parameters))
    artifact = load_expression(tmp_path)
    assert artifact.calibration.for_jurisdiction("DE-BE") == GERMANY
    assert artifact.calibration.own.temperature == artifact.temperature == shipped.parameters["temperature"]
    both = with_region(parameters, "US-IL", {"temperature": 3.0, "confident_above": 0.7})
    assert read_calibration(both).regions == {"DE": GERMANY, "US-IL": ILLINOIS}
    assert read_calibration(OWN).regions == {}


@pytest.mark.parametrize(
    "calibration",
    [
        {"Germany": {"temperature": 1.0}},
        {"DE": {"confident_above": 0.5}},
        {"DE": {"temperature": 0.0}},
        {"DE": {"temperature": 1.0, "confident_above": "high"}},
        {"DE": 1.0},
        [],
    ],
)
def test_a_malformed_table_is_refused(calibration: object) -> None:
    with pytest.raises(ManifestError):
        read_calibration({**OWN, "calibration": calibration})


def test_what_is_no_region_is_not_written() -> None:
    with pytest.raises(ManifestError):
        with_region(OWN, "Bavaria", OWN)


def test_each_face_may_have_its_own_temperature_and_keeps_its_leading_expression() -> None:
    logits = np.random.default_rng(0).normal(0, 2, (3, 6))
    each = masked_probabilities(logits, temperature=np.array([1.0, 2.0, 0.7]))
    for row, temperature in enumerate((1.0, 2.0, 0.7)):
        alone = masked_probabilities(logits[row : row + 1], temperature=temperature)
        assert each[row].tobytes() == alone[0].tobytes()
    assert (each.argmax(axis=1) == logits.argmax(axis=1)).all()
    with pytest.raises(TensorShapeError):
        masked_probabilities(logits, temperature=np.array([1.0, 2.0]))
