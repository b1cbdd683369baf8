"""Plain residual networks that an int8 runtime likes.

Only 3x3 and 1x1 convolutions, batch normalisation that folds into them, ReLU, additions and one average
pool: every operator has a full-int8 kernel, and no activation needs a look-up table.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import keras
from keras import layers

from models.expression.taxonomy import N_OUTPUTS
from models.training.expression.networks.fast_layers import FastBatchNormalization, FastConv2D


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    """Shape of a residual network; `stages` lists (channels, blocks), each stage halving the map but the first."""

    input_side_px: int = 56
    stem_channels: int = 24
    stages: tuple[tuple[int, int], ...] = ((24, 1), (48, 1), (96, 2), (160, 1))
    inner_channels: tuple[int, ...] = ()
    """Width between the two convolutions of each block; empty: that of its stage. Pruning narrows it."""
    dropout: float = 0.2


def build_network(settings: NetworkSettings, *, fast: bool = False) -> keras.Model:
    """Build an untrained network.

    Args:
        settings: widths and depths.
        fast: use the layers of `fast_layers`, for training; the same weights in the same order.

    Returns:
        A Keras model from "crop", float32 (n, side, side, 1) in [-3, 3], to "logits", float32 (n, 7) in the
        order of `taxonomy.LABELS`, then `taxonomy.OTHER_COLUMN`.
    """
    side = settings.input_side_px
    make = _Layers(
        *((FastConv2D, FastBatchNormalization) if fast else (layers.Conv2D, layers.BatchNormalization))
    )
    crop = keras.Input((side, side, 1), name="crop")
    x = make.conv_bn(crop, settings.stem_channels, stride=2, name="stem")
    for name, channels, inner, stride in block_shapes(settings):
        x = make.residual(x, channels, inner=inner, stride=stride, name=name)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(settings.dropout, name="dropout")(x)
    logits = layers.Dense(N_OUTPUTS, dtype="float32", name="logits")(x)
    return keras.Model(crop, logits, name="expression")


def block_shapes(settings: NetworkSettings) -> list[tuple[str, int, int, int]]:
    """Return name, channels, inner channels and stride of every block, in order."""
    shapes: list[tuple[str, int, int, int]] = []
    for stage, (channels, blocks) in enumerate(settings.stages):
        for block in range(blocks):
            inner = settings.inner_channels[len(shapes)] if settings.inner_channels else channels
            stride = 2 if stage > 0 and block == 0 else 1
            shapes.append((f"s{stage}b{block}", channels, inner, stride))
    return shapes


def count_macs(model: keras.Model) -> int:
    """Count multiply-accumulates of all convolutions and dense layers for one picture."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            _, height, width, channels = layer.output.shape
            total += height * width * channels * prod(layer.kernel.shape[:3])
        elif isinstance(layer, layers.DepthwiseConv2D):
            total += prod(layer.output.shape[1:3]) * prod(layer.kernel.shape)
        elif isinstance(layer, layers.Dense):
            total += prod(layer.kernel.shape)
    return total


@dataclass(frozen=True, slots=True)
class _Layers:
    """The two kinds of layer that hold weights, plain or fast, and the blocks made of them."""

    convolution: type[layers.Conv2D]
    normalisation: type[layers.BatchNormalization]

    def residual(
        self, x: keras.KerasTensor, channels: int, *, inner: int, stride: int, name: str
    ) -> keras.KerasTensor:
        y = self.conv_bn(x, inner, stride=stride, name=f"{name}_a")
        y = self.conv_bn(y, channels, name=f"{name}_b", activate=False)
        if stride != 1 or x.shape[-1] != channels:
            x = self.conv_bn(x, channels, kernel=1, stride=stride, name=f"{name}_skip", activate=False)
        return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))

    def conv_bn(
        self,
        x: keras.KerasTensor,
        channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        name: str,
        activate: bool = True,
    ) -> keras.KerasTensor:
        x = self.convolution(
            channels,
            kernel,
            stride,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"{name}_conv",
        )(x)
        x = self.normalisation(momentum=0.98, epsilon=1e-3, name=f"{name}_bn")(x)
        return layers.ReLU(name=f"{name}_act")(x) if activate else x
