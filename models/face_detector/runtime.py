"""Run a detector file with LiteRT, for building, evaluating and self-tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from models.errors import TensorShapeError
from models.face_detector import decoding
from models.face_detector.decoding import Detections, Letterbox
from models.face_detector.preprocessing import letterbox_frame
from models.runtime.quiet import quiet_standard_error

Float32Array = npt.NDArray[np.float32]


class Detector:
    """One detector file on one thread: the source network or a variant of the artifact."""

    def __init__(self, content: bytes) -> None:
        """Load a TFLite file whose outputs have 16 and 1 values per anchor.

        Raises:
            TensorShapeError: its outputs are others.
        """
        with quiet_standard_error():
            self._interpreter = Interpreter(model_content=content, num_threads=1)
            self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        outputs = {int(o["shape"][-1]): int(o["index"]) for o in self._interpreter.get_output_details()}
        if set(outputs) != {1, 16}:
            raise TensorShapeError(
                f"a detector has outputs of 16 and 1 values per anchor, not {sorted(outputs)}"
            )
        self._outputs = (outputs[16], outputs[1])
        self._anchors = decoding.short_range_anchors()

    def raw_outputs(self, pixels: npt.NDArray[Any]) -> tuple[Float32Array, Float32Array]:
        """Return box values (1, 896, 16) and score logits (1, 896, 1).

        Args:
            pixels: (1, 128, 128, 3) RGB; uint8, or float32 in [-1, 1]; converted to what the file takes.
        """
        self._interpreter.set_tensor(self._input["index"], self._as_input(pixels))
        self._interpreter.invoke()
        boxes, scores = (self._interpreter.get_tensor(i) for i in self._outputs)
        return boxes, scores

    def detect(
        self, frame_bgr: npt.NDArray[np.uint8], *, min_score: float = decoding.DEFAULT_MIN_SCORE
    ) -> Detections:
        """Return the faces on one frame: uint8 (height, width, 3), BGR."""
        letterbox = decoding.letterbox_parameters(frame_bgr.shape[0], frame_bgr.shape[1])
        return self.detect_letterboxed(letterbox_frame(frame_bgr, letterbox), letterbox, min_score=min_score)

    def detect_letterboxed(
        self, pixels: npt.NDArray[np.uint8], letterbox: Letterbox, *, min_score: float
    ) -> Detections:
        """Return the faces on a frame that `letterbox_frame` has scaled."""
        return decoding.decode_detections(
            *self.raw_outputs(pixels), self._anchors, letterbox=letterbox, min_score=min_score
        )

    def timed(self, pixels: npt.NDArray[np.uint8]) -> Callable[[], Any]:
        """Return the inference alone as a call: input already converted, outputs read, nothing decoded."""
        ready = self._as_input(pixels)
        return lambda: self.raw_outputs(ready)

    def _as_input(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if pixels.dtype == self._input["dtype"]:
            return pixels
        if self._input["dtype"] == np.float32:
            return (pixels.astype(np.float32) / 127.5 - 1.0).astype(np.float32)
        return np.clip(np.rint((pixels + 1.0) * 127.5), 0, 255).astype(np.uint8)
