"""One layer of integers, and the arithmetic that defines it.

The reference runs on int32 accumulators and int64 shifts, one readable step after another. What it
gives is right by definition; every engine and every export is measured against it.

Source: integer-only inference, Jacob et al. 2018, https://arxiv.org/abs/1712.05877
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from powtwo.core import convolution
from powtwo.core.windows import Sides, four, pad_argument, pair
from powtwo.integer import fixedpoint, schema, tiles, weightless
from powtwo.integer.fixedpoint import Grid
from powtwo.integer.rounding import Rounding, half_unit

GRIDS = {
    "uniform": Grid.of_weights,
    "power_of_two": Grid.of_powers,
    "power_of_two_nonzero": Grid.of_nonzero_powers,
}
INT32_BITS = 32
INT32_LIMIT = 2**31
Exponents = int | tuple[int, ...]  # one for a whole weight, or one for each output channel


def as_exponents(values: int | list[int]) -> Exponents:
    """Return exponents as a layer holds them, from JSON or a tensor's `tolist`."""
    return tuple(values) if isinstance(values, list) else values


@dataclass(frozen=True)
class ActivationQParams:
    """How an activation tensor is coded: x ≈ 2^exponent · (code − zero_point)."""

    exponent: int
    zero_point: int = 128
    bits: int = 8

    @property
    def grid(self) -> Grid:
        """Return the unsigned codes that may be used."""
        return Grid.of_activations(self.bits, self.zero_point)

    @property
    def centered_range(self) -> tuple[int, int]:
        """Return the least and the largest code − zero_point."""
        grid = self.grid
        return grid.quant_min - grid.zero_point, grid.quant_max - grid.zero_point


@dataclass(frozen=True)
class WeightFormat:
    """How a weight is coded: w ≈ 2^e · code, in `bits`."""

    bits: int = 8
    kind: str = "uniform"  # or power_of_two: 0 and ±2^k; or power_of_two_nonzero: ±2^k alone

    @property
    def grid(self) -> Grid:
        """Return the signed codes that may be used."""
        return GRIDS[self.kind](self.bits)

    @property
    def is_powers(self) -> bool:
        """Tell whether a multiplication by a code is a shift."""
        return self.grid.powers

    @property
    def width(self) -> int:
        """Return the bits of the integer that holds a code; ±2^6, four bits, is an int8."""
        return schema.width(self.kind, self.bits)


