"""The float network of a list of layers: (N, C, H, W) to logits (N, classes)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from powtwo.core import graph
from powtwo.core.windows import pad_argument, pair, symmetric
from powtwo.network.spec import LayerSpec, Specs


@dataclass(frozen=True)
class GraphArchitecture:
    """All that it takes to build the network again."""

    specs: Specs

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what to say of the network, a line each."""
        return ()

    @property
    def image(self) -> tuple[int, int, int]:
        """Return the shape (C, H, W) of an image."""
        channels, height, width = self.specs.image
        return channels, height, width

    @property
    def classes(self) -> int:
        """Return how many logits there are."""
        return self.specs.classes

    def build(self) -> GraphNetwork:
        """Build the float network with fresh weights."""
        return GraphNetwork(self.specs)

    def describe(self) -> dict[str, Any]:
        """Describe it for a file."""
        layers = [layer.describe() for layer in self.specs.layers]
        return {"image": list(self.specs.image), "layers": layers}


class GraphNetwork(nn.Module):
    """Modules named by the index of their layer, and what each of them reads."""

    def __init__(self, specs: Specs) -> None:
        super().__init__()
        self.specs, self.sources = specs, specs.sources
        for index, spec in enumerate(specs.layers):
            if (module := _module(spec, specs.inputs(index)[0])) is not None:
                self.add_module(str(index), module)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        steps = [self._step(index) for index in range(len(self.specs.layers))]
        return deque(graph.evaluate(self.sources, {graph.IMAGE: x}, steps), maxlen=1).pop()

    def _step(self, index: int) -> Callable[..., Tensor]:
        spec, module = self.specs.layers[index], self._modules.get(str(index))
        if spec.kind != "conv2d":
            return module or _functions(spec)
        padding = symmetric(spec.padding)
        assert module is not None
        if padding is not None:
            return module
        return lambda x: module(F.pad(x, pad_argument(spec.padding)))


def _module(spec: LayerSpec, channels: int) -> nn.Module | None:
    """Return the module of a layer that has parameters, or is another in training."""
    match spec.kind:
        case "conv2d":
            padding = symmetric(spec.padding) or (0, 0)  # others are padded before
            sides = pair(spec.kernel), pair(spec.stride), padding, (1, 1)
            return nn.Conv2d(channels, spec.outputs, *sides, spec.groups, spec.bias)
        case "linear":
            return nn.Linear(channels, spec.outputs, spec.bias)
        case "batch_norm":
            return nn.BatchNorm2d(channels, spec.epsilon, spec.momentum)
        case "dropout":
            return nn.Dropout(spec.probability)
    return None


def _functions(spec: LayerSpec) -> Callable[..., Tensor]:
    """Return what a layer without a module does."""
    if spec.kind in ("maxpool2d", "avgpool2d"):
        return lambda x: _pool(spec, x)
    functions: dict[str, Callable[..., Tensor]] = {
        "relu": F.relu, "relu6": F.relu6, "add": torch.add, "flatten": _flatten,
    }  # fmt: skip
    return functions[spec.kind]


def _flatten(x: Tensor) -> Tensor:
    return x.flatten(1)


def _pool(spec: LayerSpec, x: Tensor) -> Tensor:
    kernel, stride, padding = pair(spec.kernel), pair(spec.stride), symmetric(spec.padding)
    largest = spec.kind == "maxpool2d"
    halves = padding is not None and 2 * padding[0] <= kernel[0] and 2 * padding[1] <= kernel[1]
    if padding is None or not halves:  # more than PyTorch's poolings take
        x = F.pad(x, pad_argument(spec.padding), value=-torch.inf if largest else 0.0)
        padding = (0, 0)
    return (F.max_pool2d if largest else F.avg_pool2d)(x, kernel, stride, padding)
