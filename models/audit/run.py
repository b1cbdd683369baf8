"""Measure the shipped artifacts in one run; each part says why it was left out, if it was."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.audit.accuracy import Engines, measure_sets
from models.audit.answers import AnswerRule, AtHome, answer
from models.audit.comparisons import Group, simultaneous_gaps
from models.audit.degraded import PICTURES, measure_slices
from models.audit.detection import (
    find_faces,
    paired_points,
    recall_by_trait,
    recall_table,
    trait_groups,
)
from models.audit.groups import (
    FAIRFACE_ARCHIVE,
    GAP_ATTRIBUTES,
    UTK_ARCHIVE,
    People,
    abstention_groups,
    compare_groups,
    gaps_by_threshold,
    read_people,
)
from models.audit.headline import ECE_SETS, make_headline
from models.audit.outsiders import describe_outsiders, read_outsiders
from models.audit.parity import measure_parity, read_london
from models.audit.peers import FindFaces, HaarWorker, open_peers
from models.audit.street import GREY48, is_street_here, send_pictures
from models.audit.street_loss import HEADLINE_SETS, STREET_SETS, street_loss
from models.errors import DatasetError
from models.expression.loading import ExpressionArtifact
from models.expression.prior import PRIORS, UNIFORM, confident_from
from models.expression.temporal import filter_of
from models.face_detector.runtime import Detector
from models.runtime.manifest import Manifest
from models.training.expression.data.corpus import LONDON_ARCHIVE
from models.training.expression.data.cutting import BORDER_SHARE
from models.training.expression.evaluation.clips import CLIPS, clip_figures, reader_of
from models.training.expression.evaluation.engines import Predictor
from models.training.expression.evaluation.evaluate import TestSet, load_test_sets

Float32Array = npt.NDArray[np.float32]
Bar = Callable[[str], Callable[[Iterable[Any]], Iterable[Any]]]

PARTS = ("street", "detectors", "groups", "parity", "slices", "outsiders", "clips")
NO_STREET = "the studio's side is not installed beside this package"
NO_PEOPLE = f"neither {UTK_ARCHIVE} nor {FAIRFACE_ARCHIVE} is in the data folder"
NO_LONDON = f"no {LONDON_ARCHIVE} is in the data folder"
NO_OUTSIDERS = "no picture that shows none of the six is in the data folder"
GAP_LEAST = 400
"""Only groups of at least this many are compared in the headline's gaps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRequest:
    """What to measure, on what.

    Attributes:
        artifact: the expression network.
        detector: the face detector's manifest.
        data: folder with the sets; parts without their set are left out.
        engines: the variants and the peers.
        skip: parts of `PARTS` to leave out.
        haar_python: interpreter for the Haar peer; None looks where `make peers` puts it.
        limit: for a quick look, at most about this many pictures of each set, chosen at random; None takes all.
        bar: gives a progress bar by its title.
    """

    artifact: ExpressionArtifact
    detector: Manifest
    data: Path
    engines: Engines
    skip: frozenset[str]
    haar_python: Path | None
    limit: int | None
    bar: Bar