@dataclass(frozen=True, eq=False)
class Layer:
    """One integer layer; what a kind does not need keeps its default."""

    kind: str  # conv2d, linear, add, maxpool2d, avgpool2d, flatten
    weight: Tensor | None = None  # int8 (O, I / groups, kH, kW) or (O, I)
    bias: Tensor | None = None  # int32 (O,)
    weight_exponent: Exponents = 0
    weight_format: WeightFormat = WeightFormat()  # frozen, so safe to share
    input: ActivationQParams | None = None
    output: ActivationQParams | None = None  # None: the accumulators themselves, int32
    relu: bool = False
    stride: Sides = 1
    padding: Sides = 0
    kernel: Sides = 0
    groups: int = 1
    inputs: tuple[int, ...] | None = None  # earlier layers, -1 the image; None: the layer before
    second: ActivationQParams | None = None  # of what an addition reads beside `input`
    maximum: int | None = None  # the largest code, where ReLU6 cuts below the grid's
    accumulator_bits: int = 32  # of its sums, or, with tiles, of each tile's
    tile_ends: Tensor | None = None  # int32 (O, T), as `tiles` has them; None: one sum an output

    @property
    def weight_bits(self) -> int:
        """Return the bits of the integers that the weights are."""
        return self.weight_format.width

    @property
    def has_weights(self) -> bool:
        """Tell whether the layer multiplies and accumulates."""
        return self.weight is not None

    @property
    def accumulates(self) -> bool:
        """Tell whether the layer has accumulators: sums that it requantizes, or gives."""
        return self.input is not None

    @property
    def reads(self) -> tuple[ActivationQParams, ...]:
        """Return how each input of a layer that accumulates is coded."""
        assert self.input is not None
        return (self.input,) if self.second is None else (self.input, self.second)

    @property
    def gains(self) -> tuple[int, ...]:
        """Return how often each input is in an accumulator of a layer without weights."""
        exponents = [codes.exponent for codes in self.reads]
        return weightless.gains(self.kind, exponents, self.kernel)

    @property
    def largest_code(self) -> int:
        """Return the largest code that the layer gives."""
        assert self.output is not None
        return self.output.grid.quant_max if self.maximum is None else self.maximum

    @property
    def weight_values(self) -> Tensor:
        """Return what the weight's codes stand for, float64 (O, …)."""
        assert self.weight is not None
        exponent = fixedpoint.by_output(self.weight_exponent, self.weight)
        return fixedpoint.dequantize(self.weight, exponent, 0)

    @property
    def accumulator_exponent(self) -> Tensor:
        """Return e_x + e_w, int64, of shape () or (O,); of an addition or an average its e."""
        exponents = [codes.exponent for codes in self.reads]
        exponent = weightless.exponent(self.kind, exponents, self.kernel)
        return torch.tensor(self.weight_exponent) + exponent

    @property
    def shift(self) -> Tensor:
        """Return n = e_y − e_x − e_w, int64, of shape () or (O,), of a layer that gives codes."""
        assert self.output is not None
        return self.output.exponent - self.accumulator_exponent

    @property
    def half_unit(self) -> Tensor:
        """Return what `half_up` adds before the shift: 2^(n−1), 0 where nothing is rounded."""
        if self.output is None:
            return torch.tensor(0)
        # The bound asks before `check` has refused a shift that is out of range.
        return half_unit(self.shift.clamp(0, fixedpoint.MAX_SHIFT))

    @property
    def largest_input(self) -> int:
        """Return the largest |x − z| of the codes that the layer reads."""
        return max(map(abs, self.input_range))

    @property
    def input_range(self) -> tuple[int, int]:
        """Return the least and the largest x − z of the codes that the layer reads."""
        assert self.input is not None
        return self.input.centered_range

    @cached_property
    def bound(self) -> Tensor:
        """Return the largest |accumulator| that any input can give, int64 (O,) or ().

        |b| + Σ|w| · max|x − z|, the half unit of a rounding shift included.
        """
        if self.weight is None:
            ranges = [
                (-most, most) for most in (max(map(abs, x.centered_range)) for x in self.reads)
            ]
            return self.bound_of_ranges(ranges)
        return self.bound_for(-self.largest_input, self.largest_input)

    @cached_property
    def narrow_bound(self) -> Tensor:
        """Return `bound` for inputs in their range, int64 (O,): what few bits are held against.

        Without a negative input it is half as large where positive and negative weights balance
        (A2Q+, Colbert et al. 2024, https://arxiv.org/abs/2401.10432, §3).
        """
        return self.bound_for(*self.input_range)

    def bound_for(self, low: int, high: int) -> Tensor:
        """Return the largest |partial sum|, in any order, of inputs low ≤ x − z ≤ high, int64 (O,).

        With low ≤ 0 ≤ high. The half unit of a rounding shift is included.
        """
        assert self.weight is not None
        assert self.bias is not None
        weight, bias = self.weight.flatten(1), self.bias.to(torch.int64)
        above = weight.clamp(min=0).sum(1, dtype=torch.int64)  # Σ of the positive weights
        below = weight.clamp(max=0).sum(1, dtype=torch.int64)
        most = above * high + below * low + bias.clamp(min=0)
        least = above * low + below * high + bias.clamp(max=0)
        return torch.maximum(most, -least) + self.half_unit

    def bound_of_ranges(self, ranges: Sequence[tuple[int, int]]) -> Tensor:
        """Return `bound_for` a range of each input, int64 (O,), or () without weights."""
        if self.weight is None:
            return weightless.bound(self.gains, ranges) + self.half_unit
        return self.bound_for(*ranges[0])


