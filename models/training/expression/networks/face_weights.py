"""Read the layers of dlib's face-recognition network, the CC0 weights of the package face-recognition-models.

The file is dlib's own serialisation; of it this reads what a convolution and an affine layer hold, which is
all there is before the pooled embedding.

References:
    King (2017), dlib_face_recognition_resnet_model_v1, https://github.com/davisking/dlib-models (CC0).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError

Float32Array = npt.NDArray[np.float32]

WEIGHTS_FILE = "dlib_face_recognition_resnet_model_v1.dat"
N_CONVOLUTIONS = 29
_TAGS = re.compile(rb"con_4|affine_")


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceLayer:
    """One convolution with the affine layer behind it: y = gain * (conv(x) + bias) + offset.

    `kernel` is float32 (height, width, in, out); the other three are float32 (out,).
    """

    kernel: Float32Array
    bias: Float32Array
    gain: Float32Array
    offset: Float32Array


def read_face_layers(path: Path) -> tuple[FaceLayer, ...]:
    """Return the 29 convolutions in the order of the data's way through the network.

    Raises:
        DatasetError: the file cannot be read or is another network.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"cannot read the face-recognition weights {path.name}: {error.strerror}"
        ) from error
    found = [(m.group(), m.end()) for m in _TAGS.finditer(content)]
    tags = [tag for tag, _ in found]
    if tags != [b"con_4", b"affine_"] * N_CONVOLUTIONS:
        raise DatasetError(f"{path.name} is not {WEIGHTS_FILE}")
    try:
        layers = []
        inputs = 3
        for index in range(0, len(found), 2):
            values, after = _read_tensor(content, found[index][1])
            filters, after = _read_integer(content, after)
            side, after = _read_integer(content, after)
            affine, _ = _read_tensor(content, found[index + 1][1])
            kernel = values[:-filters].reshape(filters, inputs, side, side)
            layers.append(
                FaceLayer(
                    kernel=np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)),
                    bias=values[-filters:],
                    gain=affine[:filters],
                    offset=affine[filters:],
                )
            )
            inputs = filters
    except (ValueError, IndexError) as error:
        raise DatasetError(f"{path.name} is damaged: {error}") from error
    return tuple(layers)


def _read_integer(content: bytes, start: int) -> tuple[int, int]:
    # One control byte (length; the high bit is the sign), then the bytes, lowest first.
    length = content[start] & 0x0F
    value = int.from_bytes(content[start + 1 : start + 1 + length], "little")
    return (-value if content[start] & 0x80 else value), start + 1 + length


def _read_tensor(content: bytes, start: int) -> tuple[Float32Array, int]:
    _version, start = _read_integer(content, start)
    count = 1
    for _ in range(4):
        size, start = _read_integer(content, start)
        count *= size
    return np.frombuffer(content, "<f4", count, start).astype(np.float32), start + 4 * count
