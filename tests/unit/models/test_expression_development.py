from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data as samples

from models.audit.accuracy import Engines, measure_sets
from models.audit.answers import AnswerRule, AtHome
from models.errors import DatasetError, ManifestError
from models.expression.loading import load_expression
from models.expression.prior import (
    AUDIENCE,
    at_prior,
    confident_from,
    describe_prior,
    named_prior,
    read_home_shares,
    read_prior,
    without_scales,
)
from models.expression.taxonomy import LABELS
from models.training.expression.commands.developing import stated_prior
from models.training.expression.data.corpus import home_shares, known_test_digests
from models.training.expression.data.datasets import read_muxspace
from models.training.expression.data.development import DevelopmentSet
from models.training.expression.data.splits import Part, guard_training, part_of
from models.training.expression.data.unlabelled import SYNTHETIC, part_of_unlabelled, read_faces
from models.training.expression.evaluation.development import (
    Asked,
    certain_from,
    home_temperature,
    paired_gain,
    score_candidate,
)
from models.training.expression.evaluation.evaluate import TestSet

UNIFORM = np.full(6, 1 / 6)


def portrait(angle: int = 0) -> bytes:
    picture = np.roll(samples.astronaut()[..., ::-1], angle, axis=1)
    return bytes(cv2.imencode(".png", picture)[1])


def muxspace(folder: Path) -> Path:
    path = folder / "muxspace112.zip"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("labels.csv", "file,label,annotator,source,orig_w,orig_h\na.png,angry,1,x,9,9\n")
        opened.writestr("a.png", portrait())
    return path


def test_a_development_picture_is_chosen_by_and_never_learned_from(tmp_path: Path) -> None:
    [picture] = read_muxspace(muxspace(tmp_path))
    assert part_of(picture, validation_share=0.1) is Part.DEVELOPMENT
    assert part_of(replace(picture, split="train"), validation_share=0.1) is Part.DEVELOPMENT
    with pytest.raises(DatasetError, match="development picture"):
        list(guard_training([replace(picture, split="train")]))
    with pytest.raises(DatasetError, match="test or development"):
        list(
            guard_training(
                [replace(picture, split="", source="mine")], forbidden=known_test_digests(tmp_path)
            )
        )


def test_a_set_that_is_only_for_testing_is_never_learned_from(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "london_faces.zip", "w") as opened:
        opened.writestr("labels.csv", "file,label,subject,age,gender,ethnicity\na.jpg,happy,1,20,f,white\n")
        opened.writestr("a.jpg", portrait(3))
    assert hashlib.sha256(portrait(3)).hexdigest() in known_test_digests(tmp_path)


def test_a_share_of_unlabelled_faces_is_kept_for_development_whatever_they_are_called(tmp_path: Path) -> None:
    digests = [hashlib.sha256(bytes([i])).hexdigest() for i in range(200)]
    parts = [part_of_unlabelled(SYNTHETIC, digest) for digest in digests]
    assert set(parts) == {Part.TRAIN, Part.DEVELOPMENT} and 20 < parts.count(Part.DEVELOPMENT) < 60
    from models.face_detector.runtime import Detector
    from models.runtime.manifest import ARTIFACTS_DIR, load_manifest

    detector = Detector(load_manifest(ARTIFACTS_DIR / "face_detector").read())
    with zipfile.ZipFile(tmp_path / "synthetic_faces.zip", "w") as opened:
        rows = [f"{i}.png,angry,{i}" for i in range(6)]
        opened.writestr("labels.csv", "\n".join(["file,label,source", *rows]))
        for i in range(6):
            opened.writestr(f"{i}.png", portrait(i))
    found = {
        part: list(read_faces(tmp_path, SYNTHETIC, part, detector=detector))
        for part in (Part.TRAIN, Part.DEVELOPMENT)
    }
    assert sum(len(faces) for faces in found.values()) == 6
    for part, faces in found.items():
        assert all(part_of_unlabelled(SYNTHETIC, face.digest) is part for face in faces)
        assert all(face.crop.shape == (96, 96, 3) for face in faces)
    assert list(read_faces(tmp_path / "nowhere", SYNTHETIC, Part.TRAIN, detector=detector)) == []


def sets(labels: np.ndarray) -> list[DevelopmentSet]:
    grey = np.zeros((len(labels), 4, 4), np.uint8)
    return [DevelopmentSet(name=name, grey=grey, labels=labels) for name in ("rafdb", "muxspace")]


def certain(labels: np.ndarray, wrong: int = 0) -> np.ndarray:
    said = np.eye(6)[labels] * 5.0
    said[:wrong] = np.roll(said[:wrong], 1, axis=1)
    return said


