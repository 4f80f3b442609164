"""Networks with a name, as lists of layers for images of any size; without PyTorch.

Paddings are TensorFlow's "same", as the sources have them: with a stride of 2 one side may get a
pixel more than the other.

Sources:
1. resnet8, dscnn and the widths of mobilenet: MLPerf Tiny, Banbury et al. 2021,
   https://arxiv.org/abs/2106.07597; https://github.com/mlcommons/tiny, benchmark/training
2. MobileNet: Howard et al. 2017, https://arxiv.org/abs/1704.04861
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from powtwo.core.windows import Sides, pair
from powtwo.network.spec import LayerSpec, Shape, Specs


class Builder:
    """Layers in order, and the channels and sides of what was appended last."""

    def __init__(self, image: Shape) -> None:
        self.layers: list[LayerSpec] = []
        self.channels, *self.sides = image

    @property
    def last(self) -> int:
        """Return the index of what was appended last; -1 is the image."""
        return len(self.layers) - 1

    def add(self, first: int, second: int) -> None:
        """Append an addition with its ReLU."""
        self.layers += [LayerSpec("add", (first, second)), LayerSpec("relu")]

    def conv(  # noqa: PLR0917
        self,
        outputs: int,
        kernel: Sides,
        stride: int = 1,
        depthwise: bool = False,
        relu: bool = True,
        norm: bool = True,
        source: int | None = None,
    ) -> int:
        """Append a convolution, batch norm and ReLU, and return the index of the last of them."""
        padding = same(self.sides, kernel, stride)
        groups = self.channels if depthwise else 1
        inputs = None if source is None else (source,)
        spec = LayerSpec("conv2d", inputs, outputs, kernel, stride, padding, groups)
        self.layers.append(spec)
        if norm:
            self.layers.append(LayerSpec("batch_norm"))
        if relu:
            self.layers.append(LayerSpec("relu"))
        self.channels, self.sides = outputs, [-(-side // stride) for side in self.sides]
        return self.last

    def separable(self, outputs: int, stride: int = 1) -> None:
        """Append a depthwise convolution and a pointwise one."""
        self.conv(self.channels, 3, stride, depthwise=True)
        self.conv(outputs, 1)

    def drop(self, probability: float) -> None:
        """Append dropout."""
        self.layers.append(LayerSpec("dropout", probability=probability))

    def classify(self, classes: int) -> None:
        """Append the average of each channel, and a linear layer."""
        self.layers += [
            LayerSpec("avgpool2d", kernel=tuple(self.sides)),
            LayerSpec("flatten"),
            LayerSpec("linear", outputs=classes),
        ]


def same(sides: Sequence[int], kernel: Sides, stride: int) -> tuple[int, int, int, int]:
    """Return the padding with which ⌈side / stride⌉ windows fit: top, left, bottom, right."""
    total = [
        max(0, (-(-side // stride) - 1) * stride + size - side)
        for side, size in zip(sides, pair(kernel), strict=True)
    ]
    top, left = (each // 2 for each in total)
    return top, left, total[0] - top, total[1] - left


def resnet8(image: Shape, classes: int) -> Specs:
    """MLPerf Tiny's image classifier: three residual blocks, 78 k parameters."""
    net = Builder(image)
    source = net.conv(16, 3)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        before = net.channels, net.sides
        net.conv(channels, 3, stride)
        path = net.conv(channels, 3, relu=False)
        if stride > 1:
            net.channels, net.sides = before
            source = net.conv(channels, 1, stride, relu=False, norm=False, source=source)
        net.add(source, path)
        source = net.last
    net.classify(classes)
    return Specs(image, tuple(net.layers))


def dscnn(image: Shape, classes: int) -> Specs:
    """MLPerf Tiny's keyword spotter: a convolution of 10×4 and four depthwise separable ones."""
    net = Builder(image)
    kernel = tuple(min(size, side) for size, side in zip((10, 4), net.sides, strict=True))
    net.conv(64, kernel, 2)
    net.drop(0.2)
    for _ in range(4):
        net.separable(64)
    net.drop(0.4)
    net.classify(classes)
    return Specs(image, tuple(net.layers))


def mobilenet(image: Shape, classes: int) -> Specs:
    """MobileNet of a quarter of the width; images below 64 pixels are not halved at its start."""
    net = Builder(image)
    net.conv(8, 3, 2 if min(net.sides) >= 64 else 1)
    for outputs, stride in (
        (16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2),
        (128, 1), (128, 1), (128, 1), (128, 1), (128, 1), (256, 2), (256, 1),
    ):  # fmt: skip
        net.separable(outputs, stride)
    net.classify(classes)
    return Specs(image, tuple(net.layers))


MODELS: dict[str, Callable[[Shape, int], Specs]] = {
    "resnet8": resnet8,
    "dscnn": dscnn,
    "mobilenet": mobilenet,
}
