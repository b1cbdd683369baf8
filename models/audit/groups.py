"""Compare what is answered about groups of people: who is read at all, how often, how surely, and as what.

The pictures carry age, gender and race, but no expression, so accuracy per group cannot be measured on them.
Groups of *different* people may truly show different expressions (children smile for portraits), so a gap in
output rates is a question, not a verdict; a gap in abstention or in being sent is a gap in service.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.audit.answers import AnswerRule, Answers, answer
from models.audit.comparisons import Group, adjust_fdr, fisher_exact, rank_sum
from models.errors import DatasetError
from models.expression.taxonomy import LABELS
from models.training.expression.data.datasets import decode_picture
from models.training.expression.evaluation.scoring import Z_95, wilson_interval

UInt8Array = npt.NDArray[np.uint8]
BoolArray = npt.NDArray[np.bool_]
Int64Array = npt.NDArray[np.int64]

UTK_ARCHIVE = "utkface_balanced112.zip"
FAIRFACE_ARCHIVE = "fairface540_224.zip"
AGE_BANDS = (
    (3, "0-2"),
    (10, "3-9"),
    (20, "10-19"),
    (30, "20-29"),
    (40, "30-39"),
    (50, "40-49"),
    (60, "50-59"),
    (70, "60-69"),
)
GAP_ATTRIBUTES = ("race", "gender")
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
LEAST_GROUP = 30
"""Smaller groups are not listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Pictures of people with what a set says about each; `traits` maps an attribute to n values."""

    name: str
    pictures: tuple[UInt8Array, ...]
    traits: dict[str, tuple[str, ...]]


def read_people(data: Path) -> Iterator[People]:
    """Yield the sets that a data folder holds: UTKFace (face crops), then FairFace (with surroundings).

    Raises:
        DatasetError: an archive is malformed.
    """
    if (data / UTK_ARCHIVE).exists():
        rows, pictures = _read(data / UTK_ARCHIVE)
        ages = tuple(age_band(int(row["age"])) for row in rows)
        genders = tuple({"M": "Male", "F": "Female"}.get(row["gender"], row["gender"]) for row in rows)
        races = tuple(row["race"] for row in rows)
        yield People(
            name="utkface", pictures=pictures, traits={"race": races, "gender": genders, "age": ages}
        )
    if (data / FAIRFACE_ARCHIVE).exists():
        rows, pictures = _read(data / FAIRFACE_ARCHIVE)
        traits = {name: tuple(row[name] for row in rows) for name in ("gender", "age")}
        yield People(name="fairface", pictures=pictures, traits=traits)


def age_band(years: int) -> str:
    """Return FairFace's band of an age."""
    return next((band for end, band in AGE_BANDS if years < end), "70+")


def compare_groups(
    traits: Mapping[str, Sequence[str]], sent: BoolArray, logits: npt.ArrayLike, rule: AnswerRule
) -> list[dict[str, Any]]:
    """Return one row per group: how many were sent, and of those the abstention, confidence and output rates.

    Every group is tested against all others of its attribute: Fisher's exact test for shares, Mann-Whitney for
    confidence; p values are adjusted over all tests of the set (Benjamini-Hochberg).

    Args:
        traits: for each attribute, n values.
        sent: bool (n,), which pictures were read.
        logits: (n, k); rows that were not read are ignored.
        rule: the artifact's.
    """
    answers = answer(np.asarray(logits)[sent], rule)
    rows: list[dict[str, Any]] = []
    tests: list[dict[str, float]] = []
    for attribute, values in traits.items():
        everyone = np.asarray(values)
        for name in sorted(set(values), key=_band_order):
            inside = everyone == name
            if inside.sum() < LEAST_GROUP:
                continue
            row, p_values = _describe(inside, sent, answers)
            rows.append({"attribute": attribute, "group": name, **row})
            tests.append(p_values)
    adjusted = iter(adjust_fdr([p for p_values in tests for p in p_values.values()]))
    for row, p_values in zip(rows, tests, strict=True):
        row["p_fdr"] = {name: next(adjusted) for name in p_values}
    return rows


def abstention_groups(
    traits: Mapping[str, Sequence[str]],
    attributes: Sequence[str],
    sent: BoolArray,
    logits: npt.ArrayLike,
    rule: AnswerRule,
    *,
    least: int,
) -> list[Group]:
    """Return the groups of some attributes with at least `least` members, with who of those read was uncertain."""
    abstains = answer(np.asarray(logits)[sent], rule).abstains
    groups = []
    for attribute in attributes:
        everyone = np.asarray(traits[attribute])
        groups += [
            Group(attribute=f"abstention, {attribute}", name=name, hits=abstains[(everyone == name)[sent]])
            for name in sorted(set(traits[attribute]))
            if (everyone == name).sum() >= least
        ]
    return groups