def run_audit(request: AuditRequest) -> dict[str, Any]:
    """Measure everything, ready for JSON: one object per part, `skipped` with reasons, and the flat `headline`.

    Raises:
        DatasetError: there is no test set, or one is malformed.
    """
    rule = AnswerRule.of(request.artifact)
    sets = {s.name: limit_set(s, request.limit) for s in load_test_sets(request.data, request.bar("reading"))}
    skipped: dict[str, str] = dict.fromkeys(request.skip, "not wanted")
    if not is_street_here():
        skipped |= dict.fromkeys({"street", "slices"} - skipped.keys(), NO_STREET)
    body: dict[str, Any] = {}
    body["sets"], logits = measure_sets(
        request.bar("sets")(sets.values()), request.engines, rule, home=AtHome.of(request.artifact)
    )
    if "street" not in skipped:
        body["street"] = _street(request, sets, logits, rule)
    gap_groups: list[Group] = []
    if "detectors" not in skipped:
        _attempt(skipped, "detectors", lambda: _detectors(request, body, gap_groups))
    if "groups" not in skipped:
        body["groups"], compared = _groups(request, sets, logits, rule)
        gap_groups = compared + gap_groups
        body["gaps"] = simultaneous_gaps(gap_groups)
    if "parity" not in skipped:
        body["parity"] = _parity(request, rule)
    if "slices" not in skipped:
        first = next(iter(sets.values()))
        body["slices"] = measure_slices(
            first,
            request.artifact,
            request.engines.int8,
            rule,
            progress=request.bar("slices"),
            pictures=min(PICTURES, request.limit or PICTURES),
        )
    if "outsiders" not in skipped:
        body["outsiders"] = _outsiders(request, logits, rule)
    if "clips" not in skipped:
        body["clips"] = _clips(request, sets)
    body["skipped"] = skipped | _absent(body)
    body["limited_to"] = request.limit
    body["headline"] = make_headline(body, digest=request.artifact.manifest.variant("int8").sha256)
    return body


def _absent(body: Mapping[str, Any]) -> dict[str, str]:
    """Say of each part that was wanted and measured nothing why."""
    reasons = {"groups": NO_PEOPLE, "outsiders": NO_OUTSIDERS, "parity": NO_LONDON}
    return {part: why for part, why in reasons.items() if part in body and not body[part]}


def limit_set(test_set: TestSet, limit: int | None) -> TestSet:
    """Return a test set's fixed random choice of at most `limit` pictures."""
    chosen = choose(len(test_set.labels), limit)
    return replace(
        test_set,
        crops=tuple(test_set.crops[i] for i in chosen),
        labels=test_set.labels[np.array(chosen, int)],
    )


def choose(count: int, limit: int | None) -> list[int]:
    """Return at most `limit` places out of `count`, chosen at random but always alike, in order."""
    if limit is None or limit >= count:
        return list(range(count))
    return sorted(int(i) for i in np.random.default_rng(0).choice(count, limit, replace=False))


def limit_people(people: People, limit: int | None) -> People:
    """Return a set's fixed random choice of at most `limit` people."""
    chosen = choose(len(people.pictures), limit)
    return replace(
        people,
        pictures=tuple(people.pictures[i] for i in chosen),
        traits={name: tuple(values[i] for i in chosen) for name, values in people.traits.items()},
    )


def _attempt(skipped: dict[str, str], part: str, measure: Callable[[], None]) -> None:
    try:
        measure()
    except DatasetError as error:
        skipped[part] = str(error)


def _street(
    request: AuditRequest, sets: Mapping[str, TestSet], logits: Mapping[str, Float32Array], rule: AnswerRule
) -> dict[str, Any]:
    folder = request.artifact.manifest.directory
    figures = {}
    for name in STREET_SETS:
        if name not in sets:
            continue
        crops, labels = sets[name].crops, sets[name].labels
        arrived = send_pictures(crops, artifact=folder, progress=request.bar(f"street, {name}"))
        figures[name] = street_loss(logits[name], arrived, labels, rule)
        if name in HEADLINE_SETS:
            grey = send_pictures(
                crops, artifact=folder, ladder=GREY48, progress=request.bar(f"street, {name}, grey 48")
            )
            figures[name]["grey48"] = street_loss(logits[name], grey, labels, rule)
    return figures


def _detectors(request: AuditRequest, body: dict[str, Any], gap_groups: list[Group]) -> None:
    peers = open_peers(request.data, haar_python=request.haar_python)
    ours = {v.id: _finder(request.detector.read(v.id)) for v in request.detector.variants}
    try:
        found = find_faces(
            {**ours, **peers.found}, request.data, limit=request.limit, progress=request.bar("detectors")
        )
    finally:
        for peer in peers.found.values():
            if isinstance(peer, HaarWorker):
                peer.close()
    body["detectors"] = {
        "artifact_digest": request.detector.variant("int8").sha256,
        "recall": recall_table(found),
        "paired": {name: paired_points(found, "int8", name) for name in found.hits if name != "int8"},
        "by_trait": recall_by_trait(found),
        "absent": peers.absent,
    }
    gap_groups += trait_groups(found, "fairface", "gender")


