"""The command `countenance bench`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

_STREET_EXAMPLES = """\
examples:
  countenance bench street --viewers 1,2,4,8 --out street.json
  countenance bench street --viewers 2 --seconds 60 --data DIR --out street.json

DIR holds films of real people under videos/; without it two made-up viewers are performed.
Measure on a quiet machine: agents and servers share its cores.
"""

_CLASSIFY_EXAMPLES = """\
examples:
  countenance bench classify --out classify.json
  countenance bench classify --data DIR --out classify.json     also says what each variant costs in accuracy
  countenance bench classify --artifact out/expression --out classify.json

The same network in every runtime, one after the other, round after round: LiteRT int8, LiteRT float32,
tf.function and Keras predict; 1 and 2 threads; 1, 8, 32 and 64 crops a call. The headline is one thread, one crop.
"""

_EDGE_EXAMPLES = """\
examples:
  countenance bench edge --data DIR --out edge.json
  countenance bench edge --data DIR --no-recall --out edge.json      times only: a minute instead of several

DIR holds the peers' files under weights/, films under videos/, and the evaluation sets. Single inferences take turns
on one thread; with tracking, the agent itself is timed on the films (`countenance-agent bench-films`).
"""


_AGGREGATE_EXAMPLES = """\
examples:
  countenance bench aggregate --out aggregate.json
  countenance bench aggregate --sessions 100,5000 --frames 60000 --out aggregate.json

One aggregate worker folds, merges and commits encoded entries on a PostgreSQL of its own, a tenth of a second of every
session at a time. The JSON says how many frames a second that were, and whether a lease was lost; a COPY of one plain
row a frame stands beside it.
"""


def add_bench_commands(subparsers: Any) -> None:
    """Add `bench` with its benchmarks to the subcommands of `countenance`."""
    bench = subparsers.add_parser("bench", help="measure", description="Measure, and write figures as JSON.")
    kinds = bench.add_subparsers(dest="benchmark", metavar="BENCHMARK", required=True)
    street = kinds.add_parser(
        "street",
        help="agents to timeline, everything on this machine, more and more viewers",
        description="Run N agents and the whole platform on this machine; say up to which N each viewer is held.",
        epilog=_STREET_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    street.add_argument(
        "--viewers", type=_levels, default=(1, 2, 4, 8), metavar="N,N", help="levels (default: 1,2,4,8)"
    )
    street.add_argument(
        "--seconds",
        type=_seconds,
        default=20.0,
        metavar="S",
        help="length of a level, 5 to 600 (default: 20)",
    )
    street.add_argument("--data", type=Path, metavar="DIR", help="folder with films of real people")
    street.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="where the figures go")
    street.set_defaults(handler=_street)
    _add_classify(kinds)
    _add_edge(kinds)
    _add_aggregate(kinds)


def _add_aggregate(kinds: Any) -> None:
    aggregate = kinds.add_parser(
        "aggregate",
        help="encoded score entries to committed packs: one aggregate worker",
        description="Say how many frames a second one aggregate worker commits, for several numbers of sessions.",
        epilog=_AGGREGATE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    aggregate.add_argument(
        "--sessions",
        type=_session_counts,
        default=(100, 1_000, 5_000),
        metavar="N,N",
        help="numbers of sessions (default: 100,1000,5000)",
    )
    aggregate.add_argument(
        "--frames",
        type=_frame_count,
        default=150_000,
        metavar="N",
        help="about how many frames each time, 1000 to 10000000 (default: 150000)",
    )
    aggregate.add_argument(
        "--out", type=Path, required=True, metavar="FILE.json", help="where the figures go"
    )
    aggregate.set_defaults(handler=_aggregate)


def _aggregate(arguments: argparse.Namespace) -> int:
    from cloud.bench.aggregate import run_aggregate

    run_aggregate(arguments.sessions, frames=arguments.frames, out=arguments.out)
    return 0


def _add_classify(kinds: Any) -> None:
    classify = kinds.add_parser(
        "classify",
        help="the expression network: LiteRT int8 and float32, tf.function, Keras predict",
        description="Time the shipped expression network in every runtime, and say what int8 costs in accuracy.",
        epilog=_CLASSIFY_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    classify.add_argument("--data", type=Path, metavar="DIR", help="folder with test sets, for the accuracy")
    classify.add_argument(
        "--artifact", type=Path, metavar="DIR", help="expression artifact (default: the shipped one)"
    )
    classify.add_argument(
        "--row-seconds",
        type=_row_seconds,
        default=6.0,
        metavar="S",
        help="time for each row of the table, 0.1 to 120 (default: 6)",
    )
    classify.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="where the figures go")
    classify.set_defaults(handler=_classify)


def _add_edge(kinds: Any) -> None:
    edge = kinds.add_parser(
        "edge",
        help="the face detector against MediaPipe, YuNet and Ultra-Light, alone and with tracking",
        description="Time the shipped face detector beside its peers, and the agent's whole view of real films.",
        epilog=_EDGE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    edge.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder with peers, films and sets"
    )
    edge.add_argument(
        "--artifact", type=Path, metavar="DIR", help="detector artifact (default: the shipped one)"
    )
    edge.add_argument(
        "--row-seconds",
        type=_row_seconds,
        default=6.0,
        metavar="S",
        help="time for each comparison, 0.1 to 120 (default: 6)",
    )
    edge.add_argument("--frames", type=int, default=300, help="most frames of each film (default: 300)")
    edge.add_argument("--no-recall", action="store_true", help="leave the recall out")
    edge.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="where the figures go")
    edge.set_defaults(handler=_edge)


def _edge(arguments: argparse.Namespace) -> int:
    from cloud.bench.edge import run_edge

    run_edge(
        data=arguments.data,
        out=arguments.out,
        artifact=arguments.artifact,
        seconds=arguments.row_seconds,
        frames=arguments.frames,
        with_recall=not arguments.no_recall,
    )
    return 0


def _classify(arguments: argparse.Namespace) -> int:
    from cloud.bench.classify import run_classify

    run_classify(
        out=arguments.out,
        data=arguments.data,
        artifact=arguments.artifact,
        seconds=arguments.row_seconds,
    )
    return 0


def _street(arguments: argparse.Namespace) -> int:
    from cloud.bench.street import run_street
    from cloud.demo.stoppable import run_stoppable

    return run_stoppable(
        lambda: run_street(
            arguments.viewers, seconds=arguments.seconds, data=arguments.data, out=arguments.out
        )
    )


def _levels(text: str) -> tuple[int, ...]:
    return _numbers(text, most=40, example="1,2,4")


def _session_counts(text: str) -> tuple[int, ...]:
    return _numbers(text, most=20_000, example="100,1000")


def _numbers(text: str, *, most: int, example: str) -> tuple[int, ...]:
    try:
        levels = tuple(int(part) for part in text.split(","))
    except ValueError:
        levels = ()
    if not levels or min(levels) < 1 or max(levels) > most:
        raise argparse.ArgumentTypeError(f"give numbers of 1 to {most} with commas between, as {example}")
    return levels


def _frame_count(text: str) -> int:
    frames = int(text) if text.isdecimal() else 0
    if not 1_000 <= frames <= 10_000_000:
        raise argparse.ArgumentTypeError("give 1000 to 10000000 frames")
    return frames


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 5 <= seconds <= 600:
        raise argparse.ArgumentTypeError("give 5 to 600 seconds")
    return seconds


def _row_seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 120:
        raise argparse.ArgumentTypeError("give 0.1 to 120 seconds")
    return seconds
