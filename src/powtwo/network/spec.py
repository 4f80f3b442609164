"""A float network as a list of layers, each of which reads earlier ones; without PyTorch.

| kind | what it takes |
|---|---|
| conv2d | outputs, kernel, stride, padding, groups, bias |
| linear | outputs, bias |
| batch_norm | epsilon; momentum, in training |
| relu, relu6, add, flatten | nothing |
| maxpool2d, avgpool2d | kernel, stride, padding; padded positions of an average count |
| dropout | probability, in training |
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any

from powtwo.core import graph
from powtwo.core.strict import require
from powtwo.core.windows import Sides, fits, four, pair, shortest

Shape = tuple[int, ...]  # (C, H, W) or (features,)
WINDOWS = ("conv2d", "maxpool2d", "avgpool2d")
IMAGES = (*WINDOWS, "batch_norm")  # kinds that read (C, H, W) alone
KINDS = (*IMAGES, "linear", "relu", "relu6", "add", "flatten", "dropout")
SIDES = ("kernel", "stride", "padding")


@dataclass(frozen=True)
class LayerSpec:
    """A layer of the float network; what a kind does not need keeps its default."""

    kind: str  # of KINDS
    inputs: tuple[int, ...] | None = None  # earlier layers, -1 the image; None: the layer before
    outputs: int = 0  # channels or features
    kernel: Sides = 0
    stride: Sides = 1
    padding: Sides = 0
    groups: int = 1
    bias: bool = True
    epsilon: float = 1e-5
    momentum: float = 0.1  # the share of a batch in the running statistics
    probability: float = 0.0

    def describe(self) -> dict[str, Any]:
        """Return what differs from the defaults, for a file."""
        described: dict[str, Any] = {"kind": self.kind}
        for each in fields(self)[1:]:
            value = getattr(self, each.name)
            value = shortest(value) if each.name in SIDES else value
            if value != each.default:
                described[each.name] = value
        return described


@dataclass(frozen=True)
class Specs:
    """The layers of a network for images (C, H, W); checked when it is made.

    Raises:
        ValueError: where a layer does not fit what it reads.
    """

    image: Shape
    layers: tuple[LayerSpec, ...]
    shapes: tuple[Shape, ...] = field(init=False, compare=False)  # of each layer's output

    def __post_init__(self) -> None:
        object.__setattr__(self, "shapes", tuple(_shapes(self.image, self.layers)))

    @property
    def sources(self) -> list[graph.Sources]:
        """Return the indices of what each layer reads."""
        return graph.sources(self.layers)

    def inputs(self, index: int) -> Shape:
        """Return the shape of what a layer reads first."""
        source = self.sources[index][0]
        return self.image if source == graph.IMAGE else self.shapes[source]

    @property
    def classes(self) -> int:
        """Return how many logits the last layer gives."""
        return self.shapes[-1][0]


def _shapes(image: Shape, layers: Sequence[LayerSpec]) -> Iterator[Shape]:
    """Yield the shape of each layer's output.

    Raises:
        ValueError: naming the layer, what it is, and the rule.
    """
    require(bool(layers), "layers", [], "must have one")
    shapes: dict[int, Shape] = {graph.IMAGE: image}
    for index, sources in enumerate(graph.sources(layers)):
        inputs = [shapes[source] for source in sources]
        shapes[index] = output_shape(f"layer {index}: ", layers[index], inputs)
        yield shapes[index]
    last = shapes[len(layers) - 1]
    require(len(last) == 1, "last layer: output", last, "must be features, one for each class")


def output_shape(where: str, spec: LayerSpec, inputs: Sequence[Shape]) -> Shape:
    """Return the shape of what a layer gives.

    Args:
        where: what an error calls the layer.
        spec: the layer.
        inputs: the shapes of what it reads.

    Raises:
        ValueError: naming the layer, what it is, and the rule.
    """
    require(spec.kind in KINDS, f"{where}kind", spec.kind, f"must be one of {', '.join(KINDS)}")
    shape = inputs[0]
    if spec.kind == "add":
        rule = f"must be {shape}, as what is added to it"
        require(inputs[1] == shape, f"{where}shape", inputs[1], rule)
    if spec.kind in IMAGES:
        require(len(shape) == 3, f"{where}input", shape, f"must be (C, H, W) for {spec.kind}")
    return _shape(where, spec, shape)


def _shape(where: str, spec: LayerSpec, shape: Shape) -> Shape:
    if spec.kind == "flatten":
        return (prod(shape),)
    if spec.kind == "linear":
        require(len(shape) == 1, f"{where}input", shape, "must be features: flatten comes first")
        return (spec.outputs,)
    if spec.kind not in WINDOWS:
        return shape
    channels, *sides = shape
    (high, wide), (down, across) = pair(spec.kernel), pair(spec.stride)
    top, left, bottom, right = four(spec.padding)
    rule = f"must be below the kernel's {spec.kernel}"
    fitting = max(top, bottom) < high and max(left, right) < wide
    require(fitting, f"{where}padding", spec.padding, rule)
    rows = fits(sides[0], high, down, top, bottom)
    columns = fits(sides[1], wide, across, left, right)
    kernel = shortest(spec.kernel)
    require(min(rows, columns) > 0, f"{where}kernel", kernel, f"larger than its input {shape}")
    if spec.kind == "conv2d":
        divides = channels % spec.groups == 0 and spec.outputs % spec.groups == 0
        rule = f"must divide {channels} inputs and {spec.outputs} outputs"
        require(divides, f"{where}groups", spec.groups, rule)
        channels = spec.outputs
    return channels, rows, columns
