"""What exports in C, memory images and the manifest share: each layer with its shapes and bias."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from powtwo.core import graph
from powtwo.core.graph import Sources
from powtwo.integer import geometry, tiles
from powtwo.integer.geometry import Shape
from powtwo.integer.layer import Layer
from powtwo.integer.network import IntegerNetwork
from powtwo.integer.rounding import Rounding

FOLDED = "2^(shift - 1) is in it: shift with floor"  # what manifests say of such a bias


class UnsupportedError(ValueError):
    """A network that a format cannot express: one line that names the layer and says why."""


@dataclass(frozen=True, eq=False)
class Step:
    """A layer in its place: its index in the network, its shapes for one image, its constants."""

    index: int
    layer: Layer
    input_shape: Shape
    output_shape: Shape
    rounding: Rounding
    sources: Sources = (graph.IMAGE,)  # whose codes it reads: flattening moves none

    @property
    def macs(self) -> int:
        """Return the multiplications for one image, padded positions counted; 0 in pooling."""
        return self.weight[0].size * prod(self.output_shape) if self.layer.has_weights else 0

    @property
    def gives_int32(self) -> bool:
        """Tell whether the output is accumulators, which are not requantized."""
        return self.layer.accumulates and self.layer.output is None

    @property
    def weight(self) -> npt.NDArray[np.int8]:
        """Return the weights of a weighted layer, (O, I, kH, kW) or (O, I)."""
        assert self.layer.weight is not None
        return self.layer.weight.numpy()

    @property
    def bias(self) -> npt.NDArray[np.int32]:
        """Return the bias (O,) of `folded_bias`; (1,), for all, where there are no weights."""
        return folded_bias(self.layer, self.rounding).numpy()

    @property
    def accumulator_bits(self) -> int:
        """Return the bits of its sums, or of its tiles' sums."""
        return self.layer.accumulator_bits

    @property
    def tile_ends(self) -> npt.NDArray[np.int32] | None:
        """Return the first tap after each tile, (O, T); None where each output is one sum."""
        return None if self.layer.tile_ends is None else self.layer.tile_ends.numpy()

    @property
    def spills(self) -> int:
        """Return how many tiles all output channels have together."""
        return 0 if self.tile_ends is None else tiles.spills(self.tile_ends)

    @property
    def is_folded(self) -> bool:
        """Tell whether `bias` holds what the rounding adds."""
        return is_folded(self.layer, self.rounding)

    @property
    def shifts(self) -> list[int]:
        """Return the shifts: none, one for all channels, or one for each."""
        return [] if self.layer.output is None else self.layer.shift.reshape(-1).tolist()


def is_folded(layer: Layer, rounding: Rounding) -> bool:
    """Tell whether `folded_bias` holds what the rounding adds."""
    return rounding.folds and layer.output is not None


def folded_bias(layer: Layer, rounding: Rounding) -> Tensor:
    """Return the bias int32 (O,) with which a plain floor shift rounds, where `is_folded`.

    `half_up` adds 2^(n−1) before its shift; added to the bias it costs nothing. ReLU may come in
    between: for a < 0, a + 2^(n−1) < 2^n shifts to 0 at most, and the clamp at the zero point does
    the rest. Where nothing is folded, the bias is the layer's own.
    """
    bias = torch.zeros(1, dtype=torch.int32) if layer.bias is None else layer.bias
    if not is_folded(layer, rounding):
        return bias
    constant = rounding.bias_constant(layer.shift)
    assert constant is not None
    # `Layer.bound` holds the constant, so that int32 does too.
    return (bias + constant).to(torch.int32)


def steps_of(network: IntegerNetwork) -> list[Step]:
    """List every layer with its shapes.

    Raises:
        UnsupportedError: where a layer takes int32 accumulators.
        ValueError: where a layer is of an unknown kind or does not fit its input.
    """
    steps: list[Step] = []
    shapes: dict[int, Shape] = {graph.IMAGE: network.input.shape}
    origins = {graph.IMAGE: graph.IMAGE}  # the layer whose codes a flattening passes on
    for index, (layer, reads) in enumerate(zip(network.layers, network.sources, strict=True)):
        if layer.kind != "flatten" and ends_in_int32(steps):
            raise UnsupportedError(
                f"layer {index} would take int32 accumulators: only the last layer may give them; "
                "requantize the one before"
            )
        weight = None if layer.weight is None else tuple(layer.weight.shape)
        inputs = [shapes[source] for source in reads]
        shapes[index] = geometry.output_shape(index, vars(layer), weight, *inputs)
        sources = tuple(origins[source] for source in reads)
        origins[index] = sources[0] if layer.kind == "flatten" else index
        steps.append(Step(index, layer, inputs[0], shapes[index], network.rounding, sources))
    return steps


def ends_in_int32(steps: list[Step]) -> bool:
    """Tell whether the last weighted layer gives accumulators; no other may."""
    return any(step.gives_int32 for step in steps)
