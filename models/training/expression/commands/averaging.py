"""The `countenance models average` command: one network whose weights lie between those of several runs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from models.errors import DatasetError
from models.expression.prior import LOGIT_PRIOR, read_prior
from models.training.expression.commands.backend import load_keras


def average(arguments: argparse.Namespace) -> int:
    """Write the weighted mean of several runs' weights as a run of its own.

    A network that went on from another often keeps more of what that one knew, and loses little of what it learned, where
    the two are averaged (Wortsman et al. 2022, Robust fine-tuning of zero-shot models, arXiv:2109.01903).
    """
    load_keras()
    import numpy as np

    from models.training.expression.networks.building import first_difference, load_network
    from models.training.expression.training.training_config import TRAINED_FILE, read_run

    parts = [read_part(word) for word in arguments.runs]
    shares = np.array([share for _, share in parts])
    shares /= shares.sum()
    models = [load_network(run / TRAINED_FILE) for run, _ in parts]
    for (run, _), model in zip(parts, models, strict=True):
        if differs := first_difference(models[0], model):
            raise DatasetError(
                f"{run} holds a network of another shape: {differs[1]} where the first has {differs[0]}"
            )
    tables = [read_run(run) for run, _ in parts]
    if missing := [run for (run, _), table in zip(parts, tables, strict=True) if LOGIT_PRIOR not in table]:
        raise DatasetError(
            f"{missing[0]} does not say which prior its logits carry ({LOGIT_PRIOR} in run.json)"
        )
    weights = [model.get_weights() for model in models]
    models[0].set_weights(
        [np.tensordot(shares, np.stack(several), axes=1) for several in zip(*weights, strict=True)]
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    models[0].save(arguments.out / TRAINED_FILE, include_optimizer=False)
    priors = np.array([read_prior(table) for table in tables])
    prior = np.exp(shares @ np.log(priors))
    facts = {
        **tables[0],
        LOGIT_PRIOR: [round(float(v), 5) for v in prior / prior.sum()],
        "command": " && ".join([str(tables[0].get("command", "")), describe(parts)]),
    }
    (arguments.out / "run.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    print(
        f"{arguments.out / TRAINED_FILE}: "
        + ", ".join(f"{s:.2f} of {run}" for (run, _), s in zip(parts, shares, strict=True))
    )
    return 0


def read_part(word: str) -> tuple[Path, float]:
    """Read `RUN:SHARE`.

    Raises:
        DatasetError: the share is missing or not above 0.
    """
    run, _, share = word.rpartition(":")
    try:
        value = float(share)
    except ValueError:
        value = 0.0
    if not run or not 0 < value < float("inf"):
        raise DatasetError(f"{word!r} names no run and share; write out/run:0.7")
    return Path(run), value


def describe(parts: list[tuple[Path, float]]) -> str:
    """Return the command line without its folders, for the manifest."""
    return (
        "countenance models average "
        + " ".join(f"{run.name}:{share:g}" for run, share in parts)
        + " --out RUN"
    )
