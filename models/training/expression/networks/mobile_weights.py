"""Read MobileNet weights learned from the identities of VGGFace2, as a TensorFlow.js graph model keeps them.

The `.json` file names every constant with its shape in the order in which the `.bin` file beside it holds them,
little-endian and without gaps.  Of these this reads the thirteen depthwise-separable blocks and the convolution
before them, whose batch normalisation is folded in.

References:
    Savchenko (2019), HSE_FaceRec_tf, https://github.com/HSE-asavchenko/HSE_FaceRec_tf.
    Howard et al. (2017), MobileNets, arXiv:1704.04861.
"""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.errors import DatasetError
from models.training.expression.networks.face_weights import FaceLayer

Float32Array = npt.NDArray[np.float32]

STEM_CHANNELS = 32
BLOCK_CHANNELS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
"""Output channels of the blocks."""

_ITEM_BYTES = {"float32": 4, "int32": 4}


def read_mobile_layers(
    path: Path, *, block_channels: tuple[int, ...] = BLOCK_CHANNELS
) -> tuple[FaceLayer, ...]:
    """Return the convolutions in order: the stem, then a depthwise (3, 3, channels, 1) and a pointwise per block.

    Args:
        path: the graph's `.json` file; the weights lie beside it.
        block_channels: output channels of the blocks that the file must have.

    Raises:
        DatasetError: a file cannot be read, or is another network.
    """
    constants = _read_constants(path)
    layers = [_layer(constants, "conv1/convolution/merged_input", "conv1_bn", (3, 3, 3, STEM_CHANNELS), path)]
    inputs = STEM_CHANNELS
    for index, channels in enumerate(block_channels, start=1):
        depthwise, pointwise = f"conv_dw_{index}", f"conv_pw_{index}"
        layers.append(
            _layer(constants, f"{depthwise}/depthwise_kernel", f"{depthwise}_bn", (3, 3, inputs, 1), path)
        )
        layers.append(
            _layer(
                constants,
                f"{pointwise}/convolution/merged_input",
                f"{pointwise}_bn",
                (1, 1, inputs, channels),
                path,
            )
        )
        inputs = channels
    return tuple(layers)


def _layer(
    constants: dict[str, Float32Array], kernel: str, normalisation: str, shape: tuple[int, ...], path: Path
) -> FaceLayer:
    channels = shape[2] if shape[3] == 1 else shape[3]
    gain = np.ones(channels, np.float32)
    if shape[3] == 1:
        gain = _constant(constants, f"{normalisation}/batchnorm_1/mul", (channels,), path)
    return FaceLayer(
        kernel=_constant(constants, kernel, shape, path),
        bias=np.zeros(channels, np.float32),
        gain=gain,
        offset=_constant(constants, f"{normalisation}/batchnorm_1/sub", (channels,), path),
    )


def _constant(
    constants: dict[str, Float32Array], name: str, shape: tuple[int, ...], path: Path
) -> Float32Array:
    if name not in constants:
        raise DatasetError(f"{path.name} is not the expected MobileNet: it has no {name}")
    if constants[name].shape != shape:
        raise DatasetError(
            f"{path.name} is not the expected MobileNet: {name} has shape {constants[name].shape}, not {shape}"
        )
    return constants[name]


def _read_constants(path: Path) -> dict[str, Float32Array]:
    """Return every float32 constant by name."""
    try:
        (group,) = json.loads(path.read_text("utf-8"))["weightsManifest"]
        (file,) = group["paths"]
        entries = [
            (str(w["name"]), tuple(int(n) for n in w["shape"]), str(w["dtype"])) for w in group["weights"]
        ]
    except OSError as error:
        raise DatasetError(
            f"cannot read the face-recognition weights {path.name}: {error.strerror}"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path.name} is no TensorFlow.js graph model of one weights file") from error
    unknown = sorted({dtype for *_, dtype in entries} - set(_ITEM_BYTES))
    if unknown:
        raise DatasetError(f"{path.name} holds constants of type {', '.join(unknown)}, not float32")
    try:
        content = (path.parent / Path(file).name).read_bytes()
    except OSError as error:
        raise DatasetError(f"cannot read the face-recognition weights {file}: {error.strerror}") from error
    expected = sum(prod(shape) * _ITEM_BYTES[dtype] for _, shape, dtype in entries)
    if len(content) != expected:
        raise DatasetError(f"{file} is damaged: {len(content)} bytes, where {path.name} describes {expected}")
    constants: dict[str, Float32Array] = {}
    start = 0
    for name, shape, dtype in entries:
        if dtype == "float32":
            values = np.frombuffer(content, "<f4", prod(shape), start)
            constants[name] = values.reshape(shape).astype(np.float32)
        start += prod(shape) * _ITEM_BYTES[dtype]
    return constants
