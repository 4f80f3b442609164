"""Accumulators of P bits, guaranteed: weights whose sums fit for any input.

|a| < 2^(P−1) holds where Σ w̄⁺ and Σ w̄⁻, the sums of a channel's positive codes and of the
magnitudes of its negative ones, stay within `largest_sums` (sources 1 and 2). A channel beyond is
projected: of all codes that fit, those with the least squared distance to the float weights. That
is a soft threshold λ, the multiplier of the sum (source 3), and rounding, since

    (s − c)² + 2λ·c = (c − (s − λ))² + a constant        for magnitudes s of weights and c of codes

Where codes of a coarser exponent are nearer than those that fit of a finer one, they are taken.

Sources:
1. A2Q: Colbert et al. 2023, https://arxiv.org/abs/2301.13376, eq. 3 and §4
2. A2Q+: Colbert et al. 2024, https://arxiv.org/abs/2401.10432, §3 on unsigned inputs, §4 on the
   projection onto the l1 ball
3. Duchi et al. 2008, Efficient projections onto the l1-ball, https://doi.org/10.1145/1390156.1390191
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from powtwo.conversion.calibrated import CalibratedLayer
from powtwo.integer.fixedpoint import Grid, by_output, scaled
from powtwo.integer.layer import Layer, as_exponents

HALVINGS = 40  # of the interval that holds a threshold


class WeightSums(NamedTuple):
    """What the magnitudes of an output channel's codes may add up to, int64 (O,)."""

    positive: Tensor  # of positive codes
    negative: Tensor  # of negative ones
    total: Tensor  # of both


