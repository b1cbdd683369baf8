"""The teacher: a residual network that starts from face-recognition weights.

Its trunk is that of dlib's 29-convolution network; each affine layer becomes a batch normalisation whose
statistics are those of real training faces, so that before the first step it computes what dlib's did. Its
input is this project's own (`preprocessing`), at 112 px, where a face is as large as dlib was trained on.

References:
    King (2017), dlib_face_recognition_resnet_model_v1 (CC0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
from keras import layers

from models.expression.taxonomy import N_OUTPUTS
from models.training.expression.networks.face_weights import FaceLayer
from models.training.expression.networks.fast_layers import FastBatchNormalization, FastConv2D

Float32Array = npt.NDArray[np.float32]

STAGES = ((32, 3), (64, 4), (128, 3), (256, 4))
"""Channels and blocks at each resolution; the last block halves the map once more."""

INPUT_GAIN = 0.2
"""A standardised crop has a spread of 1 where dlib's input, pixel / 256, has one of about 0.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceNetworkSettings:
    """Shape of the teacher's input and head."""

    input_side_px: int = 112
    dropout: float = 0.3


def build_face_network(settings: FaceNetworkSettings) -> keras.Model:
    """Build the untrained teacher.

    Returns:
        A Keras model from "crop", float32 (n, side, side, 1) in [-3, 3], to "logits", float32 (n, 7).
    """
    side = settings.input_side_px
    crop = keras.Input((side, side, 1), name="crop")
    x = _convolve(crop, 32, index=0, kernel=7, stride=2)
    x = layers.MaxPooling2D(3, 2, padding="same", name="stem_pool")(x)
    index = 1
    for stage, (channels, blocks) in enumerate(STAGES):
        for block in range(blocks):
            halves = (stage > 0 and block == 0) or (channels == 256 and block == blocks - 1)
            x = _residual(x, channels, index=index, halves=halves)
            index += 2
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(settings.dropout, name="dropout")(x)
    logits = layers.Dense(N_OUTPUTS, dtype="float32", name="logits")(x)
    return keras.Model(crop, logits, name="teacher")


def start_from_faces(
    model: keras.Model, weights: Sequence[FaceLayer], crops: Float32Array, *, input_gain: float = INPUT_GAIN
) -> None:
    """Load face-recognition weights; crops give the statistics that batch normalisation needs.

    Args:
        model: from `build_face_network` or `build_mobile_network`, changed in place.
        weights: from `read_face_layers` or `read_mobile_layers`, one for each convolution.
        crops: float32 (n, side, side, 1), a few hundred prepared training pictures.
        input_gain: spread of the source's input, where that of `crops` is 1.
    """
    for index, layer in enumerate(weights):
        convolution = model.get_layer(f"conv{index}")
        kernel = layer.kernel
        if index == 0:
            kernel = kernel.sum(axis=2, keepdims=True) * input_gain
        if convolution.use_bias:
            # A fixed layer: what follows the convolution is folded into it.
            gain = layer.gain.reshape(-1, 1) if kernel.shape[-1] == 1 else layer.gain
            convolution.set_weights([kernel * gain, layer.offset + layer.gain * layer.bias])
            continue
        convolution.set_weights([kernel])
        seen = np.asarray(
            keras.Model(model.input, convolution.output).predict(crops, batch_size=64, verbose=0), np.float32
        )
        mean, variance = seen.mean(axis=(0, 1, 2)), seen.var(axis=(0, 1, 2))
        normalisation = model.get_layer(f"norm{index}")
        gamma = layer.gain * np.sqrt(variance + normalisation.epsilon)
        beta = layer.offset + layer.gain * (layer.bias + mean)
        normalisation.set_weights([gamma, beta, mean, variance])


def _residual(x: keras.KerasTensor, channels: int, *, index: int, halves: bool) -> keras.KerasTensor:
    y = _convolve(x, channels, index=index, stride=2 if halves else 1)
    y = _convolve(y, channels, index=index + 1, activate=False)
    if halves:
        x = layers.AveragePooling2D(2, padding="same", name=f"skip{index}")(x)
    if x.shape[-1] != channels:
        # dlib adds tensors of unlike depth by taking the missing channels as zero.
        x = layers.Concatenate(name=f"widen{index}")([x, layers.Rescaling(0.0, name=f"zero{index}")(x)])
    return layers.ReLU(name=f"relu{index + 1}")(layers.Add(name=f"add{index}")([x, y]))


def _convolve(
    x: keras.KerasTensor,
    channels: int,
    *,
    index: int,
    kernel: int = 3,
    stride: int = 1,
    activate: bool = True,
) -> keras.KerasTensor:
    x = FastConv2D(channels, kernel, stride, padding="same", use_bias=False, name=f"conv{index}")(x)
    x = FastBatchNormalization(momentum=0.98, epsilon=1e-5, name=f"norm{index}")(x)
    return layers.ReLU(name=f"relu{index}")(x) if activate else x
