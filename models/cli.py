"""The `countenance models` commands; TensorFlow is loaded only inside the handlers that need it."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import ModelsError
from models.expression.loading import EXPRESSION_DIR, load_expression

if TYPE_CHECKING:
    from models.expression.datasets import PackedFaces
    from models.expression.training_config import TrainingConfig
    from models.manifest import Manifest

_EXAMPLES = """\
examples:
  countenance models train --data DIR --out out/run --minutes 70
  countenance models export --data DIR --run out/run --out out/expression
  countenance models evaluate --data DIR --artifact out/expression --out out/evaluation.json --record
  countenance models card --metrics out/evaluation.json --out out/expression.md
  countenance models predict face.jpg --json

DIR holds the known archives (fer2013plus.zip, rafdb.zip, muxspace112.zip), or a CSV with the columns
file,label[,split], or pictures as [split/]label/picture.jpg. Test splits are never learned from.
"""


def add_models_commands(subparsers: Any) -> None:
    """Add `models` with its subcommands to the top-level parser.

    Args:
        subparsers: what `ArgumentParser.add_subparsers` returned. Each handler is stored as `handler` and takes
            the parsed arguments and returns an exit status.
    """
    models = subparsers.add_parser(
        "models",
        help="train, quantise, calibrate, measure and try the networks",
        description="Make and measure the networks that Countenance ships.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = models.add_subparsers(dest="models_command", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_quantise(commands)
    _add_calibrate(commands)
    _add_export(commands)
    _add_evaluate(commands)
    _add_card(commands)
    _add_predict(commands)
    with contextlib.suppress(ModuleNotFoundError):
        from models.face_detector.cli import add_detector_commands

        add_detector_commands(commands)


def _command(commands: Any, name: str, handler: Any, summary: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(handler=_guarded(handler))
    return parser


def _guarded(handler: Any) -> Any:
    def run(arguments: argparse.Namespace) -> int:
        try:
            return int(handler(arguments))
        except ModelsError as error:
            print(f"countenance models: {error}", file=sys.stderr)
            return 2

    return run


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with labelled faces")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="TOML", help="configuration (default: the shipped street.toml)"
    )


def _add_train(commands: Any) -> None:
    parser = _command(
        commands,
        "train",
        _train,
        "train a network",
        "countenance models train --data DIR --out out/run --minutes 70",
    )
    _add_data(parser)
    _add_config(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for checkpoints and history"
    )
    parser.add_argument("--minutes", type=float, help="wall-clock limit; the schedule is fitted to it")
    parser.add_argument("--threads", type=int, default=0, help="intra-op threads (default: all cores)")
    parser.add_argument("--resume", action="store_true", help="go on after the last finished epoch in --out")


def _add_quantise(commands: Any) -> None:
    parser = _command(
        commands,
        "quantise",
        _quantise,
        "write int8 and float TFLite files of a trained network",
        "countenance models quantise --data DIR --run out/run --out out/quantised",
    )
    _add_data(parser)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="what train wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")


def _add_calibrate(commands: Any) -> None:
    parser = _command(
        commands,
        "calibrate",
        _calibrate,
        "fit temperature and confidence threshold on validation pictures, and store them in the manifest",
        "countenance models calibrate --data DIR --artifact out/expression",
    )
    _add_data(parser)
    _add_config(parser)
    _add_artifact(parser)


def _add_export(commands: Any) -> None:
    parser = _command(
        commands,
        "export",
        _export,
        "quantise, calibrate and write the whole artifact with its manifest",
        "countenance models export --data DIR --run out/run --out out/expression --version 0.1.0",
    )
    _add_data(parser)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="what train wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="artifact folder")
    parser.add_argument("--version", default="0.1.0", help="version for the manifest (default: %(default)s)")


def _add_evaluate(commands: Any) -> None:
    parser = _command(
        commands,
        "evaluate",
        _evaluate,
        "measure an artifact on every test set, peers beside it",
        "countenance models evaluate --data DIR --out out/evaluation.json",
    )
    _add_data(parser)
    _add_artifact(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="where the figures go")
    parser.add_argument("--threads", type=int, default=1, help="LiteRT threads (default: %(default)s)")
    parser.add_argument("--no-latency", action="store_true", help="leave out the timing of runtimes")
    parser.add_argument("--record", action="store_true", help="also store the headline in the manifest")
    parser.add_argument("--json", action="store_true", help="print the headline as JSON")


def _add_card(commands: Any) -> None:
    parser = _command(
        commands,
        "card",
        _card,
        "render the model card from measured figures",
        "countenance models card --metrics out/evaluation.json --out out/expression.md",
    )
    _add_artifact(parser)
    parser.add_argument(
        "--metrics", type=Path, required=True, metavar="FILE.json", help="what evaluate wrote"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.md", help="where the card goes")


def _add_predict(commands: Any) -> None:
    parser = _command(
        commands,
        "predict",
        _predict,
        "read the expression in pictures that are face crops",
        "countenance models predict face.jpg --opt-out disgust --json",
    )
    parser.add_argument(
        "images", nargs="+", type=Path, metavar="IMAGE", help="a picture cut to one upright face"
    )
    _add_artifact(parser)
    parser.add_argument("--variant", default="int8", choices=("int8", "float32"), help="default: %(default)s")
    parser.add_argument(
        "--opt-out", action="append", default=[], metavar="LABEL", help="leave an expression out"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per picture")


def _add_artifact(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--artifact",
        type=Path,
        default=EXPRESSION_DIR,
        metavar="DIR",
        help="artifact folder (default: the shipped one)",
    )


def _train(arguments: argparse.Namespace) -> int:
    _quiet_tensorflow()
    from models.expression.architectures import NetworkSettings, build_network
    from models.expression.train import describe_run, train

    config = _config(arguments.config)
    if arguments.threads:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    training, validation = _load(arguments.data, config)
    arguments.out.mkdir(parents=True, exist_ok=True)
    facts = describe_run(
        config,
        build_network(NetworkSettings(**config.network)),
        n_training=len(training),
        n_validation=len(validation),
    )
    minutes = f" --minutes {arguments.minutes:g}" if arguments.minutes else ""
    facts["command"] = f"countenance models train --data DIR --out RUN{minutes}"
    facts["network"] = dict(config.network)
    (arguments.out / "run.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    result = train(
        config,
        training=training,
        validation=validation,
        out=arguments.out,
        limit_s=arguments.minutes * 60 if arguments.minutes else None,
        resume=arguments.resume,
    )
    print(f"averaged network in {result.model_path}; validation: {json.dumps(dict(result.validation))}")
    return 0


def _quantise(arguments: argparse.Namespace) -> int:
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


def _calibrate(arguments: argparse.Namespace) -> int:
    _quiet_tensorflow()
    from dataclasses import replace

    from models.expression.engines import litert_predictor
    from models.expression.export import calibrate_on_validation
    from models.manifest import write_manifest

    artifact = load_expression(arguments.artifact)
    _, validation = _load(arguments.data, _config(arguments.config))
    side = artifact.input_side_px
    parameters, metrics = calibrate_on_validation(
        validation,
        int8=litert_predictor(artifact.manifest.read("int8"), side_px=side),
        float32=litert_predictor(artifact.manifest.read("float32"), side_px=side),
    )
    write_manifest(
        replace(
            artifact.manifest,
            parameters={**artifact.manifest.parameters, **parameters},
            metrics={**artifact.manifest.metrics, "validation": metrics},
        )
    )
    print(json.dumps({**parameters, **metrics}, indent=2))
    return 0


def _export(arguments: argparse.Namespace) -> int:
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
            model, training=training, validation=validation, out=arguments.out, request=request, config=config
        )
    write_notice(arguments.out)
    print(
        json.dumps(
            {"parameters": manifest.parameters, "validation": manifest.metrics["validation"]}, indent=2
        )
    )
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    _quiet_tensorflow()
    from models.expression.engines import litert_predictor, mini_xception_predictor
    from models.expression.evaluate import evaluate, load_test_sets
    from models.expression.latency import limit_tensorflow, time_variants

    if not arguments.no_latency:
        limit_tensorflow(arguments.threads)

    artifact = load_expression(arguments.artifact)
    manifest, side = artifact.manifest, artifact.input_side_px
    weights = sorted(arguments.data.glob("weights/oarriaga/*mini_XCEPTION*.hdf5"))
    body = evaluate(
        load_test_sets(arguments.data, _progress("reading")),
        int8=litert_predictor(manifest.read("int8"), side_px=side, threads=arguments.threads),
        float32=litert_predictor(manifest.read("float32"), side_px=side, threads=arguments.threads),
        peers={"mini_xception": mini_xception_predictor(weights[0])} if weights else {},
        temperature=artifact.temperature,
        threshold=artifact.confident_above,
        digest=manifest.variant("int8").sha256,
    )
    body |= _circumstances(manifest)
    if not arguments.no_latency:
        body["latency"] = time_variants(manifest, threads=arguments.threads)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(body, indent=2) + "\n", "utf-8")
    if arguments.record:
        from models.expression.export import with_metrics

        with_metrics(manifest, "test", body["headline"])
    print(json.dumps(body["headline"], indent=None if arguments.json else 2))
    return 0


def _card(arguments: argparse.Namespace) -> int:
    from models.cards.render import render_card
    from models.manifest import load_manifest

    figures = json.loads(arguments.metrics.read_text("utf-8"))
    arguments.out.write_text(render_card(load_manifest(arguments.artifact), figures), "utf-8")
    print(f"wrote {arguments.out}")
    return 0


def _predict(arguments: argparse.Namespace) -> int:
    from models.expression.datasets import decode_picture
    from models.expression.engines import litert_predictor
    from models.expression.inference import opt_out_mask, score_logits
    from models.expression.taxonomy import LABELS

    artifact = load_expression(arguments.artifact)
    predict = litert_predictor(artifact.manifest.read(arguments.variant), side_px=artifact.input_side_px)
    crops = [decode_picture(_read(path), path.name) for path in arguments.images]
    mask = opt_out_mask(arguments.opt_out)
    scores = score_logits(predict(crops), temperature=artifact.temperature, opted_out=mask)
    for index, path in enumerate(arguments.images):
        shares = {
            label: round(float(scores.probabilities[index, i]), 4)
            for i, label in enumerate(LABELS)
            if not mask[i]
        }
        best = max(shares, key=lambda label: shares[label]) if shares else None
        answer = {
            "image": str(path),
            "expression": best,
            "confidence": round(float(scores.confidence[index]), 4),
            "confident": bool(scores.confidence[index] >= artifact.confident_above),
            "sentiment": round(float(scores.sentiment[index]), 4),
            "probabilities": shares,
        }
        if arguments.json:
            print(json.dumps(answer))
        else:
            ranked = ", ".join(f"{k} {v:.2f}" for k, v in sorted(shares.items(), key=lambda item: -item[1]))
            print(f"{path}: {best} ({ranked})")
    return 0


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


def _circumstances(manifest: Manifest) -> dict[str, Any]:
    import platform
    from datetime import UTC, datetime
    from importlib.metadata import version

    from models.expression.latency import cpu_flags

    packages = ("numpy", "opencv-python-headless", "tensorflow-cpu", "tensorflow", "keras", "ai-edge-litert")
    versions = {}
    for name in packages:
        with contextlib.suppress(ModuleNotFoundError):
            versions[name] = version(name)
    return {
        "artifact": {"version": manifest.version, "temperature": manifest.parameters["temperature"]},
        "measured": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": {"architecture": platform.machine(), "cores": os.cpu_count(), "cpu_flags": cpu_flags()},
        "versions": {"python": platform.python_version(), **versions},
    }


def _progress(what: str) -> Any:
    from tqdm import tqdm

    def wrap(items: Iterable[Any]) -> Iterable[Any]:
        bar: Iterable[Any] = tqdm(items, desc=what, unit=" pictures", disable=not sys.stderr.isatty())
        return bar

    return wrap


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelsError(f"cannot read {path}: {error.strerror}") from error


def _quiet_tensorflow() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
