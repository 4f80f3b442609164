"""Random PyTorch networks for what reads them: every operator that is read, in any order."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE, CLASSES = (3, 11, 9), 4


class RandomModule(nn.Module):
    """Steps in order, each on earlier values, joined by additions at the end."""

    def __init__(self, seed: int, steps: int, onnx: bool = False) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.rng, self.onnx = random.Random(seed), onnx
        self.steps: list[tuple[Callable[..., Tensor], tuple[int, ...]]] = []
        self.examples = [torch.zeros(1, *IMAGE)]
        self.unread = {0}
        self.hidden: set[int] = set()  # what is read as part of something larger
        # Folding refuses an average of the image itself.
        self.append(nn.Conv2d(IMAGE[0], 4, 3, padding=1), self.hide(0))
        for _ in range(steps):
            self.grow()
        while len(self.unread) > 1:
            self.join(*sorted(self.unread)[:2])
        self.grow_head()
        randomize(self)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for step, sources in self.steps:
            values.append(step(*[values[source] for source in sources]))
        return values[-1]

    def append(self, step: Callable[..., Tensor], *sources: int) -> int:
        if isinstance(step, nn.Module):
            self.add_module(f"step{len(self.steps)}", step)
        self.eval()
        output = step(*[self.examples[source].clone() for source in sources])
        self.examples.append(output)
        self.steps.append((step, sources))
        self.unread = self.unread - set(sources) | {len(self.steps)}
        return len(self.steps)

    def grow(self) -> None:
        known = set(range(len(self.examples))) - self.hidden
        source = self.rng.choice(sorted(self.unread if self.rng.random() < 0.6 else known))
        channels, *sides = self.examples[source].shape[1:]
        kind = self.rng.choice(["conv", "conv", "norm", "relu", "pool", "add", "pad", "fire"])
        getattr(self, kind)(source, channels, sides)

    def window(self, sides: list[int], half: bool = False) -> dict[str, Any]:
        kernel = [self.rng.randint(1, min(3, side)) for side in sides]
        padding = [self.rng.randint(0, k // 2 if half else k - 1) for k in kernel]
        return {"kernel_size": kernel, "stride": self.rng.randint(1, 2), "padding": padding}

    def conv(self, source: int, channels: int, sides: list[int]) -> int:
        groups = self.rng.choice([g for g in (1, 1, 2, channels) if channels % g == 0])
        outputs = groups * self.rng.randint(1, 4)
        window, bias = self.window(sides), self.rng.random() < 0.5
        return self.append(nn.Conv2d(channels, outputs, **window, groups=groups, bias=bias), source)

    def norm(self, source: int, channels: int, _: list[int]) -> int:
        affine = self.rng.random() < 0.7
        return self.append(nn.BatchNorm2d(channels, eps=1e-3, affine=affine), source)

    def relu(self, source: int, *_: Any) -> int:
        steps = [F.relu, F.relu6, nn.Hardtanh(0, 6), nn.Dropout(0.2), lambda x: x.clamp(min=0)]
        return self.append(self.rng.choice(steps), source)

    def pool(self, source: int, _: int, sides: list[int]) -> int:
        window = self.window(sides, half=True)
        if self.rng.random() < 0.5:
            ceil = self.rng.random() < 0.5
            return self.append(nn.MaxPool2d(**window, ceil_mode=ceil), source)
        return self.append(nn.AvgPool2d(**window), source)

    def pad(self, source: int, channels: int, sides: list[int]) -> int:
        pads = [self.rng.randint(0, 1) for _ in range(4)]
        padded = self.hide(self.append(lambda x: F.pad(x, pads), source))
        kernel = [2 if side > 1 else 1 for side in sides]
        if 1 in kernel:
            return self.append(nn.Conv2d(channels, 2, 3, padding=1), padded)
        return self.append(nn.Conv2d(channels, 2, kernel, bias=False), padded)

    def add(self, source: int, channels: int, _: list[int]) -> int:
        if self.rng.random() < 0.3:
            plain = self.hide(self.append(nn.Conv2d(channels, 3, 1), source))
            constant = nn.Parameter(torch.randn(3, 1, 1))
            self.register_parameter(f"constant{len(self.steps)}", constant)
            return self.append(lambda x: x + constant, plain)
        shape = self.examples[source].shape
        equal = [index for index, each in enumerate(self.examples) if each.shape == shape]
        other = self.rng.choice(sorted(set(equal) - self.hidden))
        return self.append(torch.add, source, other)

    def fire(self, source: int, channels: int, _: list[int]) -> int:
        one = nn.Conv2d(channels, 2, 1)
        other = nn.Conv2d(channels, 3, (3, 1), padding=(1, 0), bias=False)
        ends = [
            self.hide(self.append(F.relu, self.hide(self.append(branch, source))))
            for branch in (one, other)
        ]
        return self.append(lambda a, b: torch.cat([a, b], 1), *ends)

    def hide(self, index: int) -> int:
        self.hidden.add(index)
        return index

    def join(self, one: int, other: int) -> None:
        ends = []
        for end in (one, other):
            channels = self.examples[end].shape[1]
            average = self.append(nn.AdaptiveAvgPool2d(1), end)
            ends.append(self.append(nn.Conv2d(channels, 3, 1), average))
        self.append(torch.add, *ends)

    def grow_head(self) -> None:
        (source,) = self.unread
        heads = [nn.Flatten(), lambda x: x.view(x.size(0), -1), lambda x: x.mean((2, 3))]
        features = self.append(self.rng.choice(heads), source)
        self.append(nn.Linear(self.examples[features].shape[1], CLASSES), features)


def randomize(module: nn.Module) -> None:
    """Give batch norms statistics, gains and biases of their own."""
    for each in module.modules():
        if isinstance(each, nn.BatchNorm2d):
            assert each.running_mean is not None
            each.running_mean.normal_(0, 0.2)
            each.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            if each.affine:
                each.weight.data.uniform_(0.5, 1.5)
                each.bias.data.normal_(0, 0.2)
