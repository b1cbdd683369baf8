from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.audit.answers import AnswerRule
from models.audit.groups import (
    People,
    abstention_groups,
    age_band,
    compare_groups,
    gaps_by_threshold,
    read_people,
)
from models.errors import DatasetError

RULE = AnswerRule(temperature=1.0, confident_above=0.9)


def logits_of(sure: list[bool]) -> np.ndarray:
    return np.array([[9.0 if s else 0.5, 0, 0, 0, 0, 0] for s in sure], np.float32)


def test_ages_fall_into_the_bands_of_the_other_set() -> None:
    assert [age_band(a) for a in (0, 2, 3, 9, 10, 69, 70, 116)] == [
        "0-2", "0-2", "3-9", "3-9", "10-19", "60-69", "70+", "70+"
    ]  # fmt: skip


def test_a_group_that_gets_fewer_answers_is_found_out() -> None:
    traits = {"race": ["A"] * 100 + ["B"] * 100}
    logits = logits_of([True] * 90 + [False] * 10 + [True] * 40 + [False] * 60)
    first, second = compare_groups(traits, np.ones(200, bool), logits, RULE)
    assert (first["group"], first["abstention"]["share"]) == ("A", 0.1)
    assert second["abstention"]["share"] == 0.6
    assert first["p_fdr"]["abstention"] < 1e-10
    assert first["p_fdr"]["sent"] == pytest.approx(1.0)
    assert first["output_rate"]["happy"]["share"] == 1.0


def test_equal_groups_stay_unremarkable() -> None:
    traits = {"gender": ["F", "M"] * 100}
    rows = compare_groups(traits, np.ones(200, bool), logits_of([True, True, False, False] * 50), RULE)
    assert min(p for row in rows for p in row["p_fdr"].values()) > 0.5


def test_pictures_that_were_not_sent_are_counted_and_nothing_else() -> None:
    traits = {"age": ["0-2"] * 60 + ["70+"] * 60}
    sent = np.arange(120) >= 30
    logits = np.where(sent[:, None], logits_of([True] * 120), np.nan)
    young, old = compare_groups(traits, sent, logits, RULE)
    assert (young["sent"]["share"], old["sent"]["share"]) == (0.5, 1.0)
    assert young["abstention"]["share"] == 0.0
    assert young["p_fdr"]["sent"] < 0.001


def test_small_groups_are_left_out_of_the_gaps() -> None:
    traits = {"race": ["A"] * 40 + ["B"] * 10}
    groups = abstention_groups(traits, ("race",), np.ones(50, bool), logits_of([False] * 50), RULE, least=20)
    assert [(g.name, g.hits.mean()) for g in groups] == [("A", 1.0)]


def test_a_gap_that_is_only_one_of_smiles_is_gone_in_the_same_mix() -> None:
    traits = {"race": ["A"] * 100 + ["B"] * 100}
    smile, rest = [9.0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0.5]
    logits = np.array([smile] * 80 + [rest] * 20 + [smile] * 40 + [rest] * 60)
    first, second = compare_groups(traits, np.ones(200, bool), logits, RULE)
    assert (first["abstention"]["share"], second["abstention"]["share"]) == (0.2, 0.6)
    assert first["abstention_same_mix"] == second["abstention_same_mix"] == pytest.approx(0.4)


def test_lower_thresholds_answer_more_and_show_what_becomes_of_the_gaps() -> None:
    people = People(
        name="p",
        pictures=tuple(np.zeros((2, 2), np.uint8) for _ in range(80)),
        traits={"race": ("A",) * 40 + ("B",) * 40, "gender": ("F", "M") * 40},
    )
    logits = np.array([[4.0, 0, 0, 0, 0, 0]] * 40 + [[2.5, 0, 0, 0, 0, 0]] * 40)
    clean = {"rafdb": (logits, np.zeros(80, np.int64))}
    rows = gaps_by_threshold(people, logits, clean, RULE, least=20)
    assert rows[0]["race_gap_points"] == 0.0
    assert rows[-1]["own"] and rows[-1]["threshold"] == RULE.confident_above
    assert (rows[-1]["race_gap_points"], rows[-1]["gender_gap_points"]) == (100.0, 0.0)
    assert (rows[0]["rafdb"]["answered"], rows[-1]["rafdb"]["answered"]) == (1.0, 0.5)
    assert rows[-1]["rafdb"]["accuracy"] == 1.0


def test_both_sets_are_read_into_the_same_words(tmp_path: Path) -> None:
    _archive(tmp_path / "utkface_balanced112.zip", [{"age": "34", "gender": "M", "race": "Asian"}])
    _archive(tmp_path / "fairface540_224.zip", [{"age": "30-39", "gender": "Male"}])
    utk, fairface = read_people(tmp_path)
    assert utk.traits == {"race": ("Asian",), "gender": ("Male",), "age": ("30-39",)}
    assert fairface.traits == {"gender": ("Male",), "age": ("30-39",)}
    assert utk.pictures[0].shape == (20, 20, 3)


def test_an_archive_without_its_table_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "utkface_balanced112.zip", "w") as made:
        made.writestr("else.txt", "")
    with pytest.raises(DatasetError, match="utkface"):
        list(read_people(tmp_path))


def _archive(path: Path, rows: list[dict[str, str]]) -> None:
    with zipfile.ZipFile(path, "w") as made:
        stream = io.StringIO()
        table = csv.DictWriter(stream, ["file", *rows[0]])
        table.writeheader()
        for index, row in enumerate(rows):
            name = f"img/{index}.png"
            table.writerow({"file": name, **row})
            made.writestr(name, cv2.imencode(".png", np.full((20, 20, 3), 7, np.uint8))[1].tobytes())
        made.writestr("labels.csv", stream.getvalue())
