"""The `countenance models` commands that make an artifact of a trained network, or fit what its manifest says."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import DatasetError
from models.expression.loading import load_expression
from models.expression.prior import LOGIT_PRIOR, PRIORS, UNIFORM, read_prior
from models.expression.taxonomy import N_LABELS
from models.training.expression.commands.backend import use_tensorflow
from models.training.expression.commands.reading import load_parts, progress_bar, read_chosen_config
from models.training.expression.commands.training import with_soft_labels

if TYPE_CHECKING:
    import keras
    import numpy as np
    import numpy.typing as npt

    from models.training.expression.data.datasets import PackedFaces, UInt8Array
    from models.training.expression.training.training_config import TrainingConfig

    Float32Array = npt.NDArray[np.float32]

AWARE_RATE = 1e-3
"""Peak learning rate of training with rounding."""


def quantise(arguments: argparse.Namespace) -> int:
    """Write the int8 and float TFLite files of a finished run, rounded in training too if asked for."""
    use_tensorflow()
    from models.training.expression.exporting.artifact import REPRESENTATIVE_PICTURES, rebuild_float32
    from models.training.expression.exporting.quantise import (
        representative_inputs,
        save_bytes,
        to_float_tflite,
        to_int8_tflite,
    )
    from models.training.expression.training.training_config import TRAINED_FILE

    config = _run_config(arguments.run)
    if arguments.soft_labels and not arguments.aware_steps:
        raise DatasetError(
            "--soft-labels is for training with rounding: give --aware-steps too, or leave it out"
        )
    if arguments.aware_steps and config.network.get("kind", "residual") != "residual":
        raise DatasetError("only residual networks can be trained with rounding: leave out --aware-steps")
    training, validation = load_parts(arguments.data, config)
    model = rebuild_float32(arguments.run / TRAINED_FILE, config)
    inputs = representative_inputs(
        training, side_px=int(model.input_shape[1]), count=REPRESENTATIVE_PICTURES, seed=config.training.seed
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stdout(sys.stderr):
        written = [
            save_bytes(to_float_tflite(model), arguments.out / "expression.float32.tflite"),
            save_bytes(to_int8_tflite(model, inputs), arguments.out / "expression.int8.tflite"),
        ]
        if arguments.aware_steps:
            training = with_soft_labels(training, validation, arguments.soft_labels, config)
            aware = _aware_network(model, config, training, inputs, steps=arguments.aware_steps)
            written.append(
                save_bytes(to_int8_tflite(aware, inputs), arguments.out / "expression.aware_int8.tflite")
            )
    for path in written:
        print(f"{path}: {path.stat().st_size} bytes")
    return 0


def calibrate(arguments: argparse.Namespace) -> int:
    """Fit temperature and threshold on validation pictures, and store them in the artifact's manifest."""
    use_tensorflow()
    from dataclasses import replace

    import numpy as np

    from models.expression.regions import check_region, with_region
    from models.runtime.manifest import write_manifest
    from models.training.expression.evaluation.engines import litert_predictor
    from models.training.expression.exporting.artifact import PRIOR_SHIFT, calibrate_on_validation

    artifact = load_expression(arguments.artifact)
    region = arguments.region
    if region is not None:
        check_region(region)
    config = read_chosen_config(arguments.config)
    _, validation = load_parts(arguments.data, config)
    side = artifact.input_side_px
    shift = artifact.manifest.parameters.get(PRIOR_SHIFT)
    parameters, metrics = calibrate_on_validation(
        validation,
        int8=litert_predictor(artifact.manifest.read("int8"), side_px=side),
        float32=litert_predictor(artifact.manifest.read("float32"), side_px=side),
        outside=_outside(arguments.data, config, validation) if artifact.scope else (),
        shift=None if shift is None else np.asarray(shift, np.float64),
    )
    before = artifact.manifest
    write_manifest(
        replace(
            before,
            parameters=with_region(before.parameters, region, parameters)
            if region is not None
            else {**before.parameters, **parameters},
            metrics={
                **before.metrics,
                f"validation_{region}" if region is not None else "validation": metrics,
            },
        )
    )
    print(json.dumps({**parameters, **metrics}, indent=2))
    return 0


