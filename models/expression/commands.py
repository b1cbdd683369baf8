"""What each `countenance models` command does; heavy libraries are loaded by the command that needs them."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.expression.loading import load_expression
from models.expression.taxonomy import N_LABELS

if TYPE_CHECKING:
    from models.expression.datasets import PackedFaces, UInt8Array
    from models.expression.training_config import TrainingConfig


def train(arguments: argparse.Namespace) -> int:
    """Train a network into `--out`; returns the exit status, as all commands here do."""
    _quiet_tensorflow()
    from models.expression import train as training_run
    from models.expression.architectures import NetworkSettings, build_network

    config = _config(arguments.config)
    if arguments.threads:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    training, validation = _load(arguments.data, config)
    arguments.out.mkdir(parents=True, exist_ok=True)
    facts = training_run.describe_run(
        config,
        build_network(NetworkSettings(**config.network)),
        n_training=len(training),
        n_validation=len(validation),
    )
    facts["command"] = _train_command(arguments)
    facts["network"] = dict(config.network)
    (arguments.out / "run.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    result = training_run.train(
        config,
        training=training,
        validation=validation,
        out=arguments.out,
        limit_s=arguments.minutes * 60 if arguments.minutes else None,
        resume=arguments.resume,
    )
    print(f"averaged network in {result.model_path}; validation: {json.dumps(dict(result.validation))}")
    return 0


def quantise(arguments: argparse.Namespace) -> int:
    """Write the int8 and float TFLite files of a finished run."""
    _quiet_tensorflow()
    from models.expression.export import REPRESENTATIVE_PICTURES, rebuild_float32
    from models.expression.quantise import representative_inputs, save_bytes, to_float_tflite, to_int8_tflite

    config = _run_config(arguments.run)
    training, _ = _load(arguments.data, config)
    model = rebuild_float32(arguments.run / "averaged.keras", config)
    side = int(model.input_shape[1])
    inputs = representative_inputs(
        training, side_px=side, count=REPRESENTATIVE_PICTURES, seed=config.training.seed
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(sys.stderr):
        int8 = save_bytes(to_int8_tflite(model, inputs), arguments.out / "expression.int8.tflite")
        float32 = save_bytes(to_float_tflite(model), arguments.out / "expression.float32.tflite")
    print(f"{int8}: {int8.stat().st_size} bytes\n{float32}: {float32.stat().st_size} bytes")
    return 0


def calibrate(arguments: argparse.Namespace) -> int:
    """Fit temperature and threshold on validation pictures, and store them in the artifact's manifest."""
    _quiet_tensorflow()
    from dataclasses import replace

    from models.expression.engines import litert_predictor
    from models.expression.export import calibrate_on_validation
    from models.expression.regions import with_region
    from models.manifest import write_manifest

    artifact = load_expression(arguments.artifact)
    _, validation = _load(arguments.data, _config(arguments.config))
    side = artifact.input_side_px
    parameters, metrics = calibrate_on_validation(
        validation,
        int8=litert_predictor(artifact.manifest.read("int8"), side_px=side),
        float32=litert_predictor(artifact.manifest.read("float32"), side_px=side),
        outside=_outside(arguments.data, _config(arguments.config)) if artifact.scope else (),
    )
    before, region = artifact.manifest, arguments.region
    write_manifest(
        replace(
            before,
            parameters=with_region(before.parameters, region, parameters)
            if region
            else {**before.parameters, **parameters},
            metrics={**before.metrics, f"validation_{region}" if region else "validation": metrics},
        )
    )
    print(json.dumps({**parameters, **metrics}, indent=2))
    return 0


def smooth(arguments: argparse.Namespace) -> int:
    """Fit the filter over time, and say what it gains and costs on tracks it was not fitted on."""
    from dataclasses import replace

    from models.expression.clips import reader_of
    from models.expression.engines import litert_predictor
    from models.expression.temporal_fit import fit_on_pictures
    from models.manifest import write_manifest

    artifact = load_expression(arguments.artifact)
    _, validation = _load(arguments.data, _config(arguments.config))
    predictor = litert_predictor(artifact.manifest.read(), side_px=artifact.input_side_px)
    settings, figures = fit_on_pictures(
        list(validation.grey), validation.labels, reader_of(predictor, temperature=artifact.temperature)
    )
    if arguments.record:
        write_manifest(
            replace(
                artifact.manifest,
                parameters={**artifact.manifest.parameters, "smoothing": settings.to_json()},
                metrics={**artifact.manifest.metrics, "smoothing": figures},
            )
        )
    print(json.dumps({"smoothing": settings.to_json(), **figures}, indent=2))
    return 0


def export(arguments: argparse.Namespace) -> int:
    """Quantise, calibrate and write a whole artifact."""
    _quiet_tensorflow()
    from datetime import UTC, datetime

    from models.expression.export import (
        ExportRequest,
        export_artifact,
        read_run,
        rebuild_float32,
        write_notice,
    )

    config = _run_config(arguments.run)
    training, validation = _load(arguments.data, config)
    model = rebuild_float32(arguments.run / "averaged.keras", config)
    trained_by = str(read_run(arguments.run).get("command", "countenance models train"))
    request = ExportRequest(
        version=arguments.version,
        command=f"{trained_by} && countenance models export --data DIR --run RUN --version {arguments.version}",
        created=datetime.now(UTC),
        sources=tuple(
            {"name": s, "pictures": str(training.sources.count(s))} for s in sorted(set(training.sources))
        ),
    )
    with contextlib.redirect_stdout(sys.stderr):
        manifest = export_artifact(
            model,
            training=training,
            validation=validation,
            out=arguments.out,
            request=request,
            config=config,
            outside=_outside(arguments.data, config) if model.output_shape[-1] > N_LABELS else (),
        )
    write_notice(arguments.out)
    print(
        json.dumps(
            {"parameters": manifest.parameters, "validation": manifest.metrics["validation"]}, indent=2
        )
    )
    return 0


def _train_command(arguments: argparse.Namespace) -> str:
    words = ["countenance models train --data DIR --out RUN"]
    if arguments.config:
        words.append(f"--config {arguments.config.name}")
    if arguments.minutes:
        words.append(f"--minutes {arguments.minutes:g}")
    earlier = ""
    if arguments.resume:
        from models.expression.export import read_run

        words.append("--resume")
        earlier = str(read_run(arguments.out).get("command", ""))
    return " && ".join(part for part in (earlier, " ".join(words)) if part)


def _config(path: Path | None) -> TrainingConfig:
    from models.expression.training_config import DEFAULT_CONFIG, read_config

    return read_config(path or DEFAULT_CONFIG)


def _run_config(run: Path) -> TrainingConfig:
    from models.expression.training_config import config_from_run

    return config_from_run(run)


def _load(data: Path, config: TrainingConfig) -> tuple[PackedFaces, PackedFaces]:
    from models.expression.corpus import load_training

    return load_training(
        data,
        side_px=config.training.stored_side_px,
        validation_share=config.training.validation_share,
        progress=_progress("reading"),
    )


def _outside(data: Path, config: TrainingConfig) -> Sequence[UInt8Array]:
    from models.expression.corpus import load_outside

    return load_outside(
        data,
        side_px=config.training.stored_side_px,
        validation_share=config.training.validation_share,
        progress=_progress("reading others"),
    )


def _progress(what: str) -> Any:
    from tqdm import tqdm

    def wrap(items: Iterable[Any]) -> Iterable[Any]:
        bar: Iterable[Any] = tqdm(items, desc=what, unit=" pictures", disable=not sys.stderr.isatty())
        return bar

    return wrap


def _quiet_tensorflow() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
