"""What each `countenance models` command that measures or packs does; heavy libraries are loaded by the command that needs them."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import ModelsError
from models.expression.loading import load_expression
from models.expression.taxonomy import N_LABELS

if TYPE_CHECKING:
    from models.expression.datasets import PackedFaces, UInt8Array
    from models.expression.training_config import TrainingConfig


def quantise(arguments: argparse.Namespace) -> int:
    """Write the int8 and float TFLite files of a finished run, rounded in training too if asked for."""
    _use_tensorflow()
    from models.expression.export import REPRESENTATIVE_PICTURES, rebuild_float32
    from models.expression.learning_commands import with_soft_labels
    from models.expression.quantise import representative_inputs, save_bytes, to_float_tflite, to_int8_tflite

    config = _run_config(arguments.run)
    training, validation = _load(arguments.data, config)
    model = rebuild_float32(arguments.run / "averaged.keras", config)
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
            from models.expression.learning_commands import aware_network

            training = with_soft_labels(training, validation, arguments.soft_labels, config)
            aware = aware_network(model, config, training, inputs, steps=arguments.aware_steps)
            written.append(
                save_bytes(to_int8_tflite(aware, inputs), arguments.out / "expression.aware_int8.tflite")
            )
    for path in written:
        print(f"{path}: {path.stat().st_size} bytes")
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """Measure several files on the test sets: accuracy against the first, size, time."""
    from models.expression.compare import compare_files
    from models.expression.evaluate import load_test_sets
    from models.face_detector.evaluate import describe_machine

    files = {"/".join(path.parts[-2:]): _read(path) for path in arguments.files}
    if len(files) < len(arguments.files):
        raise ModelsError("two of the files have the same name in folders of the same name; rename one")
    body = {"files": compare_files(files, load_test_sets(arguments.data, _progress("reading")))}
    body["machine"] = describe_machine()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(body, indent=2) + "\n", "utf-8")
    for name, figures in body["files"].items():
        sets = "; ".join(
            f"{s} {v['accuracy']:.4f} ({-v['loss_points'][0]:+.2f} points)"
            for s, v in figures["sets"].items()
        )
        print(f"{name}: {figures['size_bytes']} bytes, {figures['ms_1_thread']:.3f} ms; {sets}")
    return 0


def calibrate(arguments: argparse.Namespace) -> int:
    """Fit temperature and threshold on validation pictures, and store them in the artifact's manifest."""
    _use_tensorflow()
    from dataclasses import replace

    from models.expression.engines import litert_predictor
    from models.expression.export import calibrate_on_validation
    from models.expression.regions import with_region
    from models.manifest import write_manifest

    artifact = load_expression(arguments.artifact)
    config = _config(arguments.config)
    _, validation = _load(arguments.data, config)
    side = artifact.input_side_px
    parameters, metrics = calibrate_on_validation(
        validation,
        int8=litert_predictor(artifact.manifest.read("int8"), side_px=side),
        float32=litert_predictor(artifact.manifest.read("float32"), side_px=side),
        outside=_outside(arguments.data, config, validation) if artifact.scope else (),
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


def framing(arguments: argparse.Namespace) -> int:
    """Say how well the network reads validation faces at each framing of the crop."""
    from dataclasses import asdict

    from models.expression.corpus import read_parts
    from models.expression.engines import litert_predictor
    from models.expression.framing import framings, score_framing, see_faces
    from models.face_crop.alignment import FRAMING
    from models.face_detector.runtime import Detector
    from models.manifest import ARTIFACTS_DIR, load_manifest

    artifact = load_expression(arguments.artifact)
    content = load_manifest(ARTIFACTS_DIR / "face_detector").read("float32")
    read = litert_predictor(artifact.manifest.read(), side_px=artifact.input_side_px)
    share = _config(arguments.config).training.validation_share
    _, validation = read_parts(arguments.data, validation_share=share, progress=_progress("reading"))
    faces = see_faces(validation, lambda: Detector(content), progress=_progress("finding faces"))
    grid = [FRAMING, *(f for f in framings() if f != FRAMING)]
    rows = [
        {**asdict(tried), "accuracy": score_framing(faces, tried, read)}
        for tried in _progress("framings", unit=" framings")(grid)
    ]
    body = {"faces": len(faces), "pictures": len(validation), "shipped": rows[0], "tried": rows[1:]}
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(body, indent=2) + "\n", "utf-8")
    print(f"{len(faces)} of {len(validation)} validation faces found; accuracy after crop and codec")
    ranked = sorted(rows, key=lambda row: -sum(row["accuracy"].values()))
    for row in ranked:
        scores = "  ".join(f"{source} {share:.4f}" for source, share in row["accuracy"].items())
        mark = "  (shipped)" if row is rows[0] else ""
        print(f"eyes {row['eye_left_x']:.3f}, {row['eye_y']:.3f}  mouth {row['mouth_y']:.3f}  {scores}{mark}")
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
    _use_tensorflow()
    from datetime import UTC, datetime

    from models.expression.export import (
        ExportRequest,
        export_artifact,
        rebuild_float32,
        write_notice,
    )
    from models.expression.training_config import read_run

    config = _run_config(arguments.run)
    training, validation = _load(arguments.data, config)
    model = rebuild_float32(arguments.run / "averaged.keras", config)
    trained_by = str(read_run(arguments.run).get("command", "countenance models train"))
    request = ExportRequest(
        version=arguments.version,
        command=export_command(trained_by, version=arguments.version),
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


def _config(path: Path | None) -> TrainingConfig:
    from models.expression.training_config import DEFAULT_CONFIG, read_config

    return read_config(path or DEFAULT_CONFIG)


def _run_config(run: Path) -> TrainingConfig:
    from models.expression.training_config import config_from_run

    return config_from_run(run)


def _load(data: Path, config: TrainingConfig) -> tuple[PackedFaces, PackedFaces]:
    from models.expression.learning_commands import load_parts

    return load_parts(data, config)


def _outside(data: Path, config: TrainingConfig, validation: PackedFaces) -> Sequence[UInt8Array]:
    from models.expression.augmentation import spoiled_copies
    from models.expression.corpus import load_outside

    outside = load_outside(
        data,
        side_px=config.training.stored_side_px,
        validation_share=config.training.validation_share,
        progress=_progress("reading others"),
    )
    # A folder that holds none of them still has faces that can be spoiled.
    return outside or spoiled_copies(validation.grey, seed=config.training.seed)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelsError(f"cannot read {path}: {error.strerror}") from error


def _progress(what: str, *, unit: str = " pictures") -> Any:
    from models.expression.learning_commands import progress_bar

    return progress_bar(what, unit=unit)


def _use_tensorflow() -> None:
    """Let Keras run on TensorFlow, whatever trained the network: the converter knows no other backend."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
