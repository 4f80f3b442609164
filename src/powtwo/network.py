"""The float VGG, built from a layout list, and the folding of its batch norms.

Sources:
1. VGG: Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556
2. Batch norm: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167
3. Folding it for integer inference: Jacob et al. 2018, https://arxiv.org/abs/1712.05877, §3.2
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powtwo import tensor_file
from powtwo.normalization import Normalization
from powtwo.params import IMAGE_SIZE

CHANNELS = 3  # red, green, blue


@dataclass(frozen=True)
class Architecture:
    """All that it takes to build the network again."""

    layout: tuple[int | str, ...]  # channels of a 3x3 convolution, or "M": 2x2 max pooling
    hidden: tuple[int, ...]  # outputs of the linear layers before the last
    classes: int

    def build(self) -> nn.Sequential:
        """Build the float network with fresh weights: (N, 3, 32, 32) to logits (N, classes)."""
        modules: list[nn.Module] = []
        channels, size = CHANNELS, IMAGE_SIZE
        for entry in self.layout:
            if isinstance(entry, str):
                modules.append(nn.MaxPool2d(2))
                size //= 2
            else:
                modules += [nn.Conv2d(channels, entry, 3, padding=1), nn.BatchNorm2d(entry)]
                modules.append(nn.ReLU())
                channels = entry
        modules.append(nn.Flatten())
        features = channels * size * size
        for outputs in self.hidden:
            modules += [nn.Linear(features, outputs), nn.ReLU()]
            features = outputs
        modules.append(nn.Linear(features, self.classes))
        return nn.Sequential(*modules)


@dataclass(frozen=True)
class Checkpoint:
    """A trained float network and what it expects of its input."""

    architecture: Architecture
    normalization: Normalization
    weights: dict[str, Tensor]

    def network(self) -> nn.Sequential:
        """Build the network with these weights, ready for inference."""
        network = self.architecture.build()
        network.load_state_dict(self.weights)
        return network.eval()

    def save(self, path: Path | str) -> None:
        """Write a safetensors file; architecture and normalization go to its metadata."""
        about = {"architecture": asdict(self.architecture), "input": asdict(self.normalization)}
        tensor_file.write(path, self.weights, about)

    @classmethod
    def load(cls, path: Path | str) -> Checkpoint:
        """Read what `save` wrote."""
        about, weights = tensor_file.read(path)
        shape, given = about["architecture"], about["input"]
        architecture = Architecture(
            tuple(shape["layout"]), tuple(shape["hidden"]), shape["classes"]
        )
        return cls(architecture, Normalization.of_metadata(given), weights)


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
    w' = w·g / sqrt(v + eps), b' = (b_conv − m)·g / sqrt(v + eps) + b (source 3).
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
