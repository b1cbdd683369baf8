"""Opens our face detector and its peers for timing, each in three steps: before, inference, after.

A door from the benchmarks to code that measures models (ADR 0083); what it loads, it loads when called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cloud.bench.timing import Runner
from cloud.errors import DemoError
from models.face_detector.decoding import (
    DEFAULT_MIN_SCORE,
    decode_detections,
    letterbox_parameters,
    short_range_anchors,
)
from models.face_detector.preprocessing import letterbox_frame
from models.runtime.manifest import ARTIFACTS_DIR, Manifest, load_manifest

UInt8Array = npt.NDArray[np.uint8]

MEDIAPIPE = "MediaPipe short range"
MEDIAPIPE_FILE = "weights/mediapipe_tflite/face_detection_short_range.tflite"
ULTRALIGHT_FILES = {
    "Ultra-Light slim": "weights/ultralight/version-slim-320_without_postprocessing.tflite",
    "Ultra-Light RFB": "weights/ultralight/version-RFB-320_without_postprocessing.tflite",
}
YUNET = "YuNet"
YUNET_FILE = "weights/yunet/yunet_n_320_320.onnx"

_ULTRALIGHT_WIDTH, _ULTRALIGHT_HEIGHT = 320, 240
_ULTRALIGHT_STRIDES = (
    (8, (10.0, 16.0, 24.0)),
    (16, (32.0, 48.0)),
    (32, (64.0, 96.0)),
    (64, (128.0, 192.0, 256.0)),
)
_ULTRALIGHT_MIN_SCORE, _ULTRALIGHT_IOU = 0.7, 0.3
_YUNET_SIDE, _YUNET_MIN_SCORE, _YUNET_IOU, _YUNET_TOP = 320, 0.7, 0.3, 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedDetector:
    """One detector on one frame, taken apart.

    Attributes:
        name: ours by variant id, peers by their own.
        runtime: what runs the network.
        input_px: what the network sees.
        sha256: of its file.
        before: frame to network input.
        inference: the network alone, input ready, outputs read.
        after: outputs to boxes; None where the runtime does not give them apart.
        whole: frame to boxes; returns how many faces.
    """

    name: str
    runtime: str
    input_px: str
    sha256: str
    before: Runner
    inference: Runner
    after: Runner | None
    whole: Callable[[], int]


def detector_manifest(directory: Path | None = None) -> Manifest:
    """Return the manifest of the shipped detector, or of one in a folder."""
    return load_manifest(directory or ARTIFACTS_DIR / "face_detector")


def our_variants(manifest: Manifest) -> tuple[str, ...]:
    """Return the ids of the variants that LiteRT runs."""
    return tuple(v.id for v in manifest.variants if v.runtime == "litert")


def open_ours(manifest: Manifest, frame: UInt8Array) -> list[TimedDetector]:
    """Open every variant of our family on a frame, uint8 (h, w, 3), B, G, R."""
    return [
        _blazeface(v, manifest.read(v), frame, side_px=manifest.input.shape[1])
        for v in our_variants(manifest)
    ]


def open_mediapipe(data: Path, frame: UInt8Array) -> TimedDetector:
    """Open MediaPipe's own file.

    Raises:
        DemoError: the data folder lacks it.
    """
    return _blazeface(MEDIAPIPE, read_weights(data, MEDIAPIPE_FILE), frame, side_px=128)


def open_others(data: Path, frame: UInt8Array) -> list[TimedDetector]:
    """Open Ultra-Light and YuNet; those whose files are absent are left out."""
    found = [
        _ultralight(name, read_weights(data, file), frame)
        for name, file in ULTRALIGHT_FILES.items()
        if (data / file).is_file()
    ]
    return [*found, _yunet(data / YUNET_FILE, frame)] if (data / YUNET_FILE).is_file() else found


def read_weights(data: Path, file: str) -> bytes:
    """Read a peer's file.

    Raises:
        DemoError: the data folder lacks it.
    """
    try:
        return (data / file).read_bytes()
    except OSError:
        raise DemoError(f"{data} lacks {file}, which our detector is measured against") from None


def _blazeface(name: str, content: bytes, frame: UInt8Array, *, side_px: int) -> TimedDetector:
    from models.face_detector.runtime import Detector

    detector = Detector(content)
    letterbox = letterbox_parameters(frame.shape[0], frame.shape[1], side_px)
    pixels = letterbox_frame(frame, letterbox)
    inference = detector.timed(pixels)
    raw_boxes, raw_scores = inference()

    def before() -> object:
        # What the file takes is made here: bytes for ours, floats for MediaPipe's.
        return detector._as_input(letterbox_frame(frame, letterbox))

    def after() -> object:
        return decode_detections(
            raw_boxes, raw_scores, short_range_anchors(), letterbox=letterbox, min_score=DEFAULT_MIN_SCORE
        )

    return TimedDetector(
        name=name,
        runtime="LiteRT",
        input_px=f"{side_px} x {side_px}",
        sha256=hashlib.sha256(content).hexdigest(),
        before=before,
        inference=inference,
        after=after,
        whole=lambda: len(detector.detect(frame)),
    )


def _ultralight(name: str, content: bytes, frame: UInt8Array) -> TimedDetector:
    from ai_edge_litert.interpreter import Interpreter

    net = Interpreter(model_content=content, num_threads=1)
    net.allocate_tensors()
    feed = net.get_input_details()[0]["index"]
    by_width = {int(d["shape"][-1]): d["index"] for d in net.get_output_details()}
    priors = _ultralight_priors()

    def before() -> npt.NDArray[np.float32]:
        small = cv2.resize(frame, (_ULTRALIGHT_WIDTH, _ULTRALIGHT_HEIGHT))[..., ::-1]
        return np.asarray((small.astype(np.float32) - 127.0) / 128.0, np.float32)[None]

    def run(given: npt.NDArray[np.float32]) -> tuple[Any, Any]:
        net.set_tensor(feed, given)
        net.invoke()
        return net.get_tensor(by_width[4]), net.get_tensor(by_width[2])

    def after(outputs: tuple[Any, Any]) -> int:
        offsets, scores = outputs[0][0], outputs[1][0, :, 1]
        kept = scores > _ULTRALIGHT_MIN_SCORE
        centres = offsets[kept, :2] * 0.1 * priors[kept, 2:] + priors[kept, :2]
        sizes = np.exp(offsets[kept, 2:] * 0.2) * priors[kept, 2:]
        boxes = np.concatenate([centres - sizes / 2, sizes], axis=1)
        return len(
            cv2.dnn.NMSBoxes(boxes.tolist(), scores[kept].tolist(), _ULTRALIGHT_MIN_SCORE, _ULTRALIGHT_IOU)
        )

    ready = before()
    outputs = run(ready)
    return TimedDetector(
        name=name,
        runtime="LiteRT",
        input_px=f"{_ULTRALIGHT_WIDTH} x {_ULTRALIGHT_HEIGHT}",
        sha256=hashlib.sha256(content).hexdigest(),
        before=before,
        inference=lambda: run(ready),
        after=lambda: after(outputs),
        whole=lambda: after(run(before())),
    )


def _ultralight_priors() -> npt.NDArray[np.float32]:
    """Return centre x, y, width, height of the 4,420 priors, in picture sides."""
    rows = []
    for stride, sizes in _ULTRALIGHT_STRIDES:
        columns, lines = -(-_ULTRALIGHT_WIDTH // stride), -(-_ULTRALIGHT_HEIGHT // stride)
        for j in range(lines):
            for i in range(columns):
                for size in sizes:
                    rows.append(((i + 0.5) / columns, (j + 0.5) / lines,
                                 size / _ULTRALIGHT_WIDTH, size / _ULTRALIGHT_HEIGHT))  # fmt: skip
    return np.clip(np.array(rows, np.float32), 0.0, 1.0)


def _yunet(path: Path, frame: UInt8Array) -> TimedDetector:
    side = _YUNET_SIDE
    finder = cv2.FaceDetectorYN.create(str(path), "", (side, side), _YUNET_MIN_SCORE, _YUNET_IOU, _YUNET_TOP)
    net = cv2.dnn.readNet(str(path))
    names = net.getUnconnectedOutLayersNames()

    def before() -> UInt8Array:
        scale = side / max(frame.shape[:2])
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        canvas = np.zeros((side, side, 3), np.uint8)
        canvas[: small.shape[0], : small.shape[1]] = small
        return canvas

    blob = cv2.dnn.blobFromImage(before())

    def inference() -> object:
        net.setInput(blob)
        return net.forward(names)

    def whole() -> int:
        _, faces = finder.detect(before())
        return 0 if faces is None else len(faces)

    return TimedDetector(
        name=YUNET,
        runtime=f"OpenCV DNN {cv2.__version__}",
        input_px=f"{side} x {side}",
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        before=before,
        inference=inference,
        after=None,
        whole=whole,
    )
