"""The command `countenance rehearse`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cloud.errors import ConfigError

_EXAMPLES = """\
examples:
  countenance rehearse portrait.jpg                     crop, seal, open and read one picture
  countenance rehearse --encoding grey48_q60 *.jpg      the same under the agent's smallest encoding
  countenance rehearse --stream < asked.jsonl           for programs: {"picture": base64} a line

Agent and worker are the real ones, in two processes; keys and receipt are made up for the moment. Nothing leaves
this machine and nothing is stored. Use pictures of people who agreed to it.
"""


def add_rehearse_command(subparsers: Any) -> None:
    """Add `rehearse` to the subcommands of `countenance`."""
    from models.expression.loading import EXPRESSION_DIR

    parser = subparsers.add_parser(
        "rehearse",
        help="send still pictures down the street and show what arrives",
        description="Send still pictures through crop, seal, opening and network, and show what arrives.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pictures", nargs="*", type=Path, metavar="PICTURE", help="picture files")
    parser.add_argument("--stream", action="store_true", help="read JSON lines from standard input instead")
    parser.add_argument(
        "--encoding", action="append", default=[], help="encoding to try (default: the agent's order)"
    )
    parser.add_argument("--detector", default="int8", help="the agent's variant (default: %(default)s)")
    parser.add_argument(
        "--artifact",
        type=Path,
        default=EXPRESSION_DIR,
        metavar="DIR",
        help="expression artifact (default: the shipped one)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per picture")
    parser.set_defaults(handler=_rehearse)


def _rehearse(arguments: argparse.Namespace) -> int:
    import msgspec

    from cloud.rehearsal.street import Asked, RehearsedStreet
    from models.expression.loading import load_expression

    if bool(arguments.pictures) == arguments.stream:
        raise ConfigError("name pictures, or say --stream")
    ladder = tuple(arguments.encoding)
    artifact = load_expression(arguments.artifact)

    def asked() -> Iterator[Asked]:
        if arguments.stream:
            yield from _decoded(sys.stdin.buffer)
        else:
            yield from (Asked(picture=_read(path), ladder=ladder) for path in arguments.pictures)

    with RehearsedStreet(artifact, detector=arguments.detector) as street:
        for index, arrived in enumerate(street.send(asked())):
            if arguments.stream or arguments.json:
                sys.stdout.buffer.write(msgspec.json.encode(arrived) + b"\n")
                sys.stdout.buffer.flush()
            else:
                print(f"{arguments.pictures[index]}: {_describe(arrived, artifact.temperature)}")
    return 0


def _describe(arrived: Any, temperature: float) -> str:
    from models.expression.inference import score_logits
    from models.expression.taxonomy import LABELS

    if arrived.logits is None:
        return f"not sent ({arrived.skip})"
    scores = score_logits([arrived.logits], temperature=temperature)
    shares = sorted(zip(LABELS, scores.probabilities[0], strict=True), key=lambda pair: -pair[1])
    ranked = ", ".join(f"{label} {share:.2f}" for label, share in shares[:3])
    return f"{arrived.envelope_bytes} bytes sealed ({arrived.step}); {ranked}"


def _decoded(lines: Iterable[bytes]) -> Iterator[Any]:
    import msgspec

    from cloud.rehearsal.street import Asked

    for line in lines:
        try:
            yield msgspec.json.decode(line, type=Asked)
        except msgspec.MsgspecError as error:
            raise ConfigError(f"a line of the stream is malformed: {error}") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
