"""Send test pictures down the street: agent's crop, codec, seal, opening, and the worker's network.

The street is other people's code: `countenance rehearse --stream` runs the real agent and the real classify stage
as processes of their own, so that nothing of either is imported here. Test pictures are cut close to the
face, so each is framed in mid-grey by half its side, as chosen on *training* pictures (RAF-DB and FER2013: the
widest share of faces found among borders of a quarter, a half and one side, in grey, repeated and mirrored).
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.runtime.manifest import load_manifest
from models.training.expression.data.cutting import BORDER_SHARE, frame_picture

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Progress = Callable[[Iterable[Any]], Iterable[Any]]

COMMAND_MODULE = "cloud.cli"
LANES, WORTH_TWO = 2, 64
"""Streets at once, and pictures from which a second one is worth its start."""

GREY48 = ("grey48_q60",)
"""The agent's last and smallest encoding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What arrived of n pictures.

    Attributes:
        sent: bool (n,), False where the agent found no face or refused its quality.
        logits: float32 (n, k); rows of unsent pictures are NaN.
        skips: why pictures were not sent, with counts.
        steps: how the sent ones were encoded, with counts.
        envelope_bytes: (n,) length on the wire, 0 where unsent.
    """

    sent: BoolArray
    logits: Float32Array
    skips: dict[str, int]
    steps: dict[str, int]
    envelope_bytes: npt.NDArray[np.int64]


def is_street_here() -> bool:
    """Tell whether the studio's side is installed beside this package."""
    try:
        return importlib.util.find_spec(COMMAND_MODULE) is not None
    except ModuleNotFoundError:
        return False


def send_pictures(
    pictures: Sequence[UInt8Array],
    *,
    artifact: Path,
    ladder: Sequence[str] = (),
    border: float = BORDER_SHARE,
    progress: Progress = iter,
) -> Arrivals:
    """Send pictures down the street, in order.

    Pictures do not depend on each other, so many of them are split over two streets where there are two cores.

    Args:
        pictures: uint8 (h, w) or (h, w, 3), R, G, B, of any size.
        artifact: folder of the expression artifact to read them with.
        ladder: encodings for the agent to try; its own order if empty.
        border: as in `frame_picture`; 0 for pictures with enough around the face.
        progress: wraps the iteration, for a progress bar.

    Raises:
        DatasetError: a street ended early.
    """
    lanes = LANES if len(pictures) >= WORTH_TWO and (os.cpu_count() or 1) > 1 else 1
    # Every other picture, because neighbours are alike in what they cost.
    parts = [pictures[lane::lanes] for lane in range(lanes)]
    ended = threading.Event()
    with ThreadPoolExecutor(lanes) as pool:
        streets = [
            pool.submit(
                _send_down, part, artifact=artifact, ladder=tuple(ladder), border=border, ended=ended,
                progress=progress if lane == 0 else iter,
            )
            for lane, part in enumerate(parts)
        ]  # fmt: skip
        answers = [street.result() for street in streets]
    arrived = [answers[index % lanes][index // lanes] for index in range(len(pictures))]
    return _gather(arrived, width=load_manifest(artifact).outputs[0].shape[-1])


def _send_down(
    pictures: Sequence[UInt8Array],
    *,
    artifact: Path,
    ladder: tuple[str, ...],
    border: float,
    ended: threading.Event,
    progress: Progress,
) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", COMMAND_MODULE, "rehearse", "--stream", "--artifact", str(artifact)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as street:  # noqa: S603
        assert street.stdin is not None and street.stdout is not None
        feeder = threading.Thread(
            target=_feed, args=(street.stdin, pictures, ladder, border, ended), daemon=True
        )
        feeder.start()
        arrived = []
        for _ in progress(range(len(pictures))):
            try:
                arrived.append(json.loads(street.stdout.readline()))
            except ValueError:
                ended.set()
                street.kill()
                feeder.join()  # before the pipe that it writes to is closed here
                raise DatasetError("the rehearsed street ended early; see what it printed above") from None
        feeder.join()
    return arrived


def _feed(
    stream: IO[bytes],
    pictures: Iterable[UInt8Array],
    ladder: tuple[str, ...],
    border: float,
    ended: threading.Event,
) -> None:
    try:
        with stream:
            for picture in pictures:
                if ended.is_set():
                    return
                _, encoded = cv2.imencode(
                    ".png", frame_picture(picture, share=border), [cv2.IMWRITE_PNG_COMPRESSION, 1]
                )
                asked = {"picture": base64.b64encode(encoded.tobytes()).decode(), "ladder": ladder}
                stream.write(json.dumps(asked).encode() + b"\n")
                stream.flush()
    except OSError:
        return  # the street is gone: the reading side says so


def _gather(arrived: Sequence[dict[str, Any]], *, width: int) -> Arrivals:
    sent = np.array([a["logits"] is not None for a in arrived], np.bool_)
    logits = np.full((len(arrived), width), np.nan, np.float32)
    for index in map(int, np.flatnonzero(sent)):
        logits[index] = arrived[index]["logits"]
    return Arrivals(
        sent=sent,
        logits=logits,
        skips=_counts(a["skip"] for a in arrived),
        steps=_counts(a["step"] for a in arrived),
        envelope_bytes=np.array([a["envelope_bytes"] for a in arrived], np.int64),
    )


def _counts(values: Iterable[str | None]) -> dict[str, int]:
    found: dict[str, int] = {}
    for value in values:
        if value is not None:
            found[value] = found.get(value, 0) + 1
    return dict(sorted(found.items()))
