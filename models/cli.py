"""The `countenance models` commands; TensorFlow is loaded only inside the handlers that need it."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.errors import ModelsError
from models.expression.loading import EXPRESSION_DIR
from models.runtime.arguments import above_zero, whole_number

_EXAMPLES = """\
examples:
  countenance models train --data DIR --out out/run --minutes 70
  KERAS_BACKEND=torch countenance models train --data DIR --config teacher.toml --faces FILE.dat --out out/teacher
  KERAS_BACKEND=torch countenance models distil --data DIR --teacher out/teacher --out out/run
  countenance models prune --data DIR --run out/run --keep 0.6 --soft-labels out/run/labels --out out/pruned
  countenance models export --data DIR --run out/run --out out/expression
  countenance models evaluate --data DIR --artifact out/expression --out out/evaluation.json --record
  countenance models card --metrics out/evaluation.json --out out/expression.md
  countenance models predict holiday.jpg --json

DIR holds the known archives (fer2013plus.zip, rafdb.zip, muxspace112.zip), or a CSV with the columns
file,label[,split], or pictures as [split/]label/picture.jpg. Test splits are never learned from.
"""


LEARNING = "models.training.expression.commands.training"
DISTILLING = "models.training.expression.commands.distilling"
EXPORTING = "models.training.expression.commands.exporting"
MEASURING = "models.training.expression.commands.evaluation"
DEVELOPING = "models.training.expression.commands.developing"
BROADENING = "models.training.expression.commands.broadening"
AVERAGING = "models.training.expression.commands.averaging"


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
    _add_distil(commands)
    _add_broaden(commands)
    _add_average(commands)
    _add_prune(commands)
    _add_quantise(commands)
    _add_choose(commands)
    _add_develop(commands)
    _add_certain(commands)
    _add_compare(commands)
    _add_calibrate(commands)
    _add_framing(commands)
    _add_smooth(commands)
    _add_export(commands)
    _add_evaluate(commands)
    _add_card(commands)
    from models.detector_cli import add_detector_commands
    from models.predict.cli import add_predict_command

    add_predict_command(commands)

    add_detector_commands(commands)


def _command(commands: Any, name: str, summary: str, example: str, *, module: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(handler=_handler(name, module))
    return parser


def _handler(name: str, module: str) -> Callable[[argparse.Namespace], int]:
    def run(arguments: argparse.Namespace) -> int:
        # Here and not above: the platform's own commands must start without any of this.
        commands = importlib.import_module(module)
        try:
            return int(getattr(commands, name)(arguments))
        except ModelsError as error:
            print(f"countenance models: {error}", file=sys.stderr)
            return 2

    return run


def _add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with labelled faces")


def _add_start(options: Any) -> None:
    options.add_argument(
        "--start", type=Path, metavar="KERAS", help="a network of the same shape to start from"
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="TOML",
        help="configuration: a file, or the name of a shipped one, such as teacher.toml (default: student.toml)",
    )


def _add_train(commands: Any) -> None:
    parser = _command(
        commands,
        "train",
        "train a network",
        "countenance models train --data DIR --out out/run --minutes 70",
        module=LEARNING,
    )
    _add_data(parser)
    _add_config(parser)
    starts = parser.add_mutually_exclusive_group()
    starts.add_argument(
        "--faces",
        type=Path,
        metavar="FILE",
        help="face-recognition weights to start a teacher from: dlib's .dat, or a MobileNet's .json, as the network needs",
    )
    _add_start(starts)
    parser.add_argument("--soft-labels", type=Path, metavar="PATH", help="a teacher's answers to learn from")
    _add_run_options(parser)


def _add_distil(commands: Any) -> None:
    parser = _command(
        commands,
        "distil",
        "let teachers label the training pictures, and train a student on what they said",
        "countenance models distil --data DIR --teacher out/teacher --config student.toml --out out/run",
        module=DISTILLING,
    )
    _add_data(parser)
    _add_config(parser)
    parser.add_argument(
        "--teacher",
        type=Path,
        action="append",
        metavar="RUN",
        help="what train wrote for a teacher; repeat it for an ensemble (default: the soft labels that ship)",
    )
    parser.add_argument(
        "--add-labels",
        type=Path,
        metavar="PATH",
        help="earlier teachers' soft labels, averaged with the answers of each --teacher",
    )
    parser.add_argument(
        "--add-weight",
        type=float,
        help="share of --add-labels, in [0, 1] (default: 0.5)",
    )
    parser.add_argument(
        "--views",
        type=whole_number(1),
        metavar="N",
        help="let each --teacher answer for N distorted and blended views, and train on those",
    )
    _add_start(parser)
    parser.add_argument("--labels-only", action="store_true", help="stop after writing the soft labels")
    _add_run_options(parser)


def _add_broaden(commands: Any) -> None:
    parser = _command(
        commands,
        "broaden",
        "go on with a second teacher, unlabelled faces and faces at rest that are made to frown",
        "KERAS_BACKEND=torch countenance models broaden --data DIR --config student_broad.toml --out out/broad",
        module=BROADENING,
    )
    _add_data(parser)
    _add_config(parser)
    parser.add_argument(
        "--start", type=Path, metavar="KERAS", help="network to go on from (default: the shipped one)"
    )
    parser.add_argument(
        "--soft-labels",
        type=Path,
        metavar="PATH",
        help="earlier teachers' answers (default: those that ship)",
    )
    _add_run_options(parser)


def _add_average(commands: Any) -> None:
    parser = _command(
        commands,
        "average",
        "write the weighted mean of the weights of several runs, which keeps more of each than it loses",
        "countenance models average out/broad:0.8 out/earlier:0.2 --out out/averaged",
        module=AVERAGING,
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN:SHARE", help="what train wrote, and how much it counts"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the new run")


def _add_prune(commands: Any) -> None:
    parser = _command(
        commands,
        "prune",
        "drop the channels that matter least from a trained network, and let it recover",
        "countenance models prune --data DIR --run out/run --keep 0.6 --out out/pruned",
        module=LEARNING,
    )
    _add_data(parser)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="what train or distil wrote")
    parser.add_argument(
        "--keep", type=float, default=0.6, help="share of inner channels (default: %(default)s)"
    )
    parser.add_argument(
        "--epochs", type=whole_number(1), default=12, help="epochs to recover (default: %(default)s)"
    )
    parser.add_argument(
        "--learning-rate", type=above_zero, default=0.02, help="peak rate (default: %(default)s)"
    )
    parser.add_argument("--soft-labels", type=Path, metavar="PATH", help="a teacher's answers to learn from")
    _add_run_options(parser)


def _add_threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--threads", type=whole_number(0), default=0, help="intra-op threads (default: all cores)"
    )


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for checkpoints and history"
    )
    parser.add_argument("--minutes", type=above_zero, help="wall-clock limit; the schedule is fitted to it")
    _add_threads(parser)
    parser.add_argument("--resume", action="store_true", help="go on after the last finished epoch in --out")


def _add_quantise(commands: Any) -> None:
    parser = _command(
        commands,
        "quantise",
        "write int8 and float TFLite files of a trained network",
        "countenance models quantise --data DIR --run out/run --out out/quantised",
        module=EXPORTING,
    )
    _add_data(parser)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="what train wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    parser.add_argument(
        "--aware-steps",
        type=whole_number(0),
        default=0,
        help="also train with int8 rounding for this many batches",
    )
    parser.add_argument(
        "--soft-labels", type=Path, metavar="PATH", help="a teacher's answers for that training"
    )


def _add_choose(commands: Any) -> None:
    parser = _command(
        commands,
        "choose",
        "compare networks, and means of several, on validation pictures: by this a teacher or student is chosen",
        "countenance models choose --data DIR old/averaged.keras new/averaged.keras old/averaged.keras,new/averaged.keras",
        module=MEASURING,
    )
    _add_data(parser)
    _add_config(parser)
    parser.add_argument(
        "networks",
        nargs="+",
        metavar="KERAS[,KERAS...]",
        help="what train wrote; several with commas between them answer with their mean; the first is the measure",
    )
    parser.add_argument(
        "--mirrored", action="store_true", help="take each answer's mean with that about the mirror image"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    _add_threads(parser)


def _add_develop(commands: Any) -> None:
    parser = _command(
        commands,
        "develop",
        "score networks on pictures unlike those they learned from: by this and `choose`, never by one alone, a network is chosen",
        "countenance models develop --data DIR out/run/averaged.keras",
        module=DEVELOPING,
    )
    _add_data(parser)
    _add_config(parser)
    parser.add_argument(
        "networks",
        nargs="+",
        type=Path,
        metavar="KERAS",
        help="what train wrote; run.json beside it states its prior",
    )
    parser.add_argument(
        "--against", type=Path, metavar="KERAS", help="the network to be replaced (default: the shipped one)"
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    _add_threads(parser)


def _add_certain(commands: Any) -> None:
    parser = _command(
        commands,
        "certain",
        "find from which confidence on answers are right often enough, at home and on development pictures",
        "countenance models certain --data DIR --artifact out/expression --record",
        module=DEVELOPING,
    )
    _add_data(parser)
    _add_config(parser)
    _add_artifact(parser)
    parser.add_argument("--record", action="store_true", help="keep the confidences in the manifest")
    _add_threads(parser)


def _add_compare(commands: Any) -> None:
    parser = _command(
        commands,
        "compare",
        "measure what making a network smaller cost: accuracy against the first file, size, time",
        "countenance models compare --data DIR float32.tflite int8.tflite --out out/compare.json",
        module=MEASURING,
    )
    _add_data(parser)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.tflite", help="the first is the measure")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="where the figures go")


def _add_calibrate(commands: Any) -> None:
    parser = _command(
        commands,
        "calibrate",
        "fit temperature and confidence threshold on validation pictures, and store them in the manifest",
        "countenance models calibrate --data DIR --artifact out/expression",
        module=EXPORTING,
    )
    _add_data(parser)
    _add_config(parser)
    _add_artifact(parser)
    parser.add_argument(
        "--region", metavar="CODE", help="store them for one region alone (ISO 3166, such as DE or US-IL)"
    )


def _add_framing(commands: Any) -> None:
    parser = _command(
        commands,
        "framing",
        "try how faces should lie in the crop, on validation pictures sent through detector, crop and codec",
        "countenance models framing --data DIR --out out/framing.json",
        module=MEASURING,
    )
    _add_data(parser)
    _add_config(parser)
    _add_artifact(parser)
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="also write the figures here")


def _add_smooth(commands: Any) -> None:
    parser = _command(
        commands,
        "smooth",
        "fit the filter over time on synthetic tracks of validation pictures",
        "countenance models smooth --data DIR --artifact out/expression --record",
        module=EXPORTING,
    )
    _add_data(parser)
    _add_config(parser)
    _add_artifact(parser)
    parser.add_argument("--record", action="store_true", help="also store the filter in the manifest")


def _add_export(commands: Any) -> None:
    parser = _command(
        commands,
        "export",
        "quantise, calibrate and write the whole artifact with its manifest",
        "countenance models export --data DIR --run out/run --out out/expression --version 0.1.0",
        module=EXPORTING,
    )
    _add_data(parser)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="what train wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="artifact folder")
    parser.add_argument("--version", default="0.1.0", help="version for the manifest (default: %(default)s)")


def _add_evaluate(commands: Any) -> None:
    parser = _command(
        commands,
        "evaluate",
        "measure the shipped artifacts: accuracy, street, detectors, groups, slices, with peers beside them",
        "countenance models evaluate --data DIR --out out/evaluation.json",
        module="models.audit.commands",
    )
    _add_data(parser)
    _add_artifact(parser)
    parser.add_argument(
        "--detector", type=Path, metavar="DIR", help="detector's artifact (default: the shipped one)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="where the figures go")
    parser.add_argument(
        "--before", type=Path, metavar="FILE.json", help="an earlier evaluation, for a before/after table"
    )
    parser.add_argument(
        "--skip",
        action="append",
        default=[],
        choices=("street", "detectors", "groups", "parity", "slices", "outsiders", "clips"),
        help="leave a part out; may be repeated",
    )
    parser.add_argument(
        "--haar-python",
        type=Path,
        metavar="FILE",
        help="interpreter with OpenCV below 5 (default: what `make peers` made)",
    )
    parser.add_argument(
        "--limit", type=whole_number(1), metavar="N", help="a quick look: about N random pictures of each set"
    )
    parser.add_argument(
        "--threads", type=whole_number(1), default=1, help="LiteRT threads (default: %(default)s)"
    )
    parser.add_argument("--no-latency", action="store_true", help="leave out the timing of runtimes")
    parser.add_argument("--record", action="store_true", help="also store the headline in the manifest")
    parser.add_argument("--json", action="store_true", help="print the headline as one line of JSON")


def _add_card(commands: Any) -> None:
    parser = _command(
        commands,
        "card",
        "render a model card from measured figures",
        "countenance models card --metrics out/evaluation.json --out out/expression.md\n"
        "  countenance models card --of face_detector --metrics out/evaluation.json --out out/face_detector.md",
        module="models.cards.commands",
    )
    parser.add_argument(
        "--of",
        choices=("expression", "face_detector"),
        default="expression",
        help="which artifact (default: %(default)s)",
    )
    parser.add_argument(
        "--artifact", type=Path, metavar="DIR", help="artifact folder (default: the shipped one)"
    )
    parser.add_argument(
        "--metrics", type=Path, required=True, metavar="FILE.json", help="what evaluate wrote"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.md", help="where the card goes")


def _add_artifact(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--artifact",
        type=Path,
        default=EXPRESSION_DIR,
        metavar="DIR",
        help="artifact folder (default: the shipped one)",
    )
