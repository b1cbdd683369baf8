"""The command `countenance demo`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from cloud.errors import DemoError

_EXAMPLES = """\
examples:
  countenance demo                          two made-up viewers, about a minute in all; writes out/demo
  countenance demo --out /tmp/shown         write somewhere else
  countenance demo --camera 0               you, at your camera, for the length of the trailer
  countenance demo --camera clip.mp4        a film of somebody who agreed to it

Making the films, the servers and the processes all happens on this machine; nothing leaves it.
"""


def add_demo_command(subparsers: Any) -> None:
    """Add `demo` to the subcommands of `countenance`."""
    parser = subparsers.add_parser(
        "demo",
        help="play a trailer to made-up viewers and draw their timelines",
        description="Play a trailer to viewers over real WebRTC and draw their timelines.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/demo"), metavar="DIR", help="folder for results"
    )
    parser.add_argument(
        "--camera",
        metavar="0|FILE",
        help="a camera's number or a film, instead of the made-up viewers; using it is your consent",
    )
    parser.set_defaults(handler=_run)


def _run(arguments: argparse.Namespace) -> int:
    from cloud.demo.run import run_demo
    from cloud.demo.stoppable import run_stoppable

    camera: str | None = arguments.camera
    if camera is not None and not camera.isdecimal() and not os.path.isfile(camera):  # noqa: PTH113
        raise DemoError(f"there is no camera or film {camera!r}")
    return run_stoppable(lambda: run_demo(arguments.out, camera=camera))