def test_the_score_is_the_smallest_gain_of_all_sets() -> None:
    labels = np.tile(np.arange(6), 20)
    before = Asked(logits=dict.fromkeys(("rafdb", "muxspace"), certain(labels, 60)), prior=UNIFORM)
    after = Asked(logits={"rafdb": certain(labels, 48), "muxspace": certain(labels, 6)}, prior=UNIFORM)
    scored = score_candidate(after, before, sets(labels), home_shares={"rafdb": UNIFORM})
    assert scored["score_points"] == pytest.approx(10.0) and scored["passes"]
    assert scored["sets"]["muxspace"]["gain_points"] == pytest.approx(45.0)
    low, high = scored["sets"]["muxspace"]["gain_95"]
    assert low < 45.0 < high


def test_a_candidate_that_loses_more_than_half_a_point_at_home_fails() -> None:
    labels = np.tile(np.arange(6), 100)
    before = Asked(logits=dict.fromkeys(("rafdb", "muxspace"), certain(labels, 60)), prior=UNIFORM)
    for wrong, passes in ((62, True), (64, False)):
        after = Asked(logits={"rafdb": certain(labels, wrong), "muxspace": certain(labels)}, prior=UNIFORM)
        assert (
            score_candidate(after, before, sets(labels), home_shares={"rafdb": UNIFORM})["passes"] is passes
        )


def test_a_network_gains_nothing_by_expecting_what_is_frequent() -> None:
    rng = np.random.default_rng(1)
    labels = rng.choice(6, 400, p=[0.3, 0.1, 0.1, 0.1, 0.1, 0.3])
    logits = rng.normal(0, 1, (400, 6)) + np.eye(6)[labels]
    prior = np.array([0.3, 0.1, 0.1, 0.1, 0.1, 0.3])
    plain = Asked(logits=dict.fromkeys(("rafdb", "muxspace"), logits), prior=UNIFORM)
    moved = Asked(logits=dict.fromkeys(("rafdb", "muxspace"), logits + np.log(prior)), prior=prior)
    scored = score_candidate(moved, plain, sets(labels), home_shares={"rafdb": prior})
    assert scored["score_points"] == 0.0 and scored["sets"]["rafdb"]["accuracy_gain_points"] == 0.0


def test_pictures_are_resampled_in_pairs() -> None:
    labels = np.tile(np.arange(6), 50)
    right = np.arange(300) % 3 == 0
    assert paired_gain(labels, right, right, seed=0) == (0.0, 0.0, 0.0)
    with pytest.raises(DatasetError, match="no development picture"):
        score_candidate(Asked(logits={}, prior=UNIFORM), Asked(logits={}, prior=UNIFORM), [], home_shares={})


