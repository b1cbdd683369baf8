from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from models.errors import DatasetError
from models.expression.taxonomy import LABELS
from models.training.expression.calibration.label_scaling import unfold_scales
from models.training.expression.commands.broadening import carried_prior
from models.training.expression.training.broadening import (
    WARPED,
    Answered,
    join_faces,
    pack_answered,
    warp_at_rest,
)
from models.training.expression.training.second_teacher import (
    BATCH,
    ask_second_teacher,
    mix_teachers,
    open_second_teacher,
)
from models.training.expression.training.training_config import read_config
from tests.unit.models.test_expression_reshaping import mesh as schematic_mesh

NEUTRAL, ANGRY, DISGUST = (LABELS.index(n) for n in ("neutral", "angry", "disgust"))


def reader(crops: np.ndarray) -> np.ndarray:
    """Says angry for what is bright, neutral else; fails on another layout than the network's."""
    assert crops.shape == (BATCH, 3, 64, 64) and crops.dtype == np.float32
    bright = crops.mean(axis=(1, 2, 3)) > 100
    return np.where(bright[:, None], [0, 0, 0, 0, 1.0], [1.0, 0, 0, 0, 0]).astype(np.float32)


def test_the_second_teacher_answers_in_our_order_and_says_nothing_of_disgust() -> None:
    pictures = [np.full((48, 48), 200, np.uint8)] * 70 + [np.full((96, 96, 3), 10, np.uint8)]
    said = ask_second_teacher(pictures, reader)
    assert said.shape == (71, 6) and np.allclose(said.sum(axis=1), 1)
    assert said[69].argmax() == ANGRY and said[70].argmax() == NEUTRAL and not said[:, DISGUST].any()


def test_the_second_teacher_has_its_share_of_what_it_knows_and_no_more() -> None:
    own = np.array([[0.1, 0.1, 0.1, 0.1, 0.3, 0.2, 0.1]])
    second = np.eye(6)[[ANGRY]]
    mixed = mix_teachers(own, second, share=0.5)
    assert mixed.sum() == pytest.approx(1.0)
    assert mixed[0, DISGUST] == 0.3 and mixed[0, 6] == 0.1
    assert mixed[0, ANGRY] == pytest.approx(0.6 * (0.5 * 0.1 / 0.6 + 0.5))
    assert np.allclose(mix_teachers(own, second, share=0.0), own)


def test_a_second_teacher_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DatasetError, match="emotions-recognition-retail-0003"):
        open_second_teacher(tmp_path)
    file = (
        tmp_path / "weights" / "openvino_emotions_retail_0003" / "emotions-recognition-retail-0003-int8.xml"
    )
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(DatasetError, match="pip install openvino"):
        open_second_teacher(tmp_path)


class SchematicMesh:
    def frontal_points(self, crop: np.ndarray) -> np.ndarray | None:
        assert crop.shape[:2] == (96, 96)
        return None if crop.mean() < 20 else schematic_mesh()


def answered(labels: np.ndarray | None = None) -> Answered:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(60, 200, (80, 80, 3), np.uint8) for _ in range(6)] + [
        np.zeros((80, 80, 3), np.uint8)
    ]
    own = np.full((7, 7), 0.02)
    own[:, NEUTRAL] = 0.88
    own[3] = np.roll(own[3], 1)
    second = np.eye(6)[[NEUTRAL] * 7]
    return Answered(
        source="ffhq6k", pictures=pictures, digests=list("gfedcba"), own=own, second=second, labels=labels
    )


def test_faces_that_both_teachers_call_at_rest_are_warped_and_their_controls_stay_at_rest() -> None:
    faces = answered()
    targets = faces.targets(second_share=0.8, label_share=0.25)
    made = warp_at_rest(faces, targets, SchematicMesh(), limit=100, side_px=72, seed=1)
    assert made is not None and set(made.sources) == {WARPED} and made.grey.shape[1:] == (72, 72)
    parents = {d.split(":")[0] for d in made.digests}
    # The fourth is not at rest, the last has no frontal landmarks.
    assert parents == set("gfecb")
    kinds = [d.split(":")[2] for d in made.digests]
    assert kinds.count("frown") >= 5 and "disturbed" in kinds
    for kind, target in zip(kinds, made.targets, strict=True):
        assert target.sum() == pytest.approx(1.0, abs=1e-5)
        assert (target.argmax() == NEUTRAL) == (kind == "disturbed")
    again = warp_at_rest(faces, targets, SchematicMesh(), limit=100, side_px=72, seed=1)
    assert again is not None and np.array_equal(again.grey, made.grey)
    few = warp_at_rest(faces, targets, SchematicMesh(), limit=2, side_px=72, seed=1)
    assert few is not None and {d.split(":")[0] for d in few.digests} == {"b"}


def test_no_face_at_rest_makes_no_picture() -> None:
    labels = np.tile(np.eye(7)[ANGRY], (7, 1))
    faces = answered(labels)
    targets = faces.targets(second_share=0.5, label_share=0.25)
    assert warp_at_rest(faces, targets, SchematicMesh(), limit=9, side_px=72, seed=1) is None
    assert targets[0, ANGRY] == pytest.approx(0.25 + 0.75 * 0.5 * 0.02 / 0.96 * 0.96, abs=0.01)


def test_joined_pictures_carry_the_prior_of_how_they_are_drawn() -> None:
    faces = answered()
    packed = pack_answered(faces, faces.targets(second_share=1.0, label_share=0), side_px=56)
    both = join_faces([packed, packed])
    assert len(both) == 14 and both.grey.shape == (14, 56, 56)
    prior = carried_prior(np.full(14, 1 / 14), both)
    assert sum(prior) == pytest.approx(1.0, abs=1e-4) and prior[NEUTRAL] > 0.8


def test_scales_that_were_folded_in_come_out_again() -> None:
    class Layer:
        def __init__(self) -> None:
            self.weights = [np.ones((3, 7), np.float32), np.arange(7, dtype=np.float32)]

        def get_weights(self) -> list[np.ndarray]:
            return [w.copy() for w in self.weights]

        def set_weights(self, weights: list[np.ndarray]) -> None:
            self.weights = weights

    class Model:
        layer = Layer()

        def get_layer(self, name: str) -> Layer:
            assert name == "logits"
            return self.layer

    model = Model()
    scales, offsets = [1.1, 0.9, 1.0, 1.0, 1.2, 0.8], [0.1, 0, 0, -0.1, 0, 0]
    before = model.layer.get_weights()
    kernel, bias = model.layer.get_weights()
    kernel[:, :6] *= scales
    bias[:6] = bias[:6] * scales + offsets
    model.layer.set_weights([kernel, bias])
    unfold_scales(model, {"label_scales": scales, "label_offsets": offsets})
    for got, wanted in zip(model.layer.weights, before, strict=True):
        assert np.allclose(got, wanted, atol=1e-5)
    unfold_scales(model, {})


def test_the_shipped_configuration_of_a_broad_student_is_read() -> None:
    config = read_config(Path("student_broad.toml"))
    assert set(config.training.source_shares) == {"rafdb", "ferplus", "ffhq6k", "synthetic_faces", WARPED}
    assert sum(config.training.source_shares.values()) == pytest.approx(1.0)
