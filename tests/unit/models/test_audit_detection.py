from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.audit.detection import Found, paired_points, recall_by_trait, recall_table, trait_groups
from models.audit.peers import decode_priors, open_peers, ultralight_priors
from models.errors import DatasetError


def found(hits: dict[str, list[bool]], *, traits: list[dict[str, str]] | None = None) -> Found:
    count = len(next(iter(hits.values())))
    return Found(
        sources=np.array(["fairface"] * count),
        groups=np.arange(count).astype(str),
        sides_px=np.full(count, 90, np.float32),
        traits=tuple(traits or [{}] * count),
        hits={name: np.array(values) for name, values in hits.items()},
        loose_hits={name: np.ones(count, bool) for name in hits},
        false_alarms=None,
    )


def test_recall_is_given_with_its_interval_and_at_two_overlaps() -> None:
    table = recall_table(found({"int8": [True] * 9 + [False]}))["int8"]
    assert table["fairface540"]["recall"] == 0.9
    assert table["fairface540"]["recall_95"][0] < 0.9 < table["fairface540"]["recall_95"][1]
    assert table["pooled_iou_0.3"]["recall"] == 1.0
    assert "wider_32px" not in table


def test_paired_points_count_lost_against_gained() -> None:
    figures = paired_points(
        found({"int8": [True] * 97 + [False] * 3, "mediapipe": [False] + [True] * 99}), "int8", "mediapipe"
    )
    assert (figures["lost"], figures["gained"]) == (3, 1)
    assert figures["points"] == pytest.approx(-2.0)
    assert figures["lower95_points"] < -2.0 < figures["upper95_points"]


def test_a_trait_that_decides_recall_is_found_and_one_that_does_not_is_not() -> None:
    traits = [
        {"gender": "Female" if i % 2 else "Male", "age": "old" if i < 60 else "young"} for i in range(120)
    ]
    rows = recall_by_trait(found({"int8": [i >= 40 for i in range(120)]}, traits=traits))
    by_group = {row["group"]: row for row in rows}
    assert by_group["old"]["recall"] == pytest.approx(1 / 3)
    assert by_group["old"]["p_fdr"] < 1e-6 < 0.5 < by_group["Male"]["p_fdr"]
    names = [
        group.name for group in trait_groups(found({"int8": [True] * 120}, traits=traits), "fairface", "age")
    ]
    assert names == ["old", "young"]


def test_prior_boxes_decode_to_themselves_without_offsets() -> None:
    priors = ultralight_priors()
    assert priors.shape == (4420, 4)
    corners = decode_priors(np.zeros((4420, 4), np.float32), priors)
    np.testing.assert_allclose(corners[:, :2] + corners[:, 2:], 2 * priors[:, :2], atol=1e-5)


def test_absent_peers_are_named_with_the_reason(tmp_path: Path) -> None:
    peers = open_peers(tmp_path, haar_python=tmp_path / "none")
    assert peers.found == {}
    assert "make peers" in peers.absent["haar"]
    assert "weights/yunet" in peers.absent["yunet"]


@pytest.mark.skipif(
    hasattr(cv2, "CascadeClassifier"), reason="this OpenCV has Haar cascades, so its worker would start"
)
def test_an_interpreter_without_haar_cascades_is_said_to_have_none(tmp_path: Path) -> None:
    peers = open_peers(tmp_path, haar_python=Path(sys.executable))
    assert peers.absent["haar"].startswith(DatasetError.__name__)
