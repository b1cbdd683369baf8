"""Arithmetic of the detector's evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from models.training.face_detector.evaluation.evaluate import (
    ORIGINAL,
    FaceOutcomes,
    describe_machine,
    paired_difference,
    recalls,
)


def outcomes(lost: int, gained: int, *, count: int = 1000) -> FaceOutcomes:
    original = np.ones(count, bool)
    original[:gained] = False
    other = np.ones(count, bool)
    other[count - lost :] = False
    return FaceOutcomes(
        sources=np.array(["video"] * 100 + ["fairface"] * (count // 2 - 100) + ["wider"] * (count // 2)),
        groups=np.arange(count).astype(str),
        sides_px=np.where(np.arange(count) % 2, 60, 40).astype(np.float32),
        found={ORIGINAL: original, "int8": other},
    )


def test_equal_detectors_differ_by_nothing() -> None:
    figures = paired_difference(outcomes(0, 0), "int8")
    assert (figures["points"], figures["lower95_points"], figures["lost"]) == (0.0, 0.0, 0)


def test_the_difference_counts_lost_against_gained_faces_in_points() -> None:
    figures = paired_difference(outcomes(lost=7, gained=2), "int8")
    assert (figures["lost"], figures["gained"], figures["points"]) == (7, 2, -0.5)
    assert figures["lower95_points"] < -0.5 < figures["upper95_points"]


def test_the_bootstrap_bound_agrees_with_the_normal_approximation() -> None:
    figures = paired_difference(outcomes(lost=30, gained=30, count=4000), "int8")
    expected = -1.96 * np.sqrt(60) / 4000 * 100
    assert figures["lower95_points"] == pytest.approx(expected, abs=0.03)


def test_faces_of_one_clip_that_stand_and_fall_together_widen_the_bound() -> None:
    base = outcomes(lost=20, gained=20)
    grouped = FaceOutcomes(
        sources=base.sources,
        groups=(np.arange(1000) // 20).astype(str),
        sides_px=base.sides_px,
        found=base.found,
    )
    figures = paired_difference(grouped, "int8")
    assert figures["lower95_points_by_group"] < figures["lower95_points"]


def test_recall_is_given_for_each_set_and_face_size() -> None:
    figures = recalls(outcomes(lost=100, gained=0), "int8")
    assert figures["fairface540"] == {"faces": 400, "recall": 1.0}
    assert figures["wider_32px"] == {"faces": 500, "recall": 0.8}
    assert figures["wider_48px"]["faces"] == 250
    assert figures["video_frames"] == {"faces": 100, "recall": 1.0}
    assert figures["pooled"] == {"faces": 1000, "recall": 0.9}


def test_the_machine_is_described_without_a_host_name() -> None:
    assert set(describe_machine()) == {"processor", "system", "python", "instruction_sets"}
