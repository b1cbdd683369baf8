"""Give the network a narrow beginning: most of its time goes where the picture is still large.

The source network's stem and first three blocks work on 64 x 64 maps of 24 to 28 channels and take two
thirds of its time. A 16-channel stem and one dense convolution, both halving the map, and two residual
blocks behind them see 23 pixels around each place, where the source network sees 17; they start at random and are
trained to give the features that the source network gives there (see `recover`). Everything behind them stays.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from models.training.face_detector.building.flatbuffer import Array, Operation, SourceNetwork

REPLACED_BLOCKS = 4
"""The stem and the first three blocks; the narrow beginning has as many activations, so block numbers hold."""

STEM_CHANNELS = 16
_SAME = 0
"""TFLite's Padding.SAME."""


def narrow_beginning(network: SourceNetwork, *, seed: int) -> SourceNetwork:
    """Return the network with an untrained narrow beginning in place of its first blocks.

    Args:
        network: the source network.
        seed: of the first weights.
    """
    last = front_output(network)
    split = next(i for i, o in enumerate(network.operations) if o.output == last)
    channels = len(network.constants[_bias_before(network, split)])
    front = _Front(network=network, rng=np.random.default_rng(seed))
    x = front.relu(front.convolve(network.input, 3, STEM_CHANNELS, side=3, stride=2))
    x = front.relu(front.convolve(x, STEM_CHANNELS, channels, side=3, stride=2))
    x = front.relu(front.residual(x, channels))
    x = front.relu(front.residual(x, channels), output=last)
    return replace(
        network,
        operations=(*front.operations, *network.operations[split + 1 :]),
        constants={**network.constants, **front.constants},
        names={**network.names, **front.names},
    )


def front_output(network: SourceNetwork) -> int:
    """Return the tensor that the replaced blocks compute: float32 (1, 32, 32, 32) in the source network."""
    activations = [o.output for o in network.operations if o.kind == "RELU"]
    return activations[REPLACED_BLOCKS - 1]


def _bias_before(network: SourceNetwork, split: int) -> int:
    convolutions = [o for o in network.operations[:split] if o.kind == "CONV_2D"]
    return convolutions[-1].inputs[2]


@dataclass(slots=True, kw_only=True)
class _Front:
    """Operations under construction; tensors are numbered on from the source network's."""

    network: SourceNetwork
    rng: np.random.Generator
    operations: list[Operation] = field(default_factory=list)
    constants: dict[int, Array] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def convolve(self, source: int, inputs: int, outputs: int, *, side: int, stride: int = 1) -> int:
        spread = np.sqrt(2.0 / (side * side * inputs))
        kernel = self.rng.normal(0, spread, (outputs, side, side, inputs)).astype(np.float32)
        return self._windowed("CONV_2D", source, kernel, outputs, stride)

    def residual(self, source: int, channels: int) -> int:
        kernel = self.rng.normal(0, np.sqrt(1.0 / 9), (1, 3, 3, channels)).astype(np.float32)
        spatial = self._windowed("DEPTHWISE_CONV_2D", source, kernel, channels, 1)
        return self._add("ADD", (self.convolve(spatial, channels, channels, side=1), source))

    def relu(self, source: int, *, output: int | None = None) -> int:
        return self._add("RELU", (source,), output=output)

    def _windowed(self, kind: str, source: int, kernel: Array, outputs: int, stride: int) -> int:
        weights = self._constant(kernel)
        bias = self._constant(np.zeros(outputs, np.float32))
        options = {"strideH": stride, "strideW": stride, "padding": _SAME}
        return self._add(kind, (source, weights, bias), options=options)

    def _constant(self, values: Array) -> int:
        index = self._name("weights")
        self.constants[index] = values
        return index

    def _add(
        self,
        kind: str,
        inputs: tuple[int, ...],
        *,
        options: dict[str, int] | None = None,
        output: int | None = None,
    ) -> int:
        index = self._name(kind.lower()) if output is None else output
        self.operations.append(Operation(kind=kind, inputs=inputs, output=index, options=options or {}))
        return index

    def _name(self, what: str) -> int:
        index = max(self.network.names) + 1 + len(self.names)
        self.names[index] = f"narrow_{len(self.names)}_{what}"
        return index
