"""The command `countenance models predict`."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from models.errors import ModelsError, PictureError
from models.expression.loading import EXPRESSION_DIR
from models.expression.prior import CARRIED, PRIORS, UNIFORM

EXIT_OK, EXIT_UNREADABLE = 0, 2

_EXAMPLES = """\
examples:
  countenance models predict holiday.jpg                    every face in the picture, largest first
  countenance models predict *.jpg --json                   one JSON object per picture
  countenance models predict face.png --crop                the picture already is one upright face
  countenance models predict face.jpg --opt-out disgust     leave an expression out
  countenance models predict *.jpg --prior audience         expect much neutral, as of people who watch something
  countenance models predict ann/*.jpg --neutral ann/1.jpg  one person's pictures, of which the first shows her at rest

An answer is uncertain where the network is not sure enough (confidence below the manifest's threshold), shows none of
the six expressions, or sees a face that is too small, blurred, dark, bright, turned away or cut off. It says what a
face shows, never what its owner feels. Exit status: 0, or 2 if a picture could not be read.
"""

_WORDS = {
    "low_confidence": "not sure enough",
    "out_of_scope": "none of the six expressions",
    "too_small": "face too small",
    "blurred": "blurred",
    "too_dark": "too dark",
    "too_bright": "too bright",
    "turned_away": "turned away",
    "cut_off": "cut off by the picture's edge",
    "no_face": "no face found",
}


def add_predict_command(commands: Any) -> None:
    """Add `predict` to the subcommands of `countenance models`."""
    parser = commands.add_parser(
        "predict",
        help="read the expression of every face in pictures",
        description="Find the faces in pictures, cut them as the agent does, and read their expressions.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    # A shell's *.jpg hands over a file called -a.jpg as it is.
    parser.parse_known_args = _files_first(parser)
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="a picture file")
    parser.add_argument(
        "--crop", action="store_true", help="each picture is already cut to one upright face: find none"
    )
    parser.add_argument(
        "--artifact",
        type=Path,
        default=EXPRESSION_DIR,
        metavar="DIR",
        help="expression artifact (default: the shipped one)",
    )
    parser.add_argument("--variant", default="int8", choices=("int8", "float32"), help="default: %(default)s")
    parser.add_argument(
        "--opt-out",
        action="append",
        default=[],
        metavar="LABEL",
        help="leave an expression out; may be repeated",
    )
    parser.add_argument(
        "--prior",
        default=UNIFORM,
        choices=(*PRIORS, CARRIED),
        help="how frequent expressions are expected to be; carried: as the network learned (default: %(default)s)",
    )
    parser.add_argument(
        "--neutral",
        nargs="+",
        action="extend",
        type=Path,
        default=[],
        metavar="FILE",
        help="pictures of the one person in all others, at rest: what that face always shows is taken out",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per picture")
    parser.set_defaults(handler=predict)


def predict(arguments: argparse.Namespace) -> int:
    """Read every picture; one that cannot be read is told of and does not keep the others from being read."""
    from models.predict.pictures import shown
    from models.predict.reader import PictureReader

    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a terminal cannot print is escaped, and the next picture is read.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        reader = PictureReader(
            arguments.artifact,
            variant=arguments.variant,
            opt_out=arguments.opt_out,
            is_crop=arguments.crop,
            prior=arguments.prior,
        )
        if arguments.neutral:
            reader.learn_neutral(arguments.neutral)
    except ModelsError as error:
        print(f"countenance models: {error}", file=sys.stderr)
        return EXIT_UNREADABLE
    status = EXIT_OK
    for path in arguments.images:
        try:
            found = reader.read(path)
        except PictureError as error:
            status = EXIT_UNREADABLE
            print(f"countenance models predict: {error}", file=sys.stderr)
            if arguments.json:
                print(json.dumps({"image": shown(path), "error": str(error)}))
            continue
        print(json.dumps(found) if arguments.json else describe(found), flush=True)
    return status


def describe(found: dict[str, Any]) -> str:
    """Write one picture's answer for a person."""
    faces = found["faces"]
    if not faces:
        why = ", ".join(_WORDS[reason] for reason in found["reasons"])
        return f"{found['image']}: {why} (if it is cut to one face already, add --crop)"
    head = (
        f"{found['image']}: {len(faces)} face{'s' if len(faces) > 1 else ''}, prior {found['prior']['name']}"
    )
    if found["own_neutral"]:
        head += ", own neutral taken out"
    return "\n".join([head, *(_line(number, face) for number, face in enumerate(faces, 1))])


def _files_first(parser: argparse.ArgumentParser) -> Callable[..., Any]:
    """Return the parser's own `parse_known_args`, for which a file that is there is never an option."""
    parse = parser.parse_known_args
    options = parser._option_string_actions

    def parse_files_first(args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        words = [
            f".{os.sep}{word}"
            if word.startswith("-") and word.partition("=")[0] not in options and os.path.lexists(word)
            else word
            for word in (sys.argv[1:] if args is None else args)
        ]
        return parse(words, namespace)

    return parse_files_first


def _line(number: int, face: dict[str, Any]) -> str:
    x_min, y_min, x_max, y_max = (round(v) for v in face["box_xyxy_px"])
    ranked = sorted(face["probabilities"].items(), key=lambda item: -item[1])
    others = ", ".join(f"{label} {share:.2f}" for label, share in ranked[1:] if share >= 0.005)
    said = (
        f"{face['expression']} {face['confidence']:.2f}"
        if ranked
        else "nothing (every expression is opted out)"
    )
    if face["uncertain"]:
        said = f"uncertain, perhaps {said} [{'; '.join(_WORDS[reason] for reason in face['reasons'])}]"
    return f"  {number}. x {x_min}-{x_max}, y {y_min}-{y_max}: {said}" + (f"; {others}" if others else "")