def gaps_by_threshold(
    people: People,
    logits: npt.ArrayLike,
    clean: Mapping[str, tuple[npt.ArrayLike, Int64Array]],
    rule: AnswerRule,
    *,
    least: int,
) -> list[dict[str, Any]]:
    """Return what other confidence thresholds would give: coverage and accuracy on clean sets, gaps between groups.

    A table to think with. The artifact's own threshold was fixed on validation pictures; none is chosen here.

    Args:
        people: a set read directly.
        logits: of its pictures, (n, k).
        clean: by name, logits and labels of test sets.
        rule: the artifact's; its threshold is the last row.
        least: smallest group that is compared.
    """
    rows = []
    for threshold in (*THRESHOLDS, rule.confident_above):
        changed = replace(rule, confident_above=threshold)
        row: dict[str, Any] = {"threshold": threshold, "own": threshold == rule.confident_above}
        for name, (known, labels) in clean.items():
            answers = answer(known, changed)
            given = ~answers.abstains
            row[name] = {
                "answered": float(given.mean()),
                "accuracy": float((answers.predicted == labels)[given].mean()) if given.any() else None,
            }
        everyone = np.ones(len(people.pictures), np.bool_)
        for attribute in GAP_ATTRIBUTES:
            groups = abstention_groups(people.traits, (attribute,), everyone, logits, changed, least=least)
            shares = [float(group.hits.mean()) for group in groups]
            row[f"{attribute}_gap_points"] = 100 * (max(shares) - min(shares)) if shares else None
        rows.append(row)
    return rows


def _describe(
    inside: BoolArray, sent: BoolArray, answers: Answers
) -> tuple[dict[str, Any], dict[str, float]]:
    mine = inside[sent]
    confidence, predicted = answers.confidence, answers.predicted
    rates, tests = (
        {},
        {
            "sent": _compare(sent[inside], sent[~inside]),
            "abstention": _compare(answers.abstains[mine], answers.abstains[~mine]),
            "confidence": rank_sum(confidence[mine], confidence[~mine]),
        },
    )
    for index, label in enumerate(LABELS):
        shown = predicted == index
        rates[label] = _share(shown[mine])
        tests[label] = _compare(shown[mine], shown[~mine])
    mean = float(confidence[mine].mean()) if mine.any() else float("nan")
    half = (
        Z_95 * float(confidence[mine].std(ddof=1)) / max(1.0, float(mine.sum())) ** 0.5
        if mine.sum() > 1
        else 0.0
    )
    row = {
        "n": int(inside.sum()),
        "sent": _share(sent[inside]),
        "abstention": _share(answers.abstains[mine]),
        "abstention_same_mix": _same_mix(mine, answers),
        "confidence": {"mean": mean, "mean_95": (mean - half, mean + half)},
        "output_rate": rates,
    }
    return row, tests


def _same_mix(mine: BoolArray, answers: Answers) -> float | None:
    """Return what a group's abstention would be if its leading labels were distributed as everybody's are.

    Smiles are read more surely than rest: a group that smiles less in a set's pictures is answered less. What is
    left of a gap after this is not due to the mix of labels. A label that the group never leads with counts with
    everybody's abstention.
    """
    if not mine.any():
        return None
    total = 0.0
    for label in range(len(LABELS)):
        shown = answers.predicted == label
        basis = shown & mine if (shown & mine).any() else shown
        total += float(shown.mean()) * float(answers.abstains[basis].mean()) if shown.any() else 0.0
    return total


def _share(hits: BoolArray) -> dict[str, Any]:
    return {
        "share": float(hits.mean()) if len(hits) else None,
        "share_95": wilson_interval(int(hits.sum()), len(hits)),
    }


def _compare(first: BoolArray, second: BoolArray) -> float:
    return fisher_exact(int(first.sum()), len(first), int(second.sum()), len(second))


def _band_order(name: str) -> tuple[int, str]:
    digits = name.split("-")[0].rstrip("+")
    return (int(digits) if digits.isdecimal() else 0, name)


def _read(archive: Path) -> tuple[list[dict[str, str]], tuple[UInt8Array, ...]]:
    try:
        with zipfile.ZipFile(archive) as opened:
            rows = list(csv.DictReader(io.StringIO(opened.read("labels.csv").decode("utf-8"))))
            return rows, tuple(decode_picture(opened.read(row["file"]), row["file"]) for row in rows)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"cannot read {archive.name}: {error}") from error
