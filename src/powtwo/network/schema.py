"""What the file of a trained network may say, and whether it fits its tensors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Discriminator, Field, Tag

from powtwo.core import strict, tensors
from powtwo.core.strict import Part
from powtwo.core.tensors import Arrays
from powtwo.dataset.params import Normalize, check_normalization
from powtwo.network import architecture, spec
from powtwo.network.graph import GraphArchitecture
from powtwo.network.params import Model

Pixels = Annotated[int, Field(ge=0, le=2**16)]
Index = Annotated[int, Field(ge=-1, le=1000)]
Size = Annotated[int, Field(ge=1, le=2**16)]
Channels = Annotated[list[float], Field(max_length=2**16, fail_fast=True)]
Image = Annotated[list[Size], Field(min_length=3, max_length=3)]  # C, H, W
Entry = Annotated[Size | Literal["M"], Field(union_mode="left_to_right")]


class Architecture(Part):
    """The layout, how many classes there are, and the images where they are not the lab's."""

    layout: Annotated[list[Entry], Field(max_length=1000, fail_fast=True)]
    hidden: Annotated[list[Size], Field(max_length=1000, fail_fast=True)]
    classes: Size
    image: Image | None = None

    @property
    def value(self) -> architecture.Architecture:
        """Return what builds the network."""
        channels, height, width = self.image or architecture.LAB_IMAGE
        layout, hidden = tuple(self.layout), tuple(self.hidden)
        image = channels, height, width
        return architecture.Architecture(layout, hidden, self.classes, image)


def _sides(value: Any) -> str:
    return "each side" if isinstance(value, list) else "all sides"


Sides = Annotated[
    Annotated[Pixels, Tag("all sides")]
    | Annotated[list[Pixels], Field(min_length=2, max_length=4), Tag("each side")],
    Discriminator(_sides),
]


class Layer(Part):
    """A layer of a graph; absent is what its kind does not need, or is as in `LayerSpec`."""

    kind: Annotated[str, Field(max_length=20)]
    inputs: Annotated[list[Index], Field(min_length=1, max_length=2)] | None = None
    outputs: Size | None = None
    kernel: Sides | None = None
    stride: Sides | None = None
    padding: Sides | None = None
    groups: Size | None = None
    bias: bool | None = None
    epsilon: Annotated[float, Field(gt=0, le=1)] | None = None
    momentum: Annotated[float, Field(ge=0, le=1)] | None = None
    probability: Annotated[float, Field(gt=0, lt=1)] | None = None

    @property
    def value(self) -> spec.LayerSpec:
        """Return the layer."""
        values: dict[str, Any] = self.model_dump(exclude_none=True)
        for key, value in values.items():
            values[key] = tuple(value) if isinstance(value, list) else value
        return spec.LayerSpec(**values)


class Graph(Part):
    """A list of layers, and the images that they are for."""

    image: Image
    layers: Annotated[list[Layer], Field(min_length=1, max_length=1000, fail_fast=True)]

    @property
    def value(self) -> GraphArchitecture:
        """Return what builds the network."""
        layers = tuple(layer.value for layer in self.layers)
        return GraphArchitecture(spec.Specs(tuple(self.image), layers))


def _form(value: Any) -> str:
    return "a graph" if isinstance(value, dict) and "layers" in value else "a stack"


class Input(Part):
    """The normalization of the pixels."""

    kind: Normalize
    mean: Channels | None
    std: Channels | None


class Trained(Part):
    """The whole of it."""

    architecture: Annotated[
        Annotated[Architecture, Tag("a stack")] | Annotated[Graph, Tag("a graph")],
        Discriminator(_form),
    ]
    input: Input
    sha256: str | None = None


def validated(values: dict[str, Any], arrays: Arrays) -> Trained:
    """Return what a file says as a typed value, which fits its tensors.

    Raises:
        ValueError: naming the key or the tensor, its value and the rule.
    """
    network = strict.validate(Trained, values)
    if isinstance(network.architecture, Graph):
        _check_sides(network.architecture)
    else:
        strict.validate(Model, network.architecture.model_dump(include={"layout", "hidden"}))
    value, pixels = network.architecture.value, network.input
    check_normalization("input ", pixels.kind, pixels.mean, pixels.std, value.image[0])
    with torch.device("meta"):  # shapes alone, without their memory
        expected = value.build().state_dict()
    if wrong := expected.keys() ^ arrays.keys():
        name = min(wrong)
        fault = "missing" if name in expected else "not of this architecture"
        raise ValueError(f"tensor {name}: {fault}")
    for name, tensor in expected.items():
        dtype = str(tensor.dtype).removeprefix("torch.")
        tensors.check_array(name, arrays[name], dtype, tuple(tensor.shape))
        if name.endswith("running_var"):  # whose root is a divisor
            least = float(arrays[name].min())
            strict.require(least >= 0, name, least, "a variance must not be below 0")
    tensors.check_digest(values, arrays)
    return network


def _check_sides(network: Graph) -> None:
    """Check that windows have as many numbers as they may, and each layer what its kind needs."""
    for index, layer in enumerate(network.layers):
        for key, counts in (("kernel", (2,)), ("stride", (2,)), ("padding", (2, 4))):
            value = getattr(layer, key)
            fits = not isinstance(value, list) or len(value) in counts
            rule = f"must be a number, or a list of {' or '.join(map(str, counts))}"
            strict.require(fits, f"layer {index}: {key}", value, rule)
            is_zero = key != "padding" and value is not None and 0 in (value, *_listed(value))
            strict.require(not is_zero, f"layer {index}: {key}", value, "must be at least 1")
        for key, kinds in (("kernel", spec.WINDOWS), ("outputs", ("conv2d", "linear"))):
            missing = layer.kind in kinds and getattr(layer, key) is None
            strict.require(not missing, f"layer {index}: {key}", None, f"{layer.kind} needs it")


def _listed(value: int | list[int]) -> list[int]:
    return value if isinstance(value, list) else []
