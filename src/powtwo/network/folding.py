"""From the modules of a float network to its layers for inference.

Each batch norm is folded into the convolution or linear layer before it, each ReLU into the layer
before it. One that cannot be becomes a layer of its own: a depthwise convolution of 1×1, an average
of one pixel with a ReLU. An average of k positions, no power of two, is left k/2^m of the mean, and
the weights that read it become 2^m/k times larger.

Source: folding for integer inference, Jacob et al. 2018, https://arxiv.org/abs/1712.05877, §3.2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from powtwo.core import graph
from powtwo.core.graph import IMAGE
from powtwo.core.windows import average_bits, pair, shortest
from powtwo.network.folded import FoldedLayer
from powtwo.network.graph import GraphNetwork
from powtwo.network.spec import LayerSpec

CUT = 6.0  # where a ReLU6 does
NOT_YET = 10**6  # is added to the index of a module, to tell it from those of layers


def fold(network: nn.Module) -> list[FoldedLayer]:
    """Return the layers of a stack of modules, or of a graph, in float64.

    With g, m, v, b a batch norm's weight, running mean, running variance and bias:
    w' = w·g / sqrt(v + eps), b' = (b_conv − m)·g / sqrt(v + eps) + b.

    Raises:
        TypeError: where a module has no rule here.
    """
    if isinstance(network, GraphNetwork):
        specs, modules = list(network.specs.layers), network._modules
        channels = network.specs.image[0]
    else:
        modules = network._modules
        specs, channels = [_spec(module) for module in network.children()], 0  # no averages
    folder = _Folder(specs)
    for index, spec in enumerate(specs):
        folder.append(index, spec, modules.get(str(index)))
    return _without_averages(folder.layers, channels)


class _Folder:
    """The layers so far, and which of them gives what each module did."""

    def __init__(self, specs: Sequence[LayerSpec]) -> None:
        self.layers: list[FoldedLayer] = []
        self.sources = graph.sources(specs)
        self.readers = graph.readers(self.sources)
        self.given = {IMAGE: IMAGE}  # the layer that gives what a module did
        self.flat: set[int] = set()  # modules that give features

    def append(self, index: int, spec: LayerSpec, module: nn.Module | None) -> None:
        """Append a module as a layer, or fold it into one."""
        sources = self.sources[index]
        if spec.kind in ("flatten", "linear") or set(sources) & self.flat:
            self.flat.add(index)
        inputs = tuple(self.given[source] for source in sources)
        if spec.kind == "dropout":
            self.given[index] = inputs[0]
            return
        if spec.kind in ("batch_norm", "relu", "relu6"):
            before = self._alone(index, through=spec.kind != "batch_norm")
            if before is not None and self._fold(before, spec, module):
                self.given[index] = inputs[0]
                return
        layer = _layer(index, spec, module, sources[0] in self.flat)
        said = graph.canonical(len(self.layers), inputs)
        self.layers.append(replace(layer, inputs=said and tuple(said)))
        self.given[index] = len(self.layers) - 1

    def _alone(self, index: int, through: bool) -> int | None:
        """Return the layer whose output a module reads, if nobody else does; else None.

        With `through`, it is the layer before poolings and flattening: ReLU commutes with them.
        """
        layer, reader = self.given[self.sources[index][0]], NOT_YET + index
        while layer != IMAGE and self._readers(layer) == {reader}:
            if not through or self.layers[layer].accumulates:
                return layer
            layer, reader = (self.layers[layer].inputs or (layer - 1,))[0], layer
        return None

    def _readers(self, layer: int) -> set[int]:
        """Return the layers that read one, and, with NOT_YET added, modules that are none yet."""
        modules = [index for index, given in self.given.items() if given == layer]
        readers = {reader for index in modules for reader in self.readers[index]}
        return {self.given.get(reader, NOT_YET + reader) for reader in readers} - {layer}

    def _fold(self, index: int, spec: LayerSpec, module: nn.Module | None) -> bool:
        """Fold a batch norm or a ReLU into a layer, if it can be."""
        layer = self.layers[index]
        if spec.kind == "batch_norm":
            assert isinstance(module, nn.BatchNorm2d)
            if layer.weight is None or layer.relu:
                return False
            self.layers[index] = _fold_batch_norm(layer, module)
            return True
        if not layer.accumulates:
            return False
        cuts = [CUT] if spec.kind == "relu6" else []
        cuts += [] if layer.maximum is None else [layer.maximum]
        self.layers[index] = replace(layer, relu=True, maximum=min(cuts, default=None))
        return True


def _spec(module: nn.Module) -> LayerSpec:
    """Return what a module of a stack is."""
    match module:
        case nn.Conv2d():
            assert not isinstance(module.padding, str)
            return LayerSpec(
                "conv2d",
                kernel=module.kernel_size,
                stride=module.stride,
                padding=module.padding,
                groups=module.groups,
            )
        case nn.MaxPool2d():
            stride, kernel = _sides(module.stride), _sides(module.kernel_size)
            return LayerSpec("maxpool2d", stride=stride, kernel=kernel)
    kinds = {nn.Linear: "linear", nn.Flatten: "flatten", nn.BatchNorm2d: "batch_norm",
             nn.ReLU: "relu"}  # fmt: skip
    if type(module) not in kinds:
        raise TypeError(f"network has a {type(module).__name__}; fold knows no rule for it")
    return LayerSpec(kinds[type(module)])


def _sides(size: int | tuple[int, ...]) -> tuple[int, int]:
    return pair(size)


def _layer(index: int, spec: LayerSpec, module: nn.Module | None, flat: bool) -> FoldedLayer:
    """Return a module as a layer of its own."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        weight, bias = _weight_and_bias(module)
        return FoldedLayer(spec.kind, weight, bias, groups=spec.groups, **_geometry(spec))
    if spec.kind in ("add", "flatten", "maxpool2d", "avgpool2d"):
        return FoldedLayer(spec.kind, **_geometry(spec))
    if flat:
        raise TypeError(
            f"module {index} is a {spec.kind} of features that no layer before it can take; put "
            "it after a linear layer that nothing else reads"
        )
    if spec.kind == "batch_norm":
        assert isinstance(module, nn.BatchNorm2d)
        ones = torch.ones(module.num_features, dtype=torch.float64)
        return _fold_batch_norm(_depthwise(ones), module)
    cut = CUT if spec.kind == "relu6" else None
    return FoldedLayer("avgpool2d", relu=True, maximum=cut, kernel=1)


