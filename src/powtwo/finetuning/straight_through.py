"""Rounding that gradients pass through: the codes of weights and activations, in training.

Forward gives exactly the codes that the integer network has; backward takes the rounding for the
identity, and stops where an activation was clamped. Codes are centered (code − zero point) floats.

Sources:
1. Straight-through estimator: Bengio et al. 2013, https://arxiv.org/abs/1308.3432
2. No gradient for clamped activations: Jacob et al. 2018, https://arxiv.org/abs/1712.05877, §3
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import Function

from powtwo.integer.fixedpoint import Grid
from powtwo.integer.rounding import Rounding

Limits = tuple[int, int | Tensor]  # a tensor () where the upper one moves with exponents: ReLU6


class _Weights(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, inverse: Tensor, grid: Grid) -> Tensor:
        ctx.save_for_backward(inverse)
        codes = grid.nearest(x * inverse)
        return codes.clamp_(grid.quant_min, grid.quant_max)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (inverse,) = ctx.saved_tensors
        return gradients[0] * inverse, None, None


class _Bias(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, inverse: Tensor, floor: bool) -> Tensor:
        ctx.save_for_backward(inverse)
        steps = x * inverse
        return steps.floor_() if floor else steps.round_()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (inverse,) = ctx.saved_tensors
        return gradients[0] * inverse, None, None


class _Requantize(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, rounding: Rounding, limits: Limits) -> Tensor:
        low, high = limits
        free = rounding.steps_(x * scale)
        if isinstance(high, Tensor):
            codes = free.clamp(min=low).minimum(high)
        else:
            codes = free.clamp(low, high)
        ctx.save_for_backward(scale, free == codes)
        return codes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        scale, inside = ctx.saved_tensors
        return gradients[0] * scale * inside, None, None, None


def weight_codes(weight: Tensor, inverse: Tensor, grid: Grid) -> Tensor:
    """Return the codes of a weight (O, …); `inverse` is 2^−e, of a shape that broadcasts.

    The gradient passes clamped weights too: they may come back.
    """
    return _apply(_Weights, weight, inverse, grid)


def bias_codes(bias: Tensor, inverse: Tensor, floor: bool) -> Tensor:
    """Return a bias (O,) in steps of 2^e, `inverse` being 2^−e, rounded to nearest or floored."""
    return _apply(_Bias, bias, inverse, floor)


def requantize(
    accumulators: Tensor,
    scale: Tensor,
    rounding: Rounding,
    limits: Limits,
) -> Tensor:
    """Return clamp(shift(a, n), *limits), with `scale` 2^−n; the lower is 0 where there is a ReLU.

    The shift commutes with the ReLU, as both are monotone.
    """
    return _apply(_Requantize, accumulators, scale, rounding, limits)


def _apply(function: type[Function], *arguments: Any) -> Tensor:
    result: Tensor = function.apply(*arguments)  # type: ignore[no-untyped-call]
    return result