def _finder(content: bytes) -> FindFaces:
    detector = Detector(content)
    return lambda frame: detector.detect(frame).boxes_xyxy


def _groups(
    request: AuditRequest, sets: Mapping[str, TestSet], logits: Mapping[str, Float32Array], rule: AnswerRule
) -> tuple[dict[str, Any], list[Group]]:
    """Compare groups read directly (UTKFace, which is cut to faces) and after the street (both sets)."""
    tables: dict[str, Any] = {}
    compared: list[Group] = []
    for everybody in read_people(request.data):
        people = limit_people(everybody, request.limit)
        tables[people.name] = {}
        is_cut = people.name == "utkface"
        if is_cut:
            direct = request.engines.int8(people.pictures)
            everyone = np.ones(len(direct), np.bool_)
            tables[people.name]["direct"] = compare_groups(people.traits, everyone, direct, rule)
            compared += abstention_groups(
                people.traits, GAP_ATTRIBUTES, everyone, direct, rule, least=GAP_LEAST
            )
            clean = {name: (logits[name], sets[name].labels) for name in ECE_SETS if name in sets}
            tables[people.name]["by_threshold"] = gaps_by_threshold(
                people, direct, clean, rule, least=GAP_LEAST
            )
        if is_street_here() and "street" not in request.skip:
            arrived = send_pictures(
                people.pictures,
                artifact=request.artifact.manifest.directory,
                border=BORDER_SHARE if is_cut else 0.0,
                progress=request.bar(f"groups, {people.name}"),
            )
            tables[people.name]["street"] = compare_groups(people.traits, arrived.sent, arrived.logits, rule)
            if is_cut:
                groups = abstention_groups(
                    people.traits, GAP_ATTRIBUTES, arrived.sent, arrived.logits, rule, least=GAP_LEAST
                )
                tables[people.name]["street_gaps"] = simultaneous_gaps(groups)
    return tables, compared


def _parity(request: AuditRequest, rule: AnswerRule) -> dict[str, Any]:
    """Measure accuracy by group with a uniform prior, as `predict` answers about single pictures."""
    detector = Detector(request.detector.read(request.detector.default_variant))
    seen = read_london(request.data, detector, progress=request.bar("parity"))
    if seen is None:
        return {}
    artifact = request.artifact
    certain = confident_from(artifact.manifest.parameters, UNIFORM, artifact.confident_above)
    return measure_parity(
        seen,
        request.engines.int8,
        replace(rule, confident_above=certain),
        move=lambda logits: artifact.at_prior(logits, np.asarray(PRIORS[UNIFORM])),
    )


def _clips(request: AuditRequest, sets: Mapping[str, TestSet]) -> dict[str, Any]:
    """Read short synthetic clips of each set with and without the artifact's filter over time."""
    reader = reader_of(request.engines.int8, temperature=request.artifact.temperature)
    settings = filter_of(request.artifact.manifest.parameters)
    clips = min(CLIPS, request.limit or CLIPS)
    return {
        name: clip_figures(test_set.crops, test_set.labels, reader, settings, clips=clips)
        for name, test_set in request.bar("clips")(sets.items())
    }


def _outsiders(request: AuditRequest, logits: Mapping[str, Float32Array], rule: AnswerRule) -> dict[str, Any]:
    inside = [logits[name] for name in ("rafdb", "ferplus", "folder") if name in logits]
    if not inside:
        return {}
    predict: Predictor = request.engines.int8
    outside = {
        kind: answer(predict([pictures[i] for i in choose(len(pictures), request.limit)]), rule)
        for kind, pictures in request.bar("outsiders")(read_outsiders(request.data).items())
    }
    return describe_outsiders(answer(np.concatenate(inside), rule), outside)
