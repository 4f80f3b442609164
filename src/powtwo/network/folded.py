"""The layers of the float network for inference, each batch norm folded into the layer before it.

Source: folding for integer inference, Jacob et al. 2018, https://arxiv.org/abs/1712.05877, §3.2
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powtwo.core import graph
from powtwo.core.windows import Sides, average_bits, four, pad_argument, pair, symmetric


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
        x = self.without_relu(*inputs)
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
        padding = symmetric(self.padding)
        if padding is None:
            x, padding = F.pad(x, pad_argument(self.padding)), (0, 0)
        stride = pair(self.stride)
        return F.conv2d(x, weight, bias, stride=stride, padding=padding, groups=self.groups)


def fold(network: nn.Sequential) -> list[FoldedLayer]:
    """Fold every batch norm into the convolution before it, in float64.

    With g, m, v, b a batch norm's weight, running mean, running variance and bias:
    w' = w·g / sqrt(v + eps), b' = (b_conv − m)·g / sqrt(v + eps) + b.
    """
    layers: list[FoldedLayer] = []
    for module in network:
        if isinstance(module, nn.BatchNorm2d):
            layers[-1] = _fold_batch_norm(layers[-1], module)
        elif isinstance(module, nn.ReLU):
            layers[-1] = replace(layers[-1], relu=True)
        else:
            layers.append(_layer(module))
    return layers


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


def _layer(module: nn.Module) -> FoldedLayer:
    match module:
        case nn.Conv2d():
            return FoldedLayer(
                "conv2d",
                *_weight_and_bias(module),
                stride=_side(module.stride),
                padding=_side(module.padding),
                kernel=_side(module.kernel_size),
            )
        case nn.Linear():
            return FoldedLayer("linear", *_weight_and_bias(module))
        case nn.MaxPool2d():
            stride, kernel = _side(module.stride), _side(module.kernel_size)
            return FoldedLayer("maxpool2d", stride=stride, kernel=kernel)
        case nn.Flatten():
            return FoldedLayer("flatten")
    raise TypeError(f"network has a {type(module).__name__}; fold knows no rule for it")


def _weight_and_bias(module: nn.Conv2d | nn.Linear) -> tuple[Tensor, Tensor]:
    weight = module.weight.detach().double()
    if module.bias is None:
        return weight, torch.zeros(len(weight), dtype=torch.float64)
    return weight, module.bias.detach().double()


def _fold_batch_norm(layer: FoldedLayer, norm: nn.BatchNorm2d) -> FoldedLayer:
    assert layer.weight is not None
    assert layer.bias is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.detach().double() / _sqrt(norm.running_var.double() + norm.eps)
    bias = (layer.bias - norm.running_mean.double()) * gain + norm.bias.detach().double()
    return replace(layer, weight=layer.weight * gain.view(-1, 1, 1, 1), bias=bias)


def _sqrt(x: Tensor) -> Tensor:
    """Return correctly rounded roots of float64 (C,); PyTorch's may miss the last bit, under MKL.

    Which roots MKL misses goes by the processor. The root of what is below 0 is NaN.
    """
    with np.errstate(invalid="ignore"):
        return torch.from_numpy(np.sqrt(x.numpy()))


def _side(size: int | tuple[int, ...] | str) -> int:
    """Return the side of a square kernel, stride or padding."""
    match size:
        case int(side):
            return side
        case (int(side), *others) if set(others) <= {side}:
            return side
    raise TypeError(f"network has a kernel, stride or padding of {size}; it must be square")
