"""The layers of the float network for inference, each batch norm folded into the layer before it.

Source: folding for integer inference, Jacob et al. 2018, https://arxiv.org/abs/1712.05877, §3.2
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class FoldedLayer:
    """A layer of the network for inference, batch norm folded in."""

    kind: str  # conv2d, linear, maxpool2d, flatten
    weight: Tensor | None = None  # float64 (O, I, kH, kW) or (O, I)
    bias: Tensor | None = None  # float64 (O,)
    relu: bool = False
    stride: int = 1
    padding: int = 0
    kernel: int = 0

    def __call__(self, x: Tensor) -> Tensor:
        """Apply the layer, with its weights in the type of `x`."""
        if self.kind == "maxpool2d":
            return F.max_pool2d(x, self.kernel, self.stride)
        if self.kind == "flatten":
            return x.flatten(1)
        assert self.weight is not None
        assert self.bias is not None
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        if self.kind == "conv2d":
            x = F.conv2d(x, weight, bias, stride=self.stride, padding=self.padding)
        else:
            x = F.linear(x, weight, bias)
        return x.relu() if self.relu else x


def fold(network: nn.Sequential) -> list[FoldedLayer]:
    """Fold every batch norm into the convolution before it, in float64.

    With g, m, v, b a batch norm's weight, running mean, running variance and bias:
    w' = w·g / sqrt(v + eps), b' = (b_conv − m)·g / sqrt(v + eps) + b.
    """
    layers: list[FoldedLayer] = []
    for module in network:
        if isinstance(module, nn.Conv2d):
            layers.append(
                FoldedLayer(
                    "conv2d",
                    *_parameters(module),
                    stride=_one(module.stride),
                    padding=_one(module.padding),
                    kernel=_one(module.kernel_size),
                )
            )
        elif isinstance(module, nn.Linear):
            layers.append(FoldedLayer("linear", *_parameters(module)))
        elif isinstance(module, nn.BatchNorm2d):
            layers[-1] = _fold_batch_norm(layers[-1], module)
        elif isinstance(module, nn.ReLU):
            layers[-1] = replace(layers[-1], relu=True)
        elif isinstance(module, nn.MaxPool2d):
            kernel = _one(module.kernel_size)
            layers.append(FoldedLayer("maxpool2d", stride=_one(module.stride), kernel=kernel))
        elif isinstance(module, nn.Flatten):
            layers.append(FoldedLayer("flatten"))
        else:
            raise TypeError(f"network has a {type(module).__name__}; fold knows no rule for it")
    return layers


def logits(layers: Sequence[FoldedLayer], x: Tensor) -> Tensor:
    """Return the output of the last layer, and keep none of the others."""
    for layer in layers:
        x = layer(x)
    return x


def outputs(layers: Sequence[FoldedLayer], x: Tensor) -> Iterator[Tensor]:
    """Yield the output of each layer in order; the last is the logits."""
    for layer in layers:
        x = layer(x)
        yield x


def _parameters(module: nn.Conv2d | nn.Linear) -> tuple[Tensor, Tensor]:
    weight = module.weight.detach().double()
    if module.bias is None:
        return weight, torch.zeros(len(weight), dtype=torch.float64)
    return weight, module.bias.detach().double()


def _fold_batch_norm(layer: FoldedLayer, norm: nn.BatchNorm2d) -> FoldedLayer:
    assert layer.weight is not None
    assert layer.bias is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = (layer.bias - norm.running_mean.double()) * gain + norm.bias.detach().double()
    return replace(layer, weight=layer.weight * gain.view(-1, 1, 1, 1), bias=bias)


def _one(size: int | tuple[int, ...] | str) -> int:
    """Return the side of a square kernel, stride or padding."""
    sides = size if isinstance(size, tuple) else (size,)
    if len(set(sides)) != 1 or not isinstance(sides[0], int):
        raise TypeError(
            f"network has a kernel, stride or padding of {size}; only squares are known"
        )
    return sides[0]
