"""Command line of the face detector: `countenance models detector build|evaluate`."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models.errors import ModelsError

_BUILD_EXAMPLES = """examples:
  countenance models detector build --data ../data --out out/detector
  countenance models detector build --data ../data --out out/detector --wheel mediapipe-0.10.21-...whl

--data needs rafdb.zip, fer2013plus.zip or both; only their training splits are read.
Without --wheel, pip downloads mediapipe==0.10.21 (about 35 MB; nothing is installed)."""

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
    build.set_defaults(handler=_build)
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

    from models.face_detector.build import STEPS, build_artifact
    from models.face_detector.wheel import obtain_wheel

    try:
        with tqdm(total=STEPS, unit="step", disable=None) as bar:

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
            )
    except ModelsError as error:
        print(f"countenance models detector build: {error}", file=sys.stderr)
        return 2
    for variant in manifest.variants:
        print(f"{variant.id:8s} {variant.size_bytes:8d} bytes  sha256 {variant.sha256[:16]}  {variant.file}")
    print(f"wrote {arguments.out}")
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    import json

    from tqdm import tqdm

    from models.face_detector.evaluate import evaluate, write_headline
    from models.face_detector.wheel import obtain_wheel
    from models.manifest import ARTIFACTS_DIR, load_manifest

    try:
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
    except ModelsError as error:
        print(f"countenance models detector evaluate: {error}", file=sys.stderr)
        return 2
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    if arguments.write_metrics:
        write_headline(manifest, figures)
    for name, value in figures["headline"].items():
        print(f"{name:36s} {value}")
    print(f"wrote {arguments.out}")
    return 0