def smooth(arguments: argparse.Namespace) -> int:
    """Fit the filter over time, and say what it gains and costs on tracks it was not fitted on."""
    from dataclasses import replace

    from models.runtime.manifest import write_manifest
    from models.training.expression.calibration.temporal_fit import fit_on_pictures
    from models.training.expression.evaluation.clips import reader_of
    from models.training.expression.evaluation.engines import litert_predictor

    artifact = load_expression(arguments.artifact)
    _, validation = load_parts(arguments.data, read_chosen_config(arguments.config))
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
    use_tensorflow()
    from datetime import UTC, datetime

    import numpy as np

    from models.training.expression.data.corpus import home_shares
    from models.training.expression.exporting.artifact import (
        ExportRequest,
        export_artifact,
        rebuild_float32,
        write_notice,
    )
    from models.training.expression.training.training_config import TRAINED_FILE, read_run

    config = _run_config(arguments.run)
    training, validation = load_parts(arguments.data, config)
    model = rebuild_float32(arguments.run / TRAINED_FILE, config)
    run = read_run(arguments.run)
    trained_by = str(run.get("command", "countenance models train"))
    sources = run.get("sources") or {s: training.sources.count(s) for s in sorted(set(training.sources))}
    shares = home_shares(arguments.data, validation_share=config.training.validation_share)
    # What a run does not state is what its pictures' labels say, evenly over its sources.
    rows = list(shares.values()) or [np.asarray(PRIORS[UNIFORM])]
    prior = read_prior(run) if LOGIT_PRIOR in run else np.mean(rows, axis=0)
    request = ExportRequest(
        version=arguments.version,
        command=export_command(trained_by, version=arguments.version),
        created=datetime.now(UTC),
        sources=tuple({"name": name, "pictures": str(count)} for name, count in sources.items()),
        prior=tuple(round(float(v), 5) for v in prior),
        home_shares={name: tuple(round(float(v), 5) for v in row) for name, row in shares.items()},
    )
    with contextlib.redirect_stdout(sys.stderr):
        manifest = export_artifact(
            model,
            training=training,
            validation=validation,
            out=arguments.out,
            request=request,
            config=config,
            outside=_outside(arguments.data, config, validation) if model.output_shape[-1] > N_LABELS else (),
        )
    write_notice(arguments.out)
    print(
        json.dumps(
            {"parameters": manifest.parameters, "validation": manifest.metrics["validation"]}, indent=2
        )
    )
    return 0


def export_command(trained_by: str, *, version: str) -> str:
    """Return the commands that make an artifact, without folders, for its manifest."""
    return f"{trained_by} && countenance models export --data DIR --run RUN --out OUT --version {version}"


def _run_config(run: Path) -> TrainingConfig:
    from models.training.expression.training.training_config import config_from_run

    return config_from_run(run)


def _outside(data: Path, config: TrainingConfig, validation: PackedFaces) -> Sequence[UInt8Array]:
    from models.training.expression.data.augmentation import spoiled_copies
    from models.training.expression.data.corpus import load_outside

    outside = load_outside(
        data,
        side_px=config.training.stored_side_px,
        validation_share=config.training.validation_share,
        progress=progress_bar("reading others"),
    )
    # A folder that holds none of them still has faces that can be spoiled.
    return outside or spoiled_copies(validation.grey, seed=config.training.seed)


def _aware_network(
    model: keras.Model, config: TrainingConfig, training: PackedFaces, crops: Float32Array, *, steps: int
) -> keras.Model:
    """Return the network after `steps` batches of training with int8 rounding, without batch normalisation."""
    from models.training.expression.exporting.rounding import (
        build_rounded,
        fold_network,
        recover_rounded,
        unround,
    )
    from models.training.expression.networks.architectures import NetworkSettings
    from models.training.expression.training.train import augmented_batches

    settings = NetworkSettings(**{k: v for k, v in config.network.items() if k != "kind"})
    rounded = build_rounded(fold_network(model, settings), settings, crops)
    batches = augmented_batches(config, training, steps=steps, side_px=settings.input_side_px, first_epoch=0)
    bar = progress_bar("rounding", unit=" batches")
    recover_rounded(rounded, (batches[i] for i in bar(range(steps))), peak=AWARE_RATE, steps=steps)
    return unround(rounded, settings)
