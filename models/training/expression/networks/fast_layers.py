"""Convolution and batch normalisation that train fast on a CPU under the PyTorch backend.

Keras keeps kernels as (height, width, in, out), which PyTorch's bfloat16 kernels reorder on every step. These
two layers hand over memory that oneDNN takes as it is; under any other backend they are the layers they
inherit from, with the same weights. Shipped networks are rebuilt from the plain layers.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

_FIXED = {"padding": "same", "use_bias": True, "activation": "relu6", "trainable": False}


@keras.saving.register_keras_serializable("countenance")
class FastConv2D(layers.Conv2D):  # type: ignore[misc]
    """`keras.layers.Conv2D` for "same" padding without groups or dilation."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolve (n, h, w, c) with the kernel."""
        if keras.backend.backend() != "torch":
            return super().convolution_op(inputs, kernel)
        weights = keras.ops.convert_to_tensor(kernel, dtype=self.compute_dtype).permute(3, 2, 0, 1)
        return _convolve(inputs, weights, stride=self.strides[0])


@keras.saving.register_keras_serializable("countenance")
class FastDepthwiseConv2D(layers.DepthwiseConv2D):  # type: ignore[misc]
    """`keras.layers.DepthwiseConv2D` for "same" padding, one output a channel, without bias or dilation."""

    def call(self, inputs: Any) -> Any:
        """Convolve each channel of (n, h, w, c) with its own kernel."""
        if keras.backend.backend() != "torch":
            return super().call(inputs)
        kernel = keras.ops.convert_to_tensor(self.kernel, dtype=self.compute_dtype).permute(2, 3, 0, 1)
        return _convolve(inputs, kernel, stride=self.strides[0], groups=inputs.shape[-1])


@keras.saving.register_keras_serializable("countenance")
class FixedConv2D(layers.Conv2D):  # type: ignore[misc]
    """A "same" convolution with bias, clipped to [0, 6], in one pass over memory; it is never trained."""

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, **options: Any) -> None:
        super().__init__(filters, kernel_size, strides, **{**options, **_FIXED})

    def call(self, inputs: Any) -> Any:
        """Convolve (n, h, w, c)."""
        if keras.backend.backend() != "torch":
            return super().call(inputs)
        weights = keras.ops.convert_to_tensor(self.kernel, dtype=self.compute_dtype).permute(3, 2, 0, 1)
        return _convolve(inputs, weights, stride=self.strides[0], clipped_after=self.bias.value)


@keras.saving.register_keras_serializable("countenance")
class FixedDepthwiseConv2D(layers.DepthwiseConv2D):  # type: ignore[misc]
    """The like of `FixedConv2D` with a kernel for each channel."""

    def __init__(self, kernel_size: int, strides: int = 1, **options: Any) -> None:
        super().__init__(kernel_size, strides, **{**options, **_FIXED})

    def call(self, inputs: Any) -> Any:
        """Convolve each channel of (n, h, w, c) with its own kernel."""
        if keras.backend.backend() != "torch":
            return super().call(inputs)
        weights = keras.ops.convert_to_tensor(self.kernel, dtype=self.compute_dtype).permute(2, 3, 0, 1)
        return _convolve(
            inputs, weights, stride=self.strides[0], groups=inputs.shape[-1], clipped_after=self.bias.value
        )


@keras.saving.register_keras_serializable("countenance")
class FastBatchNormalization(layers.BatchNormalization):  # type: ignore[misc]
    """`keras.layers.BatchNormalization` over the last axis, with centre and scale."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalise (n, h, w, c); updates the moving statistics while training."""
        if keras.backend.backend() != "torch":
            return super().call(inputs, training=training, mask=mask)
        from torch.nn import functional

        mean, variance, gamma, beta = (
            v.value for v in (self.moving_mean, self.moving_variance, self.gamma, self.beta)
        )
        normalised = functional.batch_norm(
            inputs.permute(0, 3, 1, 2),
            mean,
            variance,
            gamma,
            beta,
            training=bool(training) and self.trainable,
            momentum=1 - self.momentum,
            eps=self.epsilon,
        )
        return normalised.permute(0, 2, 3, 1)


def _convolve(inputs: Any, weights: Any, *, stride: int, groups: int = 1, clipped_after: Any = None) -> Any:
    """Convolve (n, h, w, c) with PyTorch's weights (out, in per group, size, size), "same" as TensorFlow pads.

    With `clipped_after`, a bias (out,), no gradient is kept, and the sum is clipped to [0, 6].
    """
    import torch
    from torch.nn import functional

    pixels = inputs.permute(0, 3, 1, 2)
    size = weights.shape[-1]
    missing = max((-(-pixels.shape[-1] // stride) - 1) * stride + size - pixels.shape[-1], 0)
    before, after = missing // 2, missing - missing // 2
    if before != after:
        pixels = functional.pad(pixels, (before, after, before, after))
        before = 0
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    weights = weights.contiguous(memory_format=torch.channels_last)
    if clipped_after is None:
        convolved = functional.conv2d(pixels, weights, stride=stride, padding=before, groups=groups)
    else:
        with torch.no_grad():
            convolved = _convolve_clipped(
                pixels, weights, clipped_after, stride=stride, padding=before, groups=groups
            )
    return convolved.permute(0, 2, 3, 1)


def _convolve_clipped(pixels: Any, weights: Any, bias: Any, *, stride: int, padding: int, groups: int) -> Any:
    import torch
    from torch.nn import functional

    # PyTorch's compiler uses this operation of its own; a release without it takes the plain way below.
    fused = getattr(torch.ops.mkldnn, "_convolution_pointwise", None)
    if fused is not None and pixels.device.type == "cpu" and torch.backends.mkldnn.is_available():
        return fused(
            pixels,
            weights,
            bias,
            [padding] * 2,
            [stride] * 2,
            [1, 1],
            groups,
            "hardtanh",
            [0.0, 6.0],
            "",
        )
    return functional.relu6(functional.conv2d(pixels, weights, bias, stride, padding, groups=groups))