def _geometry(spec: LayerSpec) -> dict[str, Any]:
    """Return kernel, stride and padding, square ones as numbers."""
    values = {"kernel": spec.kernel, "stride": spec.stride, "padding": spec.padding}
    short = {name: shortest(value) for name, value in values.items()}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in short.items()}


def _depthwise(gain: Tensor) -> FoldedLayer:
    """Return a convolution of 1×1 that multiplies each channel (C,)."""
    weight = gain.view(-1, 1, 1, 1)
    return FoldedLayer("conv2d", weight, torch.zeros_like(gain), kernel=1, groups=len(gain))


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
    by_output = gain.view(-1, *[1] * (layer.weight.dim() - 1))
    return replace(layer, weight=layer.weight * by_output, bias=bias)


def _sqrt(x: Tensor) -> Tensor:
    """Return correctly rounded roots of float64 (C,); PyTorch's may miss the last bit, under MKL.

    Which roots MKL misses goes by the processor. The root of what is below 0 is NaN.
    """
    with np.errstate(invalid="ignore"):
        return torch.from_numpy(np.sqrt(x.numpy()))


def _without_averages(layers: list[FoldedLayer], channels: int) -> list[FoldedLayer]:
    """Make good, in the weights that read it, what an average of k positions lacks to the mean.

    Where an addition reads it, or nobody, a convolution of 1×1 comes between. The image has so many
    channels.
    """
    index = 0
    while index < len(layers):
        positions = prod(pair(layers[index].kernel))
        gain = (1 << average_bits(layers[index].kernel)) / positions if positions else 1.0
        if layers[index].kind == "avgpool2d" and gain != 1:
            if not _passes(layers, index):
                layers = _with_gain_after(layers, index, _channels(layers, index) or channels)
            layers = _multiplied(layers, index, gain)
        index += 1
    return layers


def _passes(layers: Sequence[FoldedLayer], index: int) -> bool:
    """Tell whether a factor of a layer's output can be made good by all that reads it."""
    readers = graph.readers(graph.sources(layers))[index]
    return bool(readers) and all(
        layers[reader].weight is not None
        or (layers[reader].kind != "add" and _passes(layers, reader))
        for reader in readers
    )


def _multiplied(layers: list[FoldedLayer], index: int, gain: float) -> list[FoldedLayer]:
    """Multiply by a gain what reads a layer, as that gives 1/gain of what it should."""
    layers, layer = list(layers), layers[index]
    if layer.maximum is not None:  # cuts what is smaller now
        layers[index] = replace(layer, maximum=layer.maximum / gain)
    for reader in graph.readers(graph.sources(layers))[index]:
        weight = layers[reader].weight
        if weight is None:
            layers = _multiplied(layers, reader, gain)
        else:
            layers[reader] = replace(layers[reader], weight=weight * gain)
    return layers


def _with_gain_after(layers: list[FoldedLayer], index: int, channels: int) -> list[FoldedLayer]:
    """Insert a convolution of 1×1 that changes nothing after a layer of so many channels."""
    sources = graph.sources(layers)
    one = _depthwise(torch.ones(channels, dtype=torch.float64))
    moved = [*layers[: index + 1], one]
    for later in range(index + 1, len(layers)):
        inputs = tuple(source + (source >= index) for source in sources[later])
        said = graph.canonical(later + 1, inputs)
        moved.append(replace(layers[later], inputs=said and tuple(said)))
    return moved


def _channels(layers: Sequence[FoldedLayer], index: int) -> int:
    """Return how many channels a layer gives; 0 where it has those of the image."""
    sources = graph.sources(layers)
    while index != IMAGE and layers[index].weight is None:
        index = sources[index][0]
    weight = None if index == IMAGE else layers[index].weight
    return 0 if weight is None else len(weight)
