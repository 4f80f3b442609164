"""torchvision's networks with random weights, whole or narrow, and their files of torch.onnx."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from modules import randomize
from torch import nn

from powtwo.tools.torchvision_import import import_torchvision

CLASSES = 10
# By name, the divisor of the channels with which C takes a second in every scheme.
FACTORS = {"resnet18": 16, "mobilenet_v2": 4, "vgg11_bn": 16, "squeezenet1_1": 8}
NAMES = tuple(FACTORS)


@contextmanager
def narrowed(factor: int) -> Iterator[None]:
    """Have layers made with a fraction of their channels; images and classes stay as they are."""

    def less(channels: int) -> int:
        return channels if channels in (3, CLASSES) else max(1, channels // factor)

    class Conv(nn.Conv2d):
        def __init__(self, inputs: int, outputs: int, *more: Any, **named: Any) -> None:
            super().__init__(less(inputs), less(outputs), *more, **named)

    class Norm(nn.BatchNorm2d):
        def __init__(self, channels: int) -> None:
            super().__init__(less(channels))

    class Linear(nn.Linear):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__(less(inputs), less(outputs))

    with mock.patch.multiple(nn, Conv2d=Conv, BatchNorm2d=Norm, Linear=Linear):
        yield


def network(name: str, factor: int = 1) -> nn.Module:
    """Build a network from a fixed seed, with statistics of batch norms that are no defaults.

    VGG's head is a mean and one linear layer: the adaptive average to 7×7 is for images of 224
    pixels, or multiples.
    """
    models, seed = import_torchvision().models, NAMES.index(name)
    torch.manual_seed(seed)
    if name == "mobilenet_v2":
        module = models.mobilenet_v2(num_classes=CLASSES, width_mult=1 / factor)
    elif factor == 1:
        module = getattr(models, name)(num_classes=CLASSES)
    else:
        with narrowed(factor):
            module = getattr(models, name)(num_classes=CLASSES)
    if name == "vgg11_bn":
        module.avgpool = nn.AdaptiveAvgPool2d(1)
        module.classifier = nn.Linear(512 // factor, CLASSES)
    with torch.no_grad():
        randomize(module)
    return module.eval()


def export(module: nn.Module, path: Path, size: int) -> None:
    """Write a file by PyTorch's own exporter, for any batch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and in use; the newer one needs onnxscript
        torch.onnx.export(
            module, (torch.zeros(1, 3, size, size),), path, dynamo=False, input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
        )  # fmt: skip
