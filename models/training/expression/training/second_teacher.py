"""A second teacher from elsewhere: Open Model Zoo's emotions-recognition-retail-0003, which reads anger where ours does not.

It says nothing of disgust and of "other": there our own teachers have the whole say.

| | |
|---|---|
| files | `weights/openvino_emotions_retail_0003/` of a data folder (Apache-2.0) |
| input | 64 px, B, G, R, 0 to 255 |
| output | neutral, happy, sad, surprise, anger; sum 1 |
| runtime | the PyPI package `openvino` |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.expression.taxonomy import LABELS, N_LABELS

UInt8Array = npt.NDArray[np.uint8]
Float64Array = npt.NDArray[np.float64]
Reader = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Turns crops, float32 (64, 3, 64, 64), B, G, R, into shares, float32 (64, 5)."""

NETWORK_FILE = Path("weights") / "openvino_emotions_retail_0003" / "emotions-recognition-retail-0003-int8.xml"
ORDER = ("neutral", "happy", "sad", "surprised", "angry")
KNOWN = np.array([LABELS.index(name) for name in ORDER])

SIDE_PX, BATCH = 64, 64
ZOOM = 1.1
"""Each face is also shown this much closer; chosen on validation pictures, where 1.0 and 1.1 read best."""

_LEAST = 1e-6


def open_second_teacher(data: Path, *, threads: int = 1) -> Reader:
    """Load the network of a data folder.

    Raises:
        DatasetError: the file or the package `openvino` is missing.
    """
    path = data / NETWORK_FILE
    if not path.exists():
        raise DatasetError(f"no second teacher: {NETWORK_FILE.as_posix()} is not in the data folder")
    try:
        import openvino
    except ImportError:
        raise DatasetError("the second teacher needs a package: pip install openvino") from None
    core = openvino.Core()
    network = core.read_model(path)
    network.reshape([BATCH, 3, SIDE_PX, SIDE_PX])
    compiled = core.compile_model(network, "CPU", {"INFERENCE_NUM_THREADS": threads})
    return lambda crops: np.asarray(compiled(crops)[0], np.float32).reshape(BATCH, len(ORDER))


def ask_second_teacher(
    pictures: Sequence[UInt8Array],
    read: Reader,
    *,
    progress: Callable[[range], Iterable[int]] = iter,
) -> Float64Array:
    """Return what the second teacher says, float64 (n, 6) with 0 for disgust: its mean over four looks at each face.

    Args:
        pictures: uint8 (h, w) or (h, w, 3), R, G, B, each one upright face.
        read: from `open_second_teacher`.
        progress: wraps the iteration over batches.
    """
    said = np.zeros((len(pictures), N_LABELS), np.float64)
    for start in progress(range(0, len(pictures), BATCH)):
        some = pictures[start : start + BATCH]
        crops = np.zeros((BATCH, 3, SIDE_PX, SIDE_PX), np.float32)
        for zoom in (1.0, ZOOM):
            crops[: len(some)] = [_prepared(picture, zoom) for picture in some]
            for looked in (crops, np.ascontiguousarray(crops[..., ::-1])):
                said[start : start + BATCH, KNOWN] += read(looked)[: len(some)] / 4
    return said


def mix_teachers(own: npt.ArrayLike, second: npt.ArrayLike, *, share: float) -> Float64Array:
    """Give the second teacher its share of the say among the five labels that it knows.

    Args:
        own: float (n, 7), our teachers' probabilities.
        second: float (n, 6), from `ask_second_teacher`.
        share: in [0, 1].

    Returns:
        float64 (n, 7), rows sum to what those of `own` do; disgust and "other" as our teachers say.
    """
    mixed = np.array(own, np.float64)
    ours, theirs = mixed[:, KNOWN], np.asarray(second, np.float64)[:, KNOWN]
    total = ours.sum(axis=1, keepdims=True)
    ours = ours / np.maximum(total, _LEAST)
    theirs = theirs / np.maximum(theirs.sum(axis=1, keepdims=True), _LEAST)
    mixed[:, KNOWN] = total * ((1 - share) * ours + share * theirs)
    return mixed


def _prepared(picture: UInt8Array, zoom: float) -> npt.NDArray[np.float32]:
    code = cv2.COLOR_GRAY2BGR if picture.ndim == 2 else cv2.COLOR_RGB2BGR
    edges = [round(side * (1 - 1 / zoom) / 2) for side in picture.shape[:2]]
    inner = picture[edges[0] : picture.shape[0] - edges[0], edges[1] : picture.shape[1] - edges[1]]
    shrinks = min(inner.shape[:2]) > SIDE_PX
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    small = cv2.resize(cv2.cvtColor(inner, code), (SIDE_PX, SIDE_PX), interpolation=method)
    return np.asarray(small.transpose(2, 0, 1), np.float32)
