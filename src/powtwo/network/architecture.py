"""The float network: the VGG of a layout list, or a network with a name.

Sources:
1. VGG: Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556
2. Batch norm: Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from powtwo.dataset.images import Shape
from powtwo.network.graph import GraphArchitecture
from powtwo.network.models import MODELS
from powtwo.network.params import Model, check_poolings

LAB_IMAGE = (3, 32, 32)  # (C, H, W), which a file of the float network does not name


@dataclass(frozen=True)
class Architecture:
    """All that it takes to build the network again.

    Raises:
        ValueError: where an image cannot be halved as often as the layout does.
    """

    layout: tuple[int | str, ...]  # channels of a 3x3 convolution, or "M": 2x2 max pooling
    hidden: tuple[int, ...]  # outputs of the linear layers before the last
    classes: int
    image: Shape = LAB_IMAGE  # (C, H, W)

    def __post_init__(self) -> None:
        check_poolings("layout", self.layout, self.image)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what to say of the network, a line each."""
        return ()

    def describe(self) -> dict[str, Any]:
        """Describe it for a file."""
        described = asdict(self)
        if self.image == LAB_IMAGE:
            del described["image"]
        return described

    def build(self) -> nn.Sequential:
        """Build the float network with fresh weights: (N, C, H, W) to logits (N, classes)."""
        modules: list[nn.Module] = []
        channels, height, width = self.image
        for entry in self.layout:
            if isinstance(entry, str):
                modules.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            else:
                modules += [nn.Conv2d(channels, entry, 3, padding=1), nn.BatchNorm2d(entry)]
                modules.append(nn.ReLU())
                channels = entry
        modules.append(nn.Flatten())
        features = channels * height * width
        for outputs in self.hidden:
            modules += [nn.Linear(features, outputs), nn.ReLU()]
            features = outputs
        modules.append(nn.Linear(features, self.classes))
        return nn.Sequential(*modules)


AnyArchitecture = Architecture | GraphArchitecture


def of_model(model: Model, image: Shape, classes: int) -> AnyArchitecture:
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
    return Architecture(tuple(model.layout), tuple(model.hidden), classes, image)
