"""A second teacher: a MobileNet that starts from weights learned on the identities of VGGFace2.

Every convolution is followed by a batch normalisation, whose statistics `face_network.start_from_faces` takes from
real training faces, so that before the first step the network computes what its source did.  The first blocks can
stay as they are: they cost most of the time, at the highest resolution, and know least about expressions.

References:
    Howard et al. (2017), MobileNets, arXiv:1704.04861.
    Savchenko (2019), HSE_FaceRec_tf, https://github.com/HSE-asavchenko/HSE_FaceRec_tf.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
from keras import layers

from models.expression.taxonomy import N_OUTPUTS
from models.training.expression.networks.fast_layers import (
    FastBatchNormalization,
    FastConv2D,
    FastDepthwiseConv2D,
    FixedConv2D,
    FixedDepthwiseConv2D,
)
from models.training.expression.networks.mobile_weights import BLOCK_CHANNELS, STEM_CHANNELS

HALVING_BLOCKS = frozenset({2, 4, 6, 12})
"""Blocks, counted from 1, whose depthwise convolution halves the map."""

INPUT_GAIN = 50.0
"""A standardised crop has a spread of 1 where the source's input, in grey levels, has one of about 50."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileNetworkSettings:
    """Shape of the network, and how many of its blocks (with the stem, if any) are not trained."""

    input_side_px: int = 112
    dropout: float = 0.2
    frozen_blocks: int = 0
    block_channels: tuple[int, ...] = BLOCK_CHANNELS


def build_mobile_network(settings: MobileNetworkSettings) -> keras.Model:
    """Build the untrained network.

    Returns:
        A Keras model from "crop", float32 (n, side, side, 1) in [-3, 3], to "logits", float32 (n, 7).  Its
        convolutions are `conv0`, `conv1` and so on, each followed by `norm0`, `norm1` and so on.
    """
    side = settings.input_side_px
    crop = keras.Input((side, side, 1), name="crop")
    x = _convolve(crop, STEM_CHANNELS, kernel=3, stride=2, index=0, fixed=settings.frozen_blocks > 0)
    for block, channels in enumerate(settings.block_channels, start=1):
        fixed = block <= settings.frozen_blocks
        x = _convolve(
            x, None, kernel=3, stride=2 if block in HALVING_BLOCKS else 1, index=2 * block - 1, fixed=fixed
        )
        x = _convolve(x, channels, kernel=1, index=2 * block, fixed=fixed)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(settings.dropout, name="dropout")(x)
    logits = layers.Dense(N_OUTPUTS, dtype="float32", name="logits")(x)
    return keras.Model(crop, logits, name="mobile_teacher")


def _convolve(
    x: keras.KerasTensor, channels: int | None, *, kernel: int, stride: int = 1, index: int, fixed: bool
) -> keras.KerasTensor:
    """Convolve, normalise and clip; without `channels` each channel has its own kernel."""
    name = f"conv{index}"
    if channels is None:
        if fixed:
            return FixedDepthwiseConv2D(kernel, stride, name=name)(x)
        x = FastDepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=name)(x)
    else:
        if fixed:
            return FixedConv2D(channels, kernel, stride, name=name)(x)
        x = FastConv2D(channels, kernel, stride, padding="same", use_bias=False, name=name)(x)
    x = FastBatchNormalization(momentum=0.98, epsilon=1e-5, name=f"norm{index}")(x)
    return layers.ReLU(max_value=6.0, name=f"relu{index}")(x)
