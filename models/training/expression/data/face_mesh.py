"""Where brows, lids, nose and lips lie: MediaPipe's face landmarker, read from its `.task` file.

References:
    Kartynnik et al. (2019), arXiv:1907.06724; Grishchenko et al. (2020), Attention Mesh, arXiv:2006.10962.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.runtime.quiet import quiet_standard_error
from models.training.expression.data.reshaping import EYE_CORNERS, N_POINTS

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

TASK_FILE = Path("weights") / "mediapipe_face_landmarker" / "face_landmarker.task"
"""Where a data folder keeps it."""

_MEMBER = "face_landmarks_detector.tflite"
_SIDE_PX = 256
_MARGIN = 0.18
"""Border around an aligned crop, in its sides: the network expects a face with room around it."""

_PRESENT = 4.0
"""Logit of a face's presence from which its landmarks are believed."""

_NOSE_TIP = 1
_FRONTAL = 0.12
"""How far from the middle between the outer eye corners the nose's tip may lie, in their distances."""


class FaceMesh:
    """Finds 478 landmarks in aligned crops of one face."""

    def __init__(self, task: Path) -> None:
        """Load the network inside a `.task` file.

        Raises:
            DatasetError: the file is missing or holds no such network.
        """
        from ai_edge_litert.interpreter import Interpreter

        try:
            with zipfile.ZipFile(task) as opened, quiet_standard_error():
                self._network = Interpreter(model_content=opened.read(_MEMBER), num_threads=1)
                self._network.allocate_tensors()
        except (OSError, KeyError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
            raise DatasetError(f"cannot read face landmarks from {task}: {error}") from None
        self._input = self._network.get_input_details()[0]["index"]
        self._outputs = [o["index"] for o in self._network.get_output_details()]

    def frontal_points(self, crop: UInt8Array) -> Float32Array | None:
        """Return the landmarks of a face that looks ahead, in the crop's pixels.

        Args:
            crop: uint8 (side, side) or (side, side, 3), R, G, B.

        Returns:
            float32 (478, 2); None where no face is found, or one that is turned away.
        """
        side = crop.shape[0]
        border = round(side * _MARGIN)
        colour = cv2.cvtColor(crop, cv2.COLOR_GRAY2RGB) if crop.ndim == 2 else crop
        framed = cv2.copyMakeBorder(colour, border, border, border, border, cv2.BORDER_REPLICATE)
        pixels = cv2.resize(framed, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_LINEAR)
        self._network.set_tensor(self._input, pixels[None].astype(np.float32) / 255)
        self._network.invoke()
        given = [self._network.get_tensor(index).reshape(-1) for index in self._outputs]
        present = max(float(values[0]) for values in given if len(values) == 1)
        if present < _PRESENT:
            return None
        [marks] = [values.reshape(N_POINTS, 3)[:, :2] for values in given if len(values) == 3 * N_POINTS]
        points = np.asarray(marks * (framed.shape[0] / _SIDE_PX) - border, np.float32)
        return points if _is_frontal(points) else None


def _is_frontal(points: Float32Array) -> bool:
    first, last = points[EYE_CORNERS[0]], points[EYE_CORNERS[1]]
    across = last - first
    along = float((points[_NOSE_TIP] - first) @ across / max(float(across @ across), 1e-6))
    return abs(along - 0.5) < _FRONTAL
