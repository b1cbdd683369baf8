"""The `countenance models develop` command: score networks on pictures unlike those they learned from."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.errors import DatasetError
from models.expression.inference import score_logits
from models.expression.loading import EXPRESSION_DIR
from models.expression.prior import CONFIDENT_AT, LOGIT_PRIOR, PRIORS, read_prior
from models.training.expression.commands.reading import progress_bar
from models.training.expression.commands.training import prepare_backend

if TYPE_CHECKING:
    from models.training.expression.data.development import DevelopmentSet
    from models.training.expression.evaluation.development import Asked

SHIPPED_NETWORK = EXPRESSION_DIR / "expression.keras"


def develop(arguments: argparse.Namespace) -> int:
    """Score networks against a baseline on the development sets, paired."""
    config = prepare_backend(arguments)
    from models.face_detector.runtime import Detector
    from models.runtime.manifest import ARTIFACTS_DIR, load_manifest
    from models.training.expression.data.corpus import home_shares
    from models.training.expression.data.development import read_development
    from models.training.expression.evaluation.development import score_candidate

    paths = [arguments.against or SHIPPED_NETWORK, *arguments.networks]
    priors = [stated_prior(path) for path in paths]
    share = config.training.validation_share
    sets = read_development(
        arguments.data,
        side_px=config.training.stored_side_px,
        validation_share=share,
        detector=Detector(load_manifest(ARTIFACTS_DIR / "face_detector").read()),
        bar=progress_bar,
    )
    asked = [_ask(path, prior, sets) for path, prior in zip(paths, priors, strict=True)]
    shares = home_shares(arguments.data, validation_share=share)
    body = {
        str(path): score_candidate(candidate, asked[0], sets, home_shares=shares)
        for path, candidate in zip(paths[1:], asked[1:], strict=True)
    }
    if arguments.json:
        print(json.dumps(body, indent=2))
        return 0
    for path, scored in body.items():
        print(
            f"{path}: score {scored['score_points']:+.2f} points, {'passes' if scored['passes'] else 'FAILS'}"
        )
        for name, row in scored["sets"].items():
            home = (
                f"  accuracy at home {row['accuracy'][1]:.4f} ({row['accuracy_gain_points']:+.2f})"
                if "accuracy" in row
                else ""
            )
            print(
                f"  {name:16}{row['macro_recall'][0]:.4f} -> {row['macro_recall'][1]:.4f}  {row['gain_points']:+6.2f} "
                f"({row['gain_95'][0]:+.2f} to {row['gain_95'][1]:+.2f}){home}"
            )
    return 0


def certain(arguments: argparse.Namespace) -> int:
    """Find from which confidence on answers about single pictures are right often enough at home and elsewhere."""
    config = prepare_backend(arguments)
    from dataclasses import replace

    from models.expression.loading import load_expression
    from models.face_detector.runtime import Detector
    from models.runtime.manifest import ARTIFACTS_DIR, load_manifest, write_manifest
    from models.training.expression.data.development import read_development
    from models.training.expression.evaluation.development import certain_from
    from models.training.expression.evaluation.engines import litert_predictor

    artifact = load_expression(arguments.artifact)
    sets = read_development(
        arguments.data,
        side_px=config.training.stored_side_px,
        validation_share=config.training.validation_share,
        detector=Detector(load_manifest(ARTIFACTS_DIR / "face_detector").read()),
        bar=progress_bar,
    )
    predictor = litert_predictor(artifact.manifest.read(), side_px=artifact.input_side_px)
    logits = {chosen.name: predictor(list(chosen.grey)) for chosen in sets}
    found = {}
    for name, shares in PRIORS.items():
        probabilities = {
            chosen: score_logits(
                artifact.at_prior(given, np.asarray(shares)), temperature=artifact.temperature
            ).probabilities
            for chosen, given in logits.items()
        }
        found[name] = certain_from(probabilities, sets)
    if arguments.record:
        thresholds = {name: round(float(figures["confident_from"]), 4) for name, figures in found.items()}
        parameters = {**artifact.manifest.parameters, CONFIDENT_AT: thresholds}
        write_manifest(replace(artifact.manifest, parameters=parameters))
    print(json.dumps(found, indent=2))
    return 0


def stated_prior(network: Path) -> Sequence[float]:
    """Return the prior that a network's logits carry, from the run or the manifest beside its file.

    Raises:
        DatasetError: neither states one.
    """
    for name in ("run.json", "manifest.json"):
        path = network.parent / name
        try:
            table = json.loads(path.read_text("utf-8")) if path.exists() else {}
        except (OSError, ValueError) as error:
            raise DatasetError(f"cannot read {path}: {error}") from None
        table = table.get("parameters", {}) if name == "manifest.json" else table
        if LOGIT_PRIOR in table:
            return [float(v) for v in read_prior(table)]
    raise DatasetError(
        f"nothing beside {network} says which prior its logits carry ({LOGIT_PRIOR} in run.json)"
    )


def _ask(path: Path, prior: Sequence[float], sets: Sequence[DevelopmentSet]) -> Asked:
    from models.expression.preprocessing import resize_grey, standardise
    from models.expression.taxonomy import N_LABELS
    from models.training.expression.evaluation.development import Asked, home_temperature
    from models.training.expression.networks.building import as_function, load_network

    model = load_network(path)
    answer, side_px = as_function(model), int(model.input_shape[1])
    logits = {}
    for chosen in sets:
        grey = np.stack([resize_grey(picture, side_px) for picture in chosen.grey])
        parts = [answer(standardise(grey[i : i + 256]))[:, :N_LABELS] for i in range(0, len(grey), 256)]
        logits[chosen.name] = np.concatenate(parts).astype(np.float64)
    return Asked(
        logits=logits,
        prior=np.asarray(prior, np.float64),
        temperature=home_temperature(logits, sets),
    )