def accumulate(layer: Layer, *codes: Tensor) -> Tensor:
    """Return the int32 accumulators of a layer: a = b + Σ (x − z) · w, or those of `weightless`.

    Args:
        layer: one that accumulates.
        codes: uint8 (N, C, H, W) or (N, I), of each input.

    Returns:
        int32 (N, O, H', W') or (N, O). No sum leaves int32: `IntegerNetwork` checked the bound.
    """
    # With z subtracted first, a padded 0 is a padded z: the position adds nothing.
    centered = [
        x.to(torch.int32) - read.zero_point for x, read in zip(codes, layer.reads, strict=True)
    ]
    if layer.kind == "add":
        x, other = (part * gain for part, gain in zip(centered, layer.gains, strict=True))
        return x + other
    (x,) = centered
    if layer.kind == "avgpool2d":
        return windows(F.pad(x, pad_argument(layer.padding)), layer).sum((-2, -1)).to(torch.int32)
    assert layer.weight is not None
    assert layer.bias is not None
    weight = layer.weight.to(torch.int32)
    if layer.kind == "conv2d":
        return convolve(x, weight, layer.bias, layer)
    return (x @ weight.T) + layer.bias


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, layer: Layer) -> Tensor:
    """Convolve (N, C, H, W), of which a padded position is 0, as a conv2d layer slides."""
    return convolution.convolve(
        x, weight, bias, stride=layer.stride, padding=layer.padding, groups=layer.groups
    )


def windows(x: Tensor, layer: Layer) -> Tensor:
    """View (N, C, H, W), padded already, as the windows of a pooling, (N, C, H', W', kH, kW)."""
    (high, wide), (rows, columns) = pair(layer.kernel), pair(layer.stride)
    return x.unfold(2, high, rows).unfold(3, wide, columns)


def requantize_output(layer: Layer, accumulators: Tensor, rounding: Rounding) -> Tensor:
    """Apply ReLU and requantize int32 accumulators (N, O, …).

    Returns:
        uint8 codes clamp(shift(a, n) + z), or the int32 accumulators where the layer gives those.
    """
    if layer.relu:
        accumulators = accumulators.clamp(min=0)
    if layer.output is None:
        return accumulators
    shift = fixedpoint.by_channel(layer.shift, accumulators.dim())
    codes = fixedpoint.shift(accumulators, shift, rounding) + layer.output.zero_point
    return codes.clamp(layer.output.grid.quant_min, layer.largest_code).to(torch.uint8)


def pool_or_flatten(layer: Layer, codes: Tensor) -> Tensor:
    """Apply max pooling or flattening, which work on codes as they are.

    A padded position holds the lowest code, which no window gives: each sees one of the image.
    """
    if layer.kind == "flatten":
        return codes.flatten(1)
    codes = codes.to(torch.int32)
    if any(four(layer.padding)):
        codes = F.pad(codes, pad_argument(layer.padding))
    pooled = F.max_pool2d(codes, pair(layer.kernel), pair(layer.stride))
    return pooled.to(torch.uint8)


def check(index: int, layer: Layer) -> None:
    """Refuse a layer whose shift or accumulator would leave what the hardware has.

    Raises:
        ValueError: naming the layer, the value and the limit.
    """
    if not layer.accumulates:
        return
    worst = int(layer.bound.max())
    if worst >= INT32_LIMIT:
        raise ValueError(
            f"layer {index}: accumulators can reach {worst}; they must stay below 2^31: "
            "use fewer bits or a coarser exponent"
        )
    _check_width(index, layer)
    if layer.output is None:
        return
    lowest, highest = int(layer.shift.min()), int(layer.shift.max())
    if lowest < 0 or highest > fixedpoint.MAX_SHIFT:
        raise ValueError(
            f"layer {index}: shifts of {lowest} to {highest}; they must be "
            f"0 to {fixedpoint.MAX_SHIFT}: coarsen an exponent"
        )


def _check_width(index: int, layer: Layer) -> None:
    """Refuse a layer whose sums, or whose tiles' sums, would leave its accumulators.

    Raises:
        ValueError: naming the layer, the value and the limit.
    """
    bits, worst = layer.accumulator_bits, 0
    if layer.tile_ends is not None:
        assert layer.weight is not None
        ends = layer.tile_ends.numpy()
        worst = tiles.largest_sum(layer.weight.numpy(), *layer.input_range, ends)
    elif bits < INT32_BITS:
        worst = int(layer.narrow_bound.max())
    if worst >= 2 ** (bits - 1):
        raise ValueError(
            f"layer {index}: accumulators can reach {worst}; of {bits} bits they must stay below "
            f"2^{bits - 1}: use more bits, or tiles"
        )
