"""Fixed-point arithmetic: codes, power-of-two scales and rounding shifts, on tensors.

A code q stands for the value 2^e · (q − z): e the exponent, z the zero point. Pure functions, no
state; integers in, integers out, exact in every bit.

Sources:
1. Codes and zero points: Jacob et al. 2018, https://arxiv.org/abs/1712.05877, §2
2. Power-of-two scales: Jain et al. 2020 (TQT), https://arxiv.org/abs/1903.08066
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from powtwo.integer.rounding import Rounding

MAX_SHIFT = 31  # of an int32 accumulator
MAX_INT8_POWER = 2**6
FLOAT32_EXACT = 2**24  # below it float32 holds every integer
FLOAT64_EXACT = 2**53  # and float64
LAYOUTS = {torch.float32: (torch.int32, 23), torch.float64: (torch.int64, 52)}  # mantissa bits


@dataclass(frozen=True)
class Grid:
    """The codes a tensor may take: `quant_min` … `quant_max`, with `zero_point` standing for 0."""

    quant_min: int
    quant_max: int
    zero_point: int
    powers: bool = False  # only 0 and ±2^k, so that a multiplication is a shift
    zero: bool = True  # whether a grid of powers has 0

    @classmethod
    def of_weights(cls, bits: int) -> Grid:
        """Signed and symmetric: −(2^(bits−1) − 1) … 2^(bits−1) − 1, zero point 0."""
        high = 2 ** (bits - 1) - 1
        return cls(-high, high, 0)

    @classmethod
    def of_powers(cls, bits: int) -> Grid:
        """0 and ±2^k for the 2^(bits−1) − 1 exponents k that `bits` tell apart, from 0 on.

        After Zhou et al. 2017 (INQ), https://arxiv.org/abs/1702.03044, §2.1, who spend a whole bit
        on 0 and keep half as many exponents.
        """
        high = 2 ** (2 ** (bits - 1) - 2)
        return cls(-high, high, 0, powers=True)

    @classmethod
    def of_nonzero_powers(cls, bits: int) -> Grid:
        """±2^k without 0, for the 2^(bits−1) exponents k from 0 on, as far as int8 holds them.

        Of 4 bits −2^7 … 2^6, 15 codes, for 2^7 is no int8.
        """
        high = 2 ** (2 ** (bits - 1) - 1)
        return cls(-high, min(high, MAX_INT8_POWER), 0, powers=True, zero=False)

    @classmethod
    def of_activations(cls, bits: int, zero_point: int | None = None) -> Grid:
        """Unsigned: 0 … 2^bits − 1, the zero point in the middle unless it is given."""
        middle = 2 ** (bits - 1)
        return cls(0, 2**bits - 1, middle if zero_point is None else zero_point)

    @property
    def codes(self) -> Tensor:
        """Return every code of the grid, float64, ascending."""
        every = torch.arange(self.quant_min, self.quant_max + 1, dtype=torch.float64)
        return every[self.nearest(every) == every]

    def nearest(self, steps: Tensor) -> Tensor:
        """Return the nearest codes less the zero point of floats in steps; they are not clamped."""
        if not self.powers:
            return torch.round(steps)
        powers = nearest_power(steps)
        if self.zero:
            return powers
        ones = torch.where(steps < 0, -torch.ones_like(powers), torch.ones_like(powers))
        return torch.where(powers == 0, ones, powers)

    @property
    def max_abs(self) -> float:
        """Return the largest magnitude in steps: half the width, or all of it where z is lowest.

        Of powers without 0 it is the one that both signs have.
        """
        if self.powers:
            return min(self.quant_max, -self.quant_min)
        width = self.quant_max - self.quant_min
        return width if self.zero_point == self.quant_min else width / 2


def quantize(x: Tensor, exponent: int | Tensor, grid: Grid) -> Tensor:
    """Return the codes of `x`: round(x / 2^e) + z, nearest, ties to even, clamped to the grid.

    On a grid of powers, the nearest of 0 and ±2^k instead.

    Args:
        x: floats of any shape.
        exponent: e; a tensor where it differs, of a shape that broadcasts with `x`.
        grid: the codes that may be used.

    Returns:
        int64 codes of the shape of `x`.
    """
    return unclamped(x, exponent, grid).clamp(grid.quant_min, grid.quant_max).to(torch.int64)


def unclamped(x: Tensor, exponent: int | Tensor, grid: Grid) -> Tensor:
    """Return the codes of `x` before they are clamped, as float64: beyond the grid it clips."""
    return grid.nearest(scaled(x, exponent)) + grid.zero_point


def clipped(x: Tensor, exponent: int | Tensor, grid: Grid) -> Tensor:
    """Return how many values have a code beyond the grid, int64 of shape ()."""
    codes = unclamped(x, exponent, grid)
    return ((codes < grid.quant_min) | (codes > grid.quant_max)).sum()


def nearest_power(x: Tensor) -> Tensor:
    """Return the nearest of 0, ±1, ±2 … ±2^62 to float32 or float64; of two as near, the smaller.

    |x| = 2^e · 1.m is nearer to 2^(e+1) where its mantissa m passes a half: adding just under a
    half carries into the exponent then, and only then.
    """
    integers, mantissa_bits = LAYOUTS[x.dtype]
    magnitude, just_under = x.abs(), 2 ** (mantissa_bits - 1) - 1
    carried = magnitude.view(integers).add_(just_under) >> mantissa_bits << mantissa_bits
    powers = carried.view(x.dtype).clamp_(1.0, 2.0**62).copysign_(x)
    return torch.where(x.abs() > 0.5, powers, 0.0)


def dequantize(codes: Tensor, exponent: int | Tensor, zero_point: int) -> Tensor:
    """Return the float64 values 2^e · (q − z) that the codes stand for."""
    return (codes.to(torch.int64) - zero_point).double() * power_of_two(exponent, codes.device)


def scaled(x: Tensor, exponent: int | Tensor) -> Tensor:
    """Return x / 2^e in float64, where a multiplication by a power of two is exact."""
    return x.double() * power_of_two(-exponent, x.device)


def power_of_two(exponent: int | Tensor, device: torch.device | None = None) -> Tensor:
    """Return 2^e in float64, exactly; vectorized `pow` may miss the last bit."""
    exponents = torch.as_tensor(exponent, dtype=torch.int64)
    powers = [math.ldexp(1.0, e) for e in exponents.flatten().tolist()]
    return torch.tensor(powers, dtype=torch.float64, device=device).view(exponents.shape)


def by_channel(values: Tensor, dimensions: int) -> Tensor:
    """Return values of shape () or (O,) so that they broadcast with a tensor (N, O, …)."""
    return values.view(-1, *[1] * (dimensions - 2)) if values.dim() else values


def by_output(exponent: int | tuple[int, ...], weight: Tensor) -> Tensor:
    """Return a weight's exponent, or one for each output, to broadcast with the weight (O, …)."""
    return by_channel(torch.tensor(exponent), weight.dim() + 1)


def shift(accumulators: Tensor, n: int | Tensor, rounding: Rounding) -> Tensor:
    """Divide integers by 2^n with a right shift and round.

    Args:
        accumulators: integers of any shape, of at most 32 bits.
        n: 0 … 31; a tensor where it differs, of a shape that broadcasts.
        rounding: how.

    Returns:
        int64 integers of the same shape.

    Raises:
        ValueError: where `n` is out of range.
    """
    amounts = torch.as_tensor(n, dtype=torch.int64, device=accumulators.device)
    if bool(((amounts < 0) | (amounts > MAX_SHIFT)).any()):
        raise ValueError(f"n = {n}: a shift must be 0 to {MAX_SHIFT}; coarsen an exponent")
    return rounding.shift(accumulators.to(torch.int64), amounts)
