from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.audit.answers import AnswerRule, answer
from models.audit.outsiders import describe_outsiders, faceless_patches, outside_majority
from models.errors import DatasetError


@pytest.mark.parametrize(
    ("votes", "kind"),
    [
        ([0, 0, 0, 0, 0, 0, 6, 0, 0, 4], "fear"),
        ([0, 0, 0, 0, 0, 0, 0, 9, 0, 0], "contempt"),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], "no face"),
        ([0, 0, 0, 0, 0, 0, 5, 5, 0, 0], None),
        ([10, 0, 0, 0, 0, 0, 0, 0, 0, 0], None),
    ],
)
def test_only_a_majority_for_something_else_is_an_outsider(votes: list[int], kind: str | None) -> None:
    assert outside_majority(votes) == kind


def test_patches_touch_no_face_and_repeat(tmp_path: Path) -> None:
    picture = np.full((416, 416, 3), 50, np.uint8)
    picture[100:300, 100:300] = 255
    archive = tmp_path / "wider_val200_416.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("img/a.png", cv2.imencode(".png", picture)[1].tobytes())
        box = ",".join(str(v) for v in (100 / 416, 100 / 416, 200 / 416, 200 / 416))
        made.writestr("boxes.csv", f"file,x,y,w,h\nimg/a.png,{box}\n")
    patches = faceless_patches(archive, count=20)
    assert len(patches) == 20
    assert all((patch == 50).all() for patch in patches)
    assert [p.shape for p in patches] == [p.shape for p in faceless_patches(archive, count=20)]
    with pytest.raises(DatasetError):
        faceless_patches(tmp_path / "none.zip")


def test_outsiders_that_look_sure_are_told_apart_by_nothing() -> None:
    rule = AnswerRule(temperature=1.0, confident_above=0.9)
    sure, unsure = np.array([[9.0, 0, 0, 0, 0, 0]] * 4), np.array([[0.1, 0, 0, 0, 0, 0]] * 4)
    table = describe_outsiders(answer(sure, rule), {"fear": answer(sure, rule), "wall": answer(unsure, rule)})
    assert (table["fear"]["auroc_confidence"], table["fear"]["abstention"]) == (0.5, 0.0)
    assert (table["wall"]["auroc_confidence"], table["wall"]["abstention"]) == (1.0, 1.0)
    assert table["wall"]["auroc_scope"] is None
