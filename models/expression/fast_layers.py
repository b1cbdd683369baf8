"""Convolution and batch normalisation that train fast on a CPU under the PyTorch backend.

Keras keeps kernels as (height, width, in, out), which PyTorch's bfloat16 kernels reorder on every step. These
two layers hand over memory that oneDNN takes as it is; under any other backend they are the layers they
inherit from, with the same weights. Shipped networks are rebuilt from the plain layers.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers


@keras.saving.register_keras_serializable("countenance")
class FastConv2D(layers.Conv2D):  # type: ignore[misc]
    """`keras.layers.Conv2D` for "same" padding without groups or dilation."""

    def convolution_op(self, inputs: Any, kernel: Any) -> Any:
        """Convolve (n, h, w, c) with the kernel."""
        if keras.backend.backend() != "torch":
            return super().convolution_op(inputs, kernel)
        import torch
        from torch.nn import functional

        pixels = inputs.permute(0, 3, 1, 2)
        weights = keras.ops.convert_to_tensor(kernel, dtype=self.compute_dtype).permute(3, 2, 0, 1)
        stride, size = self.strides[0], self.kernel_size[0]
        missing = max((-(-pixels.shape[-1] // stride) - 1) * stride + size - pixels.shape[-1], 0)
        before, after = missing // 2, missing - missing // 2
        if before != after:
            pixels = functional.pad(pixels, (before, after, before, after))
            before = 0
        convolved = functional.conv2d(
            pixels.contiguous(memory_format=torch.channels_last),
            weights.contiguous(memory_format=torch.channels_last),
            stride=stride,
            padding=before,
        )
        return convolved.permute(0, 2, 3, 1)


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
