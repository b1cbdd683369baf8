"""Face detectors to measure ours against, each at its published operating point.

| peer | file under `weights/` | input | score from | suppression |
|---|---|---|---|---|
| MediaPipe BlazeFace short range | mediapipe_tflite/face_detection_short_range.tflite | 128 px, letterboxed | .5 | .3 |
| YuNet n | yunet/yunet_n_320_320.onnx, by OpenCV | longer side 320 px | .6 | .3 |
| Ultra-Light RFB-320 | ultralight/version-RFB-320_without_postprocessing.tflite | 320 x 240, stretched | .7 | .3 |
| OpenCV Haar, frontal face | in OpenCV below 5 (`make peers`) | as it comes | 3 neighbours | - |

References:
    Bazarevsky et al. (2019), arXiv:1907.05047. Wu et al. (2023), YuNet, Machine Intelligence Research 20:656-665.
    Linzaer (2019), Ultra-Light-Fast-Generic-Face-Detector-1MB. Viola & Jones (2001), CVPR.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.face_detector.runtime import Detector

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
FindFaces = Callable[[UInt8Array], Float32Array]
"""Turns a frame, uint8 (h, w, 3) in B, G, R, into boxes, float32 (n, 4) xyxy in widths and heights."""

PEERS_PYTHON = Path("peers") / "bin" / "python"
"""Interpreter with an OpenCV that still has Haar cascades, beside the environment this runs in."""

_YUNET_SIDE_PX, _YUNET_SCORE, _YUNET_IOU = 320, 0.6, 0.3
_ULTRALIGHT_SIZE, _ULTRALIGHT_SCORE, _ULTRALIGHT_IOU = (320, 240), 0.7, 0.3
_ULTRALIGHT_STRIDES = (8, 16, 32, 64)
_ULTRALIGHT_SIDES_PX = ((10, 16, 24), (32, 48), (64, 96), (128, 192, 256))
_CENTRE_VARIANCE, _SIZE_VARIANCE = 0.1, 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Peers:
    """The peers that could be opened, and why the others could not."""

    found: dict[str, FindFaces]
    absent: dict[str, str]


def open_peers(data: Path, *, haar_python: Path | None = None) -> Peers:
    """Open every peer whose files are there.

    Args:
        data: folder with `weights/`.
        haar_python: interpreter with OpenCV below 5; where `make peers` puts it if None.
    """
    weights = data / "weights"
    makers: dict[str, tuple[Callable[[Path], FindFaces], Path]] = {
        "mediapipe": (_blazeface, weights / "mediapipe_tflite" / "face_detection_short_range.tflite"),
        "yunet": (_yunet, weights / "yunet" / "yunet_n_320_320.onnx"),
        "ultralight": (
            _ultralight,
            weights / "ultralight" / "version-RFB-320_without_postprocessing.tflite",
        ),
        "haar": (HaarWorker, haar_python or Path(sys.prefix) / PEERS_PYTHON),
    }
    found: dict[str, FindFaces] = {}
    absent: dict[str, str] = {}
    for name, (make, path) in makers.items():
        if not path.exists():
            absent[name] = (
                "no OpenCV below 5 beside this environment; `make peers` installs one"
                if name == "haar"
                else f"no {path.relative_to(data).as_posix()} in the data folder"
            )
            continue
        try:
            found[name] = make(path)
        except (cv2.error, AttributeError, DatasetError, OSError, ValueError) as error:
            absent[name] = f"{type(error).__name__}: {error}"
    return Peers(found=found, absent=absent)


def _blazeface(path: Path) -> FindFaces:
    detector = Detector(path.read_bytes())
    return lambda frame: detector.detect(frame).boxes_xyxy


def _yunet(path: Path) -> FindFaces:
    # OpenCV 5 warns about a target that nobody asked for.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    network: Any = cv2.FaceDetectorYN.create(
        str(path), "", (_YUNET_SIDE_PX, _YUNET_SIDE_PX), _YUNET_SCORE, _YUNET_IOU, 5000
    )

    def find(frame: UInt8Array) -> Float32Array:
        height, width = frame.shape[:2]
        scale = _YUNET_SIDE_PX / max(height, width)
        canvas = np.zeros((_YUNET_SIDE_PX, _YUNET_SIDE_PX, 3), np.uint8)
        small = cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
        canvas[: small.shape[0], : small.shape[1]] = small
        rows = network.detect(canvas)[1]
        if rows is None:
            return np.empty((0, 4), np.float32)
        corner, size = rows[:, :2], rows[:, 2:4]
        inner = np.array([small.shape[1], small.shape[0]], np.float32)
        return np.concatenate([corner / inner, (corner + size) / inner], axis=1).astype(np.float32)

    return find


def _ultralight(path: Path) -> FindFaces:
    from ai_edge_litert.interpreter import Interpreter

    network = Interpreter(model_content=path.read_bytes(), num_threads=1)
    network.allocate_tensors()
    feed = network.get_input_details()[0]["index"]
    boxes_at, scores_at = (detail["index"] for detail in network.get_output_details())
    priors = ultralight_priors()

    def find(frame: UInt8Array) -> Float32Array:
        pixels = cv2.cvtColor(cv2.resize(frame, _ULTRALIGHT_SIZE), cv2.COLOR_BGR2RGB)
        network.set_tensor(feed, ((pixels.astype(np.float32) - 127.0) / 128.0)[None])
        network.invoke()
        scores = network.get_tensor(scores_at)[0, :, 1]
        keep = scores >= _ULTRALIGHT_SCORE
        boxes = decode_priors(network.get_tensor(boxes_at)[0][keep], priors[keep])
        return boxes[_suppress(boxes, scores[keep], _ULTRALIGHT_IOU)]

    return find


def ultralight_priors() -> Float32Array:
    """Return the 4,420 prior boxes of Ultra-Light at 320 x 240: float32 (4420, 4), centre x, y, width, height."""
    width, height = _ULTRALIGHT_SIZE
    rows = []
    for stride, sides in zip(_ULTRALIGHT_STRIDES, _ULTRALIGHT_SIDES_PX, strict=True):
        across, down = width / stride, height / stride
        for j in range(int(np.ceil(down))):
            for i in range(int(np.ceil(across))):
                centre = ((i + 0.5) / across, (j + 0.5) / down)
                rows += [(*centre, side / width, side / height) for side in sides]
    return np.array(rows, np.float32).clip(0.0, 1.0)


def decode_priors(raw: Float32Array, priors: Float32Array) -> Float32Array:
    """Turn offsets from prior boxes into corners: float32 (n, 4) xyxy, in widths and heights."""
    centre = raw[:, :2] * _CENTRE_VARIANCE * priors[:, 2:] + priors[:, :2]
    half = np.exp(raw[:, 2:] * _SIZE_VARIANCE) * priors[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)


class HaarWorker:
    """OpenCV's Haar cascade in an interpreter of its own, because OpenCV 5 has none.

    Args:
        python: an interpreter with OpenCV below 5.

    Raises:
        DatasetError: it does not start.
    """

    def __init__(self, python: Path) -> None:
        script = Path(__file__).with_name("haar_worker.py")
        self._process = subprocess.Popen(  # noqa: S603 (our own arguments)
            [str(python), "-I", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to_worker, self._from_worker = self._process.stdin, self._process.stdout
        try:
            self(np.zeros((64, 64, 3), np.uint8))
        except DatasetError:
            self.close()
            raise

    def __call__(self, frame: UInt8Array) -> Float32Array:
        """Return boxes, float32 (n, 4) xyxy in widths and heights."""
        grey = np.ascontiguousarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))
        height, width = grey.shape
        try:
            self._to_worker.write(np.array([height, width], "<u4").tobytes() + grey.tobytes())
            self._to_worker.flush()
            count = int(np.frombuffer(self._read(4), "<u4")[0])
            boxes = np.frombuffer(self._read(count * 16), "<i4").reshape(count, 4).astype(np.float32)
        except OSError as error:
            raise DatasetError(f"the Haar worker ended: {error.strerror}") from None
        size = np.array([width, height], np.float32)
        return np.concatenate([boxes[:, :2] / size, (boxes[:, :2] + boxes[:, 2:]) / size], axis=1)

    def close(self) -> None:
        """End the worker."""
        with contextlib.suppress(OSError):
            self._to_worker.close()
        self._process.wait(10)
        self._from_worker.close()

    def _read(self, length: int) -> bytes:
        content = self._from_worker.read(length)
        if len(content) < length:
            raise DatasetError("the Haar worker ended; see what it printed above")
        return content


def _suppress(boxes: Float32Array, scores: Float32Array, iou: float) -> list[int]:
    order = list(np.argsort(-scores))
    kept: list[int] = []
    while order:
        best = int(order.pop(0))
        kept.append(best)
        order = [i for i in order if _overlap(boxes[best], boxes[i]) <= iou]
    return kept


def _overlap(a: Float32Array, b: Float32Array) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = float(np.prod(sides.clip(0)))
    areas = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]))
    return shared / max(areas - shared, 1e-12)
