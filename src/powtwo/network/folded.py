"""The layers of the float network for inference, as `folding` makes them of its modules."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from powtwo.core import convolution, graph
from powtwo.core.windows import Sides, average_bits, four, pad_argument, pair


@dataclass(frozen=True)
class FoldedLayer:
    """A layer of the network for inference, batch norm folded in."""

    kind: str  # conv2d, linear, add, maxpool2d, avgpool2d, flatten
    weight: Tensor | None = None  # float64 (O, I / groups, kH, kW) or (O, I)
    bias: Tensor | None = None  # float64 (O,)
    relu: bool = False
    stride: Sides = 1
    padding: Sides = 0
    kernel: Sides = 0
    groups: int = 1
    inputs: tuple[int, ...] | None = None  # earlier layers, -1 the image; None: the layer before
    maximum: float | None = None  # where a ReLU6 cuts

    @property
    def accumulates(self) -> bool:
        """Tell whether the layer adds up; its output then has codes of its own."""
        return self.kind in ("conv2d", "linear", "add", "avgpool2d")

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Apply the layer, with its weights in the type of its inputs.

        An average is Σ x / 2^m of k ≤ 2^m positions, which integers give, and not Σ x / k.
        """
        return self.cut(self.without_relu(*inputs))

    def cut(self, x: Tensor) -> Tensor:
        """Apply the layer's ReLU or ReLU6, if it has one."""
        if self.maximum is not None:
            return x.clamp(0, self.maximum)
        return x.relu() if self.relu else x

    def without_relu(self, *inputs: Tensor) -> Tensor:
        """Apply the layer without its ReLU."""
        x = inputs[0]
        match self.kind:
            case "flatten":
                return x.flatten(1)
            case "add":
                return x + inputs[1]
            case "maxpool2d":
                if any(four(self.padding)):
                    x = F.pad(x, pad_argument(self.padding), value=-torch.inf)
                return F.max_pool2d(x, pair(self.kernel), pair(self.stride))
            case "avgpool2d":
                x, divisor = F.pad(x, pad_argument(self.padding)), 1 << average_bits(self.kernel)
                sides = pair(self.kernel), pair(self.stride)
                return F.avg_pool2d(x, *sides, divisor_override=divisor)
        assert self.weight is not None
        assert self.bias is not None
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        if self.kind == "linear":
            return F.linear(x, weight, bias)
        return self.convolve(x, weight, bias)

    def convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """Convolve (N, C, H, W) as the layer slides, with these weights."""
        return convolution.convolve(
            x, weight, bias, stride=self.stride, padding=self.padding, groups=self.groups
        )


def logits(layers: Sequence[FoldedLayer], x: Tensor | Mapping[int, Tensor]) -> Tensor:
    """Return the output of the last layer, and keep none of the others.

    Args:
        layers: the network.
        x: the image, or what there is already of it (-1) and of layers, by their index.
    """
    values = dict(x) if isinstance(x, Mapping) else {graph.IMAGE: x}
    last = deque(graph.evaluate(graph.sources(layers), values, layers), maxlen=1)
    return last.pop() if last else values[len(layers) - 1]


def outputs(layers: Sequence[FoldedLayer], x: Tensor) -> Iterator[Tensor]:
    """Return the output of each layer in order; the last is the logits."""
    return graph.evaluate(graph.sources(layers), {graph.IMAGE: x}, layers)
