"""The float network on grids so coarse that float64 sums are exact, and so fine that none can tell.

A float64 sum depends on its order, and the order on the machine. Here weights and activations
are first rounded to multiples of a power of two, such that no sum of products passes 2^53: each
sum is then exact, and the same on every machine, whatever multiplies the matrices. An activation
keeps ten bits below the step of its codes, a weight about twenty bits of its layer's largest, so
that what is lost is a thousandth of what quantization loses.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from powtwo.calibration.restriction import ceil_exponent
from powtwo.integer.fixedpoint import by_channel, power_of_two, scaled
from powtwo.network.folded import FoldedLayer

FINER = 10  # bits of an activation below the step of its codes
LARGEST = 2**22  # units of an activation: 16 times the range of eight-bit codes
FLOAT32_LEAST, FLOAT32_MOST = -149, 105  # exponents of whose 2^22 multiples it holds each
WEIGHT_BITS = 30  # of Σ|w| in units: with an activation's 22 they make 52


class ExactFloatLayer:
    """A weighted layer whose sums are exact in float64."""

    def __init__(self, layer: FoldedLayer) -> None:
        assert layer.weight is not None
        assert layer.bias is not None
        self.layer = layer
        largest = layer.weight[0].numel() * layer.weight.abs().max()  # ≥ any Σ|w|
        exponent = int(ceil_exponent(largest)) - WEIGHT_BITS if largest else 0
        self.weight = torch.round(scaled(layer.weight, exponent)) * power_of_two(exponent)

    def sums(self, x: Tensor) -> Tensor:
        """Return Σ w·x without the bias, float64 (N, O, …), of inputs that `round_to_grid` gave."""
        x = x.double()
        if self.layer.kind == "linear":
            return F.linear(x, self.weight)
        return self.layer.convolve(x, self.weight)

    def outputs(self, sums: Tensor, exponent: int) -> Tensor:
        """Add the bias, apply ReLU and round to the grid for codes of this exponent."""
        assert self.layer.bias is not None
        outputs = sums + by_channel(self.layer.bias, sums.dim())
        return round_to_grid(self.layer.cut(outputs), exponent)


def round_to_grid(x: Tensor, exponent: int) -> Tensor:
    """Round to multiples of 2^(exponent − 10), and clamp to 2^22 of them.

    Returns:
        float32, which holds 24 bits and so each of these values; float64 where its range asks for
        it.
    """
    fine = exponent - FINER
    units = torch.round(scaled(x, fine)).clamp(-LARGEST, LARGEST)
    values = units * power_of_two(fine)
    return values.float() if FLOAT32_LEAST <= fine <= FLOAT32_MOST else values