def largest_sums(
    bias: Tensor, half_unit: Tensor, input_range: tuple[int, int], bits: int
) -> WeightSums:
    """Return sums within which no accumulator of `bits` overflows, for any input in any order.

    Args:
        bias: b̄, int64 (O,).
        half_unit: what a rounding shift adds, int64 (O,) or ().
        input_range: the least and the largest x̄ − z, of which one may be 0.
        bits: P.

    Returns:
        Limits that are enough all three together; below 0 where the bias alone is too much. For
        inputs of either sign there is one sum, of all codes, and the first two repeat it.
    """
    low, high = input_range
    room, bias = 2 ** (bits - 1) - 1 - half_unit, bias.to(torch.int64)
    if low < 0:
        total = (room - bias.abs()) // max(high, -low)
        return WeightSums(total, total, total)
    positive, negative = ((room - b.clamp(min=0)) // high for b in (bias, -bias))
    return WeightSums(positive, negative, positive + negative)


@dataclass(frozen=True)
class Restriction:
    """Codes of a layer that were moved towards 0 so that its accumulators fit."""

    layer: int
    weights: int  # moved
    of: int  # weights of the layer
    channels: int  # that hold them
    bits: int  # of the accumulators
    needed: int  # bits with which none would have been moved

    def __str__(self) -> str:
        told = (
            f"layer {self.layer}: {self.weights} of {self.of} weights moved towards 0, in "
            f"{self.channels} output channels, for accumulators of {self.bits} bits"
        )
        if self.weights * 10 < self.of:
            return told
        return (
            f"{told}; {self.needed} need none: "
            f'set layers: "{self.layer}": {{accumulator: {self.needed}}}, or accumulator tiles'
        )


def cannot_fit(index: int, layer: Layer, bits: int) -> Tensor:
    """Tell of which channels not even the least codes fit, bool (O,): a bias is too large.

    Raises:
        ValueError: where codes without 0 are too many for any bias.
    """
    assert layer.bias is not None
    sums = largest_sums(layer.bias, layer.half_unit, layer.input_range, bits)
    least = _by_sign(layer, _least(layer.weight_format.grid))
    none = torch.zeros(1, dtype=torch.int64)
    free = largest_sums(none, none, layer.input_range, bits)
    if _beyond(least, free).any():
        raise ValueError(
            f"layer {index}: accumulators of {bits} bits do not hold its weights, of which none "
            f'may be 0: set layers: "{index}": {{accumulator: N}} wider, or accumulator tiles'
        )
    return _beyond(least, sums)


def restrict(layer: Layer, weight: Tensor, bits: int) -> Layer:
    """Return the layer with codes that fit accumulators of `bits`: those nearest to a weight.

    Args:
        layer: of which no channel `cannot_fit`.
        weight: the floats (O, …) that its codes stand for.
        bits: P.
    """
    assert layer.weight is not None
    assert layer.bias is not None
    over = layer.narrow_bound >= 2 ** (bits - 1)
    if not over.any():
        return layer
    sums = largest_sums(layer.bias, layer.half_unit, layer.input_range, bits)
    codes = layer.weight.flatten(1)[over].to(torch.int64)
    steps = scaled(weight, by_output(layer.weight_exponent, weight)).flatten(1)[over].abs()
    # Far beyond the codes a weight is clipped whatever it is, and sums of so many stay exact.
    steps = steps.clamp(max=2.0**8)
    grid, magnitudes = layer.weight_format.grid, codes.abs()
    sides = [_Side.of(steps, sign * codes > 0, sign * grid.codes) for sign in (1, -1)]
    if layer.input_range[0] < 0:
        magnitudes = _project(steps, magnitudes, sides, sums.total[over])
    else:
        for side, limit in zip(sides, sums, strict=False):
            magnitudes = _project(steps, magnitudes, [side], limit[over])
    whole = layer.weight.clone()
    whole[over] = (magnitudes * codes.sign()).view_as(layer.weight[over]).to(torch.int8)
    return replace(layer, weight=whole)


def fit(
    layer: CalibratedLayer, quantize: Callable[[CalibratedLayer], Layer], bits: int
) -> tuple[CalibratedLayer, Layer]:
    """Choose the weight exponents whose codes, once they fit, have the least squared error.

    Coarser ones are tried as long as the error falls, something is left to restrict, and no shift
    would be below 0.

    Args:
        layer: of which no channel `cannot_fit`.
        quantize: gives the layer in integers.
        bits: P, of its accumulators.
    """
    weight, shared = layer.source.weight, isinstance(layer.weight_exponent, int)
    assert weight is not None
    exponents = best = torch.tensor(layer.weight_exponent)
    least = torch.full((len(weight),), math.inf, dtype=torch.float64)
    active = torch.ones(len(weight), dtype=torch.bool)
    while True:
        plain = quantize(_with(layer, exponents))
        over = plain.narrow_bound >= 2 ** (bits - 1)
        if torch.isinf(least).all() and not over.any():
            return layer, plain
        errors = _squared_errors(restrict(plain, weight, bits), weight, active, shared)
        better = errors < least
        least = torch.minimum(least, errors)
        best = torch.where(better.all() if shared else better, exponents, best)
        active = over.any() & better if shared else over & better
        if plain.output is not None:
            active = active & (plain.shift > 0)
        if not active.any():
            break
        exponents = exponents + (1 if shared else active.to(torch.int64))
    chosen = _with(layer, best)
    return chosen, restrict(quantize(chosen), weight, bits)


def restriction(index: int, plain: Layer, restricted: Layer) -> Restriction | None:
    """Return how a layer's codes differ from those before they were restricted."""
    assert plain.weight is not None
    assert restricted.weight is not None
    moved = (plain.weight != restricted.weight).flatten(1)
    if not moved.any():
        return None
    needed = int(plain.narrow_bound.max()).bit_length() + 1
    count, channels = int(moved.sum()), int(moved.any(1).sum())
    return Restriction(index, count, moved.numel(), channels, restricted.accumulator_bits, needed)


def _with(layer: CalibratedLayer, exponents: Tensor) -> CalibratedLayer:
    return replace(layer, weight_exponent=as_exponents(exponents.tolist()))


def _least(grid: Grid) -> int:
    """Return the least magnitude of a code: 1 where 0 is none."""
    return int(grid.codes.abs().min())


def _by_sign(layer: Layer, magnitude: int) -> WeightSums:
    """Return the sums of codes that all had one magnitude."""
    assert layer.weight is not None
    rows = layer.weight.flatten(1)
    positive, negative = (rows > 0).sum(1) * magnitude, (rows < 0).sum(1) * magnitude
    return WeightSums(positive, negative, positive + negative)


def _beyond(sums: WeightSums, limits: WeightSums) -> Tensor:
    return torch.stack([s > limit for s, limit in zip(sums, limits, strict=True)]).any(0)


def _squared_errors(layer: Layer, weight: Tensor, active: Tensor, shared: bool) -> Tensor:
    """Return Σ (w − w̄·2^e)² of active channels, correctly rounded; of all where they share e."""
    squares = (weight - layer.weight_values).square().flatten(1)
    errors = torch.full((len(weight),), math.inf, dtype=torch.float64)
    if shared:
        return errors.fill_(math.fsum(squares.flatten().tolist()))
    rows = torch.tensor([math.fsum(row) for row in squares[active].tolist()], dtype=torch.float64)
    errors[active] = rows
    return errors


class _Side(NamedTuple):
    """The codes of one sign: with a threshold, a weight has the level that its steps pass."""

    members: Tensor  # bool (R, K)
    ordered: Tensor  # their steps, ascending, after −inf for all others, float64 (R, K)
    levels: Tensor  # magnitudes that a code may have, ascending, float64 (L,)

    @classmethod
    def of(cls, steps: Tensor, members: Tensor, codes: Tensor) -> _Side:
        ordered = torch.where(members, steps, -math.inf).sort(1).values
        return cls(members, ordered, codes[codes >= 0].sort().values)

    def bounds(self, threshold: Tensor) -> Tensor:
        """Return what steps must pass for each level but the first, float64 (R, L − 1)."""
        return (self.levels[1:] + self.levels[:-1]) / 2 + threshold[:, None]

    def sums(self, threshold: Tensor) -> Tensor:
        """Return the sum of the magnitudes `codes` would give, float64 (R,)."""
        passed = self.ordered.shape[1] - torch.searchsorted(
            self.ordered, self.bounds(threshold), right=True
        )
        return (passed * self.levels.diff()).sum(1) + self.members.sum(1) * self.levels[0]

    def codes(self, threshold: Tensor, steps: Tensor) -> Tensor:
        """Return the magnitudes of its codes, 0 for all others, float64 (R, K)."""
        magnitudes = torch.full_like(steps, float(self.levels[0]))
        for rise, bound in zip(self.levels.diff(), self.bounds(threshold).T, strict=True):
            magnitudes += rise * (steps > bound[:, None])
        return magnitudes * self.members


def _project(steps: Tensor, magnitudes: Tensor, sides: list[_Side], limit: Tensor) -> Tensor:
    """Return magnitudes (R, K), those of `sides` nearest to `steps` with sums within limits (R,).

    Rows that fit stay as they are.
    """
    small = torch.zeros(len(steps), dtype=torch.float64)
    large = steps.amax(1)
    for _ in range(HALVINGS):
        middle = (small + large) / 2
        fits = torch.stack([side.sums(middle) for side in sides]).sum(0) <= limit
        large, small = torch.where(fits, middle, large), torch.where(fits, small, middle)
    below, above = (
        torch.stack([side.codes(threshold, steps) for side in sides]).sum(0)
        for threshold in (large, small)
    )
    members = torch.stack([side.members for side in sides]).any(0)
    over = (magnitudes * members).sum(1) > limit
    for row in torch.nonzero(over).flatten().tolist():
        _fill(steps[row], below[row], above[row], float(limit[row]))
    return torch.where(members & over[:, None], below.to(torch.int64), magnitudes)


def _fill(steps: Tensor, below: Tensor, above: Tensor, limit: float) -> None:
    """Raise codes from `below`, which fit, to `above` where there is room: the best gain first."""
    (taps,) = torch.nonzero(above > below, as_tuple=True)
    fine, coarse = above[taps], below[taps]
    gains = (steps[taps] - coarse).square() - (steps[taps] - fine).square()
    order = torch.argsort(gains, descending=True, stable=True)
    room, raised = limit - float(below.sum()), []
    # Of lists, since there are thousands of taps, and a tensor is slow to ask for one.
    for tap, rise in zip(taps[order].tolist(), (fine - coarse)[order].tolist(), strict=True):
        if rise <= room:
            room -= rise
            raised.append(tap)
    below[raised] = above[raised]
