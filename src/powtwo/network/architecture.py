"""The float network: the VGG of a layout list, or a network with a name.

Sources:
1. VGG: Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556
2. Batch norm: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from powtwo.dataset.images import CHANNELS, IMAGE_SIZE, SHAPE
from powtwo.network.graph import GraphArchitecture
from powtwo.network.models import MODELS
from powtwo.network.params import Model


@dataclass(frozen=True)
class Architecture:
    """All that it takes to build the network again."""

    layout: tuple[int | str, ...]  # channels of a 3x3 convolution, or "M": 2x2 max pooling
    hidden: tuple[int, ...]  # outputs of the linear layers before the last
    classes: int

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what to say of the network, a line each."""
        return ()

    @property
    def image(self) -> tuple[int, int, int]:
        """Return the shape (C, H, W) of an image."""
        return SHAPE

    def describe(self) -> dict[str, Any]:
        """Describe it for a file."""
        return asdict(self)

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


AnyArchitecture = Architecture | GraphArchitecture


def of_model(model: Model, image: tuple[int, int, int], classes: int) -> AnyArchitecture:
    """Return what params.yaml says of the network, for images (C, H, W).

    Raises:
        ValueError: where a network of the user's cannot be read.
    """
    if model.files:
        from powtwo.network.reading.read import read  # noqa: PLC0415 (imports this package)

        return read(model, image, classes)
    if model.name is not None:
        return GraphArchitecture(MODELS[model.name](image, classes))
    assert model.layout is not None
    assert model.hidden is not None
    return Architecture(tuple(model.layout), tuple(model.hidden), classes)