def test_the_prior_is_read_from_the_run_or_the_manifest_beside_a_network(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"parameters": 7}))
    with pytest.raises(DatasetError, match="which prior"):
        stated_prior(tmp_path / "averaged.keras")
    (tmp_path / "run.json").write_text(json.dumps({"logit_prior": [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]}))
    assert stated_prior(tmp_path / "averaged.keras") == pytest.approx([0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert sum(stated_prior(Path("models/artifacts/expression/expression.keras"))) == pytest.approx(1.0)


def test_logits_move_from_one_prior_to_another_and_back() -> None:
    logits = np.random.default_rng(0).normal(0, 2, (30, 7))
    carried, audience = np.array([0.4, 0.1, 0.1, 0.1, 0.1, 0.2]), named_prior(AUDIENCE, UNIFORM)
    moved = at_prior(logits, carried=carried, wanted=audience, temperature=0.7)
    assert np.array_equal(moved[:, 6], logits[:, 6])
    back = at_prior(moved, carried=audience, wanted=carried, temperature=0.7)
    assert np.allclose(back, logits)
    # A face about which the network knows nothing is answered by the prior itself.
    ignorant = 0.7 * np.log(carried)[None]
    answered = np.exp(at_prior(ignorant, carried=carried, wanted=audience, temperature=0.7) / 0.7)
    assert np.allclose(answered / answered.sum(), audience)
    assert describe_prior("audience", audience)["shares"]["neutral"] == 0.4


def test_scales_of_an_earlier_artifact_are_taken_out_before_another_prior_is_put_in() -> None:
    scales, offsets = np.array([1.1, 0.9, 1.0, 1.0, 1.2, 0.8]), np.array([0.1, 0, 0, -0.1, 0, 0.2])
    logits = np.random.default_rng(0).normal(0, 2, (9, 7))
    folded = logits.copy()
    folded[:, :6] = logits[:, :6] * scales + offsets
    stated = {"label_scales": scales.tolist(), "label_offsets": offsets.tolist()}
    assert np.allclose(without_scales(folded, stated), logits)
    assert np.array_equal(without_scales(folded, {}), folded)
    artifact = load_expression()
    plain = without_scales(folded, artifact.manifest.parameters)
    moved = artifact.at_prior(folded, artifact.prior)
    assert np.allclose(moved, plain)
    for wrong in (
        {"label_scales": [1.0]},
        {**stated, "label_scales": [0.0] * 6},
        {"label_scales": [1.0] * 6},
    ):
        with pytest.raises(ManifestError, match="label_scales"):
            without_scales(folded, wrong)


def test_a_prior_that_is_none_is_refused() -> None:
    for stated in ([0.5, 0.5], [1, 0, 0, 0, 0, 0], "neutral", [0.2] * 5 + ["x"]):
        with pytest.raises(ManifestError, match="logit_prior"):
            read_prior({"logit_prior": stated})
    with pytest.raises(ManifestError, match="audience"):
        named_prior("natural", UNIFORM)
    assert read_prior({}) == pytest.approx(UNIFORM)


def test_home_shares_are_those_of_training_pictures(tmp_path: Path) -> None:
    for label in LABELS:
        (tmp_path / "train" / label).mkdir(parents=True)
        for i in range(1 if label != "happy" else 3):
            (tmp_path / "train" / label / f"{i}.png").write_bytes(
                cv2.imencode(".png", np.full((9, 9), 40 + 7 * i + LABELS.index(label), np.uint8))[1].tobytes()
            )
    [shares] = home_shares(tmp_path, validation_share=0.0).values()
    assert shares == pytest.approx([3 / 8, *[1 / 8] * 5])


def test_certain_begins_where_every_set_is_right_often_enough() -> None:
    labels = np.tile(np.arange(6), 40)
    order = np.arange(240)
    leading = np.where(order < 150, 0.95, np.where(order < 200, 0.8, 0.5))
    rows = np.full((240, 6), 0.0)
    rows[order, labels] = leading
    wrong = order >= 200
    rows[wrong] = np.roll(rows[wrong], 1, axis=1)
    both = {"rafdb": rows, "muxspace": rows}
    found = certain_from(both, sets(labels))
    assert found["confident_from"] == 0.8
    assert found["sets"]["muxspace"] == {"coverage": 200 / 240, "right": 1.0}
    halfway = rows.copy()
    halfway[150:180] = np.roll(halfway[150:180], 1, axis=1)
    assert certain_from({**both, "muxspace": halfway}, sets(labels))["confident_from"] == 0.95


def test_a_temperature_that_is_fitted_at_home_takes_the_prior_out_at_its_own_scale() -> None:
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 6, 3000)
    logits = np.log(np.full((3000, 6), 0.08) + 0.52 * np.eye(6)[labels])
    wrong = rng.random(3000) < 0.4
    logits[wrong] = rng.permuted(logits[wrong], axis=1)
    temperature = home_temperature(dict.fromkeys(("rafdb", "muxspace"), 2.0 * logits), sets(labels))
    assert temperature == pytest.approx(2.0, abs=0.4)
    assert home_temperature({}, []) == 1.0
    flat = Asked(logits={"a": np.log([[0.3, 0.2, 0.2, 0.1, 0.1, 0.1]]) * 2}, prior=UNIFORM, temperature=2.0)
    assert flat.at("a", np.array([0.1, 0.5, 0.1, 0.1, 0.1, 0.1])).tolist() == [1]


def test_the_confidence_of_an_answer_is_that_of_its_prior() -> None:
    assert confident_from({"confident_at": {"uniform": 0.8}}, "uniform", 0.9) == 0.8
    assert confident_from({"confident_at": {"uniform": 0.8}}, "carried", 0.9) == 0.9
    for stated in ([], {"uniform": "much"}, {"uniform": -1.0}):
        with pytest.raises(ManifestError, match="confident_at"):
            confident_from({"confident_at": stated}, "uniform", 0.9)


def test_sets_that_a_network_learned_from_are_read_at_their_training_shares() -> None:
    shares = np.array([0.5, 0.1, 0.1, 0.1, 0.1, 0.1])
    rule = AnswerRule(temperature=0.5, confident_above=0.9)
    home = AtHome(carried=UNIFORM, shares={"rafdb": shares}, rule=rule)
    logits = np.zeros((2, 7), np.float32)
    assert np.array_equal(home.move("muxspace", logits), logits)
    moved = home.move("rafdb", logits)
    assert moved.dtype == np.float32 and not moved[:, 6].any()
    assert moved[0, 0] - moved[0, 1] == pytest.approx(0.5 * np.log(5))
    labels = np.array([0, 0])
    test_set = TestSet(name="rafdb", crops=(np.zeros((9, 9), np.uint8),) * 2, labels=labels)
    tilted = np.tile(np.array([0.0, 0.1, 0, 0, 0, 0, 0], np.float32), (2, 1))
    engines = Engines(int8=lambda _: tilted, float32=lambda _: tilted, peers={})
    figures, raw = measure_sets([test_set], engines, rule, home=home)
    assert figures["rafdb"]["int8"]["accuracy"] == 1.0
    assert figures["rafdb"]["as_it_comes"]["accuracy"] == 0.0
    assert np.array_equal(raw["rafdb"], tilted)
    with pytest.raises(ManifestError, match="home_shares"):
        read_home_shares({"home_shares": [1, 2]})
