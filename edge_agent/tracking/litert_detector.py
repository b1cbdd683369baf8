"""Run the face network with LiteRT on one thread."""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_agent.camera.frames import UInt8Array
from edge_agent.errors import DetectorError
from edge_agent.tracking.geometry import Float32Array
from models.runtime.manifest import Manifest
from models.runtime.quiet import quiet_standard_error

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    # ARM boards run the runtime under its old name.
    from tflite_runtime.interpreter import Interpreter

_UNIT_FROM_PIXEL = 127.5


class LiteRtNetwork:
    """A detector variant in memory; implements `edge_agent.tracking.detection.FaceNetwork`."""

    def __init__(self, content: bytes, *, detector_id: int) -> None:
        """Load a variant's verified bytes.

        Args:
            content: the `.tflite` file.
            detector_id: its number on the wire, 1..65535.

        Raises:
            DetectorError: the runtime refuses the file, or its tensors are not a face network's.
        """
        try:
            with quiet_standard_error():
                self._interpreter = Interpreter(model_content=content, num_threads=1)
                self._interpreter.allocate_tensors()
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        except (RuntimeError, ValueError) as error:
            raise DetectorError(f"the face detector cannot be loaded: {type(error).__name__}") from error
        self._id = detector_id
        self._input = inputs[0]
        by_width = {int(detail["shape"][-1]): detail for detail in outputs}
        if len(inputs) != 1 or set(by_width) != {16, 1} or self._input["shape"][-1] != 3:
            raise DetectorError("the face detector has other tensors than a face network")
        self._boxes, self._scores = by_width[16], by_width[1]
        self._lookup = _input_lookup(self._input)

    @property
    def detector_id(self) -> int:
        """Number of the variant on the wire."""
        return self._id

    def infer(self, image: UInt8Array) -> tuple[Float32Array, Float32Array]:
        """Return raw boxes (1, 896, 16) and raw scores (1, 896, 1); see the port."""
        self._interpreter.set_tensor(
            self._input["index"], image if self._lookup is None else self._lookup[image]
        )
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise DetectorError("the face detector failed") from error
        return self._output(self._boxes), self._output(self._scores)

    def _output(self, detail: dict[str, Any]) -> Float32Array:
        raw = self._interpreter.get_tensor(detail["index"])
        if detail["dtype"] is np.float32:
            return np.asarray(raw, np.float32)
        scale, zero = detail["quantization"]
        return np.asarray((raw.astype(np.float32) - zero) * scale, np.float32)


def load_network(manifest: Manifest, variant_id: str) -> LiteRtNetwork:
    """Load one variant of the detector family; its number on the wire is its place in the manifest, from 1.

    Raises:
        DetectorError: the runtime refuses it.
        models.errors.ModelsError: the variant is unknown, missing or altered.
    """
    variant = manifest.variant(variant_id)
    return LiteRtNetwork(manifest.read(variant_id), detector_id=1 + manifest.variants.index(variant))


def _input_lookup(detail: dict[str, Any]) -> Any:
    """Return the input value of each of the 256 pixel values; None where the network takes pixels."""
    if detail["dtype"] is np.uint8:
        return None
    unit = np.arange(256, dtype=np.float32) / np.float32(_UNIT_FROM_PIXEL) - np.float32(1.0)
    if detail["dtype"] is np.float32:
        return unit
    scale, zero = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.round(unit / scale) + zero, limits.min, limits.max).astype(detail["dtype"])
