"""What `countenance models evaluate` does."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from models.errors import DatasetError, ModelsError
from models.expression.loading import load_expression
from models.runtime.manifest import ARTIFACTS_DIR, Manifest, load_manifest
from models.runtime.writing import check_place, write_figures
from models.training.expression.commands.backend import use_tensorflow

KEPT_FROM_BEFORE = ("headline", "gaps", "measured", "artifact")


def evaluate(arguments: argparse.Namespace) -> int:
    """Measure the artifacts on everything found, and write the figures; returns the exit status."""
    if arguments.record and arguments.limit is not None:
        raise ModelsError("--record keeps figures of whole test sets: leave --limit out")
    check_place(arguments.out)
    use_tensorflow()
    from models.audit.accuracy import Engines
    from models.audit.run import AuditRequest, run_audit
    from models.training.expression.evaluation.engines import litert_predictor, mini_xception_predictor
    from models.training.expression.evaluation.latency import limit_tensorflow, time_variants

    if not arguments.no_latency:
        limit_tensorflow(arguments.threads)
    before = _before(arguments.before)
    artifact = load_expression(arguments.artifact)
    manifest, side = artifact.manifest, artifact.input_side_px
    weights = sorted(arguments.data.glob("weights/oarriaga/*mini_XCEPTION*.hdf5"))
    engines = Engines(
        int8=litert_predictor(manifest.read("int8"), side_px=side, threads=arguments.threads),
        float32=litert_predictor(manifest.read("float32"), side_px=side, threads=arguments.threads),
        peers={"mini_xception": mini_xception_predictor(weights[0])} if weights else {},
    )
    request = AuditRequest(
        artifact=artifact,
        detector=load_manifest(arguments.detector or ARTIFACTS_DIR / "face_detector"),
        data=arguments.data,
        engines=engines,
        skip=frozenset(arguments.skip),
        haar_python=arguments.haar_python,
        limit=arguments.limit,
        bar=_bar,
    )
    body = {**circumstances(manifest), **run_audit(request)}
    if before is not None:
        body["before"] = before
    if not arguments.no_latency:
        body["latency"] = time_variants(manifest, threads=arguments.threads)
    body = rounded(body)
    write_figures(arguments.out, body)
    if arguments.record:
        from models.training.expression.exporting.artifact import with_metrics

        with_metrics(manifest, "test", body["headline"])
    for part, reason in body["skipped"].items():
        print(f"{part} left out: {reason}", file=sys.stderr)
    print(json.dumps(body["headline"], indent=None if arguments.json else 2))
    return 0


def circumstances(manifest: Manifest) -> dict[str, Any]:
    """Return date, machine, versions and the artifact's own numbers."""
    import platform
    from datetime import UTC, datetime
    from importlib.metadata import version

    from models.training.face_detector.evaluation.evaluate import describe_machine

    packages = ("numpy", "opencv-python-headless", "tensorflow-cpu", "tensorflow", "keras", "ai-edge-litert")
    versions = {}
    for name in packages:
        with contextlib.suppress(ModuleNotFoundError):
            versions[name] = version(name)
    machine = {**describe_machine(), "architecture": platform.machine(), "cores": os.cpu_count()}
    machine["cpu_flags"] = machine.pop("instruction_sets")
    return {
        "artifact": {"version": manifest.version, "temperature": manifest.parameters["temperature"]},
        "measured": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": machine,
        "versions": {"python": platform.python_version(), **versions},
    }


def rounded(value: Any) -> Any:
    """Return figures to six digits behind the point: more would be noise in every diff; NaN becomes None."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def _before(path: Path | None) -> dict[str, Any] | None:
    if path is None:
        return None
    try:
        earlier = json.loads(path.read_text("utf-8"))
        return {"headline": dict(earlier["headline"])} | {
            name: earlier[name] for name in KEPT_FROM_BEFORE if name in earlier
        }
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise DatasetError(f"--before {path} cannot be read: {error}") from error


def _bar(title: str) -> Callable[[Iterable[Any]], Iterable[Any]]:
    from tqdm import tqdm

    def wrap(items: Iterable[Any]) -> Iterable[Any]:
        bar: Iterable[Any] = tqdm(items, desc=title, unit="", disable=not sys.stderr.isatty())
        return bar

    return wrap
