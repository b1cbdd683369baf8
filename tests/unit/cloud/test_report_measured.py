from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from cloud.reports import measured
from cloud.reports.confusion import confusion_tables
from cloud.reports.measured import (
    CARD_PATH,
    find_measured,
    measured_document,
    measured_model,
    set_title,
)
from models.runtime.manifest import ARTIFACTS_DIR, Manifest, Variant, load_manifest

MATRIX = [[8, 2, 0, 0, 0, 0]] + [[0, 0, 0, 0, 0, 0]] * 4 + [[1, 0, 0, 0, 0, 9]]


def variant(name: str, precision: str) -> Variant:
    return Variant(
        id=name, file=name, sha256=f"{name:0>64}", size_bytes=1, runtime="litert", precision=precision
    )


@pytest.fixture
def manifest() -> Manifest:
    variants = (variant("a", "int8"), variant("b", "float32"), variant("c", "float32"))
    shipped = load_manifest(ARTIFACTS_DIR / "expression")
    return replace(shipped, variants=variants, default_variant="a", version="9")


@pytest.fixture
def card() -> dict[str, Any]:
    int8 = {
        "n": 20,
        "accuracy": 0.85,
        "accuracy_95": [0.6, 0.95],
        "macro_recall": 0.85,
        "ece_15": 0.02,
        "confusion": MATRIX,
    }
    return {
        "headline": {"artifact_digest": f"{'a':0>64}"},
        "measured": "2026-01-01T00:00:00Z",
        "sets": {"rafdb": {"int8": int8, "float32": int8 | {"accuracy": 0.9}}, "mine": {"int8": int8}},
    }


def test_a_model_has_the_errors_of_its_own_file(manifest: Manifest, card: dict[str, Any]) -> None:
    found = find_measured(f"{'a':0>64}", manifest=manifest, card=card)
    assert found is not None and (found.version, found.precision) == ("9", "int8")
    document = measured_document(found)
    assert document is not None
    assert json.loads(json.dumps(document)) == document
    assert document["labels"][0] == "happy"
    assert document["test_sets"]["rafdb"]["confusion"] == MATRIX
    assert document["test_sets"]["rafdb"]["accuracy"] == 0.85
    assert set(document["test_sets"]) == {"rafdb", "mine"}


def test_a_float_variant_has_the_errors_of_the_float_network(
    manifest: Manifest, card: dict[str, Any]
) -> None:
    found = find_measured(f"{'c':0>64}", manifest=manifest, card=card)
    assert found is not None and found.precision == "float32"
    assert [(figures.name, figures.accuracy) for figures in found.sets] == [("rafdb", 0.9)]


def test_an_unknown_file_or_another_artifacts_card_has_none(manifest: Manifest, card: dict[str, Any]) -> None:
    assert find_measured("f" * 64, manifest=manifest, card=card) is None
    other = card | {"headline": {"artifact_digest": "e" * 64}}
    assert find_measured(f"{'a':0>64}", manifest=manifest, card=other) is None
    assert measured_document(None) is None


@pytest.mark.parametrize("change", [{"sets": {"rafdb": {"int8": {"n": 3}}}}, {"measured": None, "sets": 3}])
def test_a_malformed_card_is_refused(
    manifest: Manifest, card: dict[str, Any], change: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="card"):
        find_measured(f"{'a':0>64}", manifest=manifest, card={**card, **change})
    with pytest.raises(ValueError, match="card"):
        find_measured(f"{'a':0>64}", manifest=manifest, card={})


def test_the_page_shows_shares_of_each_row_and_leaves_rows_without_pictures_empty(
    manifest: Manifest, card: dict[str, Any]
) -> None:
    found = find_measured(f"{'a':0>64}", manifest=manifest, card=card)
    assert found is not None
    html = confusion_tables(found)
    assert "RAF-DB test: 85.0% right (95 % interval 60.0% to 95.0%)" in html
    assert "<th scope=row>happy</th><td>80</td><td>20</td>" in html
    assert "<th scope=row>sad</th><td></td>" in html
    assert set_title("mine") == "mine" and "<h4>mine:" in html


def test_digests_that_are_asked_for_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    measured_model("0" * 64)
    monkeypatch.setattr(measured, "load_manifest", lambda *_: pytest.fail("the card is read once"))
    assert [measured_model(f"{n:064x}") for n in range(20)] == [None] * 20
    assert measured._installed.cache_info().currsize == 1


def test_the_shipped_network_carries_its_own_errors() -> None:
    shipped = load_manifest(ARTIFACTS_DIR / "expression")
    if json.loads(CARD_PATH.read_text("utf-8"))["headline"]["artifact_digest"] != shipped.variant().sha256:
        pytest.fail("models/cards/expression.json was not measured on the shipped artifact")
    found = measured_model(shipped.variant().sha256)
    assert found is not None and found.sets
    for figures in found.sets:
        right = sum(figures.confusion[i][i] for i in range(6))
        assert sum(map(sum, figures.confusion)) == figures.pictures
        assert right / figures.pictures == pytest.approx(figures.accuracy)
