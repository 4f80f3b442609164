"""What the file of a trained network may say, and whether it fits its tensors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from powtwo.core import strict, tensors
from powtwo.core.strict import Part
from powtwo.core.tensors import Arrays
from powtwo.dataset.images import CHANNELS
from powtwo.dataset.params import Normalize, check_normalization
from powtwo.network import architecture
from powtwo.network.params import Model

Size = Annotated[int, Field(ge=1, le=2**16)]
Channels = Annotated[list[float], Field(max_length=2**16, fail_fast=True)]
Entry = Annotated[Size | Literal["M"], Field(union_mode="left_to_right")]


class Architecture(Part):
    """The layout, and how many classes there are."""

    layout: Annotated[list[Entry], Field(max_length=1000, fail_fast=True)]
    hidden: Annotated[list[Size], Field(max_length=1000, fail_fast=True)]
    classes: Size

    @property
    def value(self) -> architecture.Architecture:
        """Return what builds the network."""
        return architecture.Architecture(tuple(self.layout), tuple(self.hidden), self.classes)


class Input(Part):
    """The normalization of the pixels."""

    kind: Normalize
    mean: Channels | None
    std: Channels | None


class Trained(Part):
    """The whole of it."""

    architecture: Architecture
    input: Input
    sha256: str | None = None


def validated(values: dict[str, Any], arrays: Arrays) -> Trained:
    """Return what a file says as a typed value, which fits its tensors.

    Raises:
        ValueError: naming the key or the tensor, its value and the rule.
    """
    network = strict.validate(Trained, values)
    strict.validate(Model, network.architecture.model_dump(include={"layout", "hidden"}))
    pixels = network.input
    check_normalization("input ", pixels.kind, pixels.mean, pixels.std, CHANNELS)
    with torch.device("meta"):  # shapes alone, without their memory
        expected = network.architecture.value.build().state_dict()
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
