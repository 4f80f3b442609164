"""What exports in C, memory images and the manifest share: shapes, folded biases, input tables."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from powtwo.export.errors import UnsupportedError
from powtwo.integer import shapes
from powtwo.integer.layer import Layer
from powtwo.integer.network import Input, IntegerNetwork
from powtwo.integer.shapes import Shape

KINDS = ("conv2d", "linear", "maxpool2d", "flatten")


@dataclass(frozen=True)
class Step:
    """A layer in its place: its index in the network, and what it takes and gives for one image."""

    index: int
    layer: Layer
    input_shape: Shape
    output_shape: Shape

    @property
    def macs(self) -> int:
        """Return the multiplications for one image, padded positions counted; 0 in pooling."""
        weight = self.layer.weight
        return 0 if weight is None else weight[0].numel() * prod(self.output_shape)


def of_network(network: IntegerNetwork, format_name: str) -> list[Step]:
    """List every layer with its shapes.

    Args:
        network: the network.
        format_name: what an error calls the format that asks.

    Raises:
        UnsupportedError: where a layer is of an unknown kind or takes int32 accumulators.
    """
    shape: Shape = network.input.shape
    steps: list[Step] = []
    for index, layer in enumerate(network.layers):
        if layer.kind not in KINDS:
            raise UnsupportedError(
                f"{format_name}: layer {index} is a {layer.kind}: must be one of {', '.join(KINDS)}"
            )
        if layer.kind != "flatten" and _gives_int32(steps):
            raise UnsupportedError(
                f"{format_name}: layer {index} would take int32 accumulators: only the last layer "
                "may give them; requantize the one before"
            )
        weight = None if layer.weight is None else tuple(layer.weight.shape)
        made = shapes.output_shape(index, vars(layer), weight, shape)
        steps.append(Step(index, layer, shape, made))
        shape = made
    return steps


def folded_bias(layer: Layer, rounding: str) -> npt.NDArray[np.int32]:
    """Return the bias (O,) with which a plain floor shift rounds as the network does.

    `half_up` adds 2^(n−1) before its shift; added to the bias it costs nothing. ReLU may come in
    between: for a < 0, a + 2^(n−1) < 2^n shifts to 0 at most, and the clamp at the zero point does
    the rest. `floor` needs nothing, `half_even` cannot be folded.
    """
    assert layer.bias is not None
    if rounding != "half_up" or layer.output is None:
        return layer.bias.numpy()
    # `Layer.bound` holds the half unit, so that int32 does too.
    folded: npt.NDArray[np.int32] = (layer.bias + layer.half_unit).to(torch.int32).numpy()
    return folded


def is_folded(layer: Layer, rounding: str) -> bool:
    """Tell whether `folded_bias` adds anything."""
    return rounding == "half_up" and layer.output is not None


def input_table(given: Input) -> npt.NDArray[np.uint8] | None:
    """Return the code of every pixel, uint8 (C, 256); None where the code is the pixel itself."""
    return given.table()


def shifts(layer: Layer) -> list[int]:
    """Return the shifts of a layer: none, one for all channels, or one for each."""
    if layer.output is None:
        return []
    amounts: list[int] = layer.shift.reshape(-1).tolist()
    return amounts


def array(values: Tensor | None) -> npt.NDArray[np.generic]:
    """Return the numpy view of a tensor that a computing layer surely has."""
    assert values is not None
    return values.numpy()


def _gives_int32(steps: list[Step]) -> bool:
    computing = [step.layer for step in steps if step.layer.has_weights]
    return bool(computing) and computing[-1].output is None
