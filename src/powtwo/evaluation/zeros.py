"""How many products have an operand that is exactly zero, which hardware may then skip.

A weight of 0 is zero, and so is a code at its zero point; in float what is 0.0, as ReLU leaves of
negative values. A padded position is a zero input. Counts are exact: each tap of a kernel meets an
input at every position, so that counting the inputs that are not zero by tap, and beside it the
weights that are not zero, counts their products.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from powtwo.core import graph
from powtwo.core.windows import Sides, pad_argument, pair
from powtwo.dataset.normalization import Normalization
from powtwo.network.folded import FoldedLayer, outputs


class AnyLayer(Protocol):
    """A layer of the float or of the integer network."""

    @property
    def kind(self) -> str:
        """Return conv2d, linear, or a kind without a weight."""

    @property
    def weight(self) -> Tensor | None:
        """Return (O, C, kH, kW) or (O, I)."""

    @property
    def stride(self) -> Sides:
        """Return the step of the kernel."""

    @property
    def padding(self) -> Sides:
        """Return the zeros on each side."""


class Zeros(NamedTuple):
    """Zeros of a weighted layer: a row of plots/zeros.

    Products are those of all images together, one for each input of each output.
    """

    layer: int
    layer_kind: str
    images: int
    weights: int
    zero_weights: int
    products: int
    zero_inputs: int  # products whose input is zero, padding among them
    zero_products: int  # products with a zero operand
    weight_share: float  # of zero_weights among weights
    input_share: float  # of zero_inputs among products
    product_share: float  # of zero_products among products


def float_zeros(
    layers: Sequence[FoldedLayer], normalization: Normalization, images: Tensor, batch_size: int
) -> list[Zeros]:
    """Count the zeros of the float network, in float64, on uint8 images (N, C, H, W).

    In float64 a sum that rounding could tip to the other side of 0 is too rare to be met.
    """
    reads = graph.sources(layers)

    def inputs() -> Iterator[list[Tensor]]:
        for pixels in torch.split(images, batch_size):
            x = normalization(pixels, torch.float64)
            values = [x, *outputs(layers, x)]
            yield [values[sources[0] + 1] for sources in reads]

    return count_zeros(layers, inputs(), len(images))


def count_zeros(
    layers: Sequence[AnyLayer], batches: Iterable[Sequence[Tensor]], images: int
) -> list[Zeros]:
    """Count the zeros of each layer that has a weight.

    Args:
        layers: of the network, in order.
        batches: for each batch what each layer reads (first), (N, C, H, W) or (N, I).
        images: of all batches together.
    """
    met = {index: torch.tensor(0) for index, layer in enumerate(layers) if layer.weight is not None}
    positions = dict.fromkeys(met, 0)
    for inputs in batches:
        for index in positions:
            taps, places = nonzero_by_tap(layers[index], inputs[index])
            met[index] = met[index] + taps
            positions[index] += places
    return [_zeros(i, layers[i], taps, positions[i], images) for i, taps in met.items()]


def nonzero_by_tap(layer: AnyLayer, x: Tensor) -> tuple[Tensor, int]:
    """Count how often each tap meets an input that is not zero, and at how many positions it does.

    Args:
        layer: a conv2d or linear layer.
        x: its input, (N, C, H, W) or (N, I), zero where the operand is.

    Returns:
        int64 (C, kH, kW) or (I,), and the positions of the kernel in all images.
    """
    assert layer.weight is not None
    alive = (x != 0).sum(0)  # images, int64 (C, H, W) or (I,)
    if layer.kind == "linear":
        return alive, len(x)
    high, wide = layer.weight.shape[2:]
    padded, (down, across) = F.pad(alive, pad_argument(layer.padding)), pair(layer.stride)
    windows = padded.unfold(1, high, down).unfold(2, wide, across)  # (C, H', W', kH, kW)
    return windows.sum((1, 2)), len(x) * windows.shape[1] * windows.shape[2]


def _zeros(index: int, layer: AnyLayer, met: Tensor, positions: int, images: int) -> Zeros:
    weight = layer.weight
    assert weight is not None
    alive = (weight != 0).to(torch.int64)
    weights, zero_weights = weight.numel(), weight.numel() - int(alive.sum())
    products = weights * positions
    # In groups, an output meets the inputs of its group alone: (groups, outputs a group, C, …).
    groups = met.shape[0] // weight.shape[1]
    by_group = alive.view(groups, -1, *weight.shape[1:])
    zero_inputs = products - by_group.shape[1] * int(met.sum())
    zero_products = products - int((by_group.sum(1).flatten(0, 1) * met).sum())
    return Zeros(
        index, layer.kind, images, weights, zero_weights, products, zero_inputs, zero_products,
        zero_weights / weights, zero_inputs / products, zero_products / products,
    )  # fmt: skip
