"""Additions and averages: what they make of their inputs, in integers; without PyTorch.

    add        a = (x̄₁ − z₁)·2^(e₁−e) + (x̄₂ − z₂)·2^(e₂−e)      e = min(e₁, e₂)
    avgpool2d  a = Σ (x̄ − z) over the k positions of a window    e = e_x − m, m = ⌈log2 k⌉

Where k is no power of two an average gives k/2^m of the mean, and whoever reads it makes that good
in its weights, before they are quantized. A padded position adds nothing, and counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from powtwo.core.windows import Sides, average_bits, pair

MOST_OCTAVES = 32  # between two exponents: beyond it no accumulator holds any code


def exponent(kind: str, exponents: Sequence[int], kernel: Sides) -> int:
    """Return the exponent of the accumulators."""
    return min(exponents) - (average_bits(kernel) if kind == "avgpool2d" else 0)


def gains(kind: str, exponents: Sequence[int], kernel: Sides) -> tuple[int, ...]:
    """Return how often each input's x̄ − z is in an accumulator, or in the largest of them."""
    if kind == "avgpool2d":
        return (prod(pair(kernel)),)
    least = min(exponents)
    return tuple(1 << min(exponent - least, MOST_OCTAVES) for exponent in exponents)


def bound(gains: Sequence[int], ranges: Sequence[tuple[int, int]]) -> int:
    """Return the largest |partial sum|, in any order, of inputs low ≤ x̄ − z ≤ high.

    With low ≤ 0 ≤ high. A half unit that rounding adds is not in it.
    """
    most = sum(gain * high for gain, (_, high) in zip(gains, ranges, strict=True))
    least = sum(gain * low for gain, (low, _) in zip(gains, ranges, strict=True))
    return max(most, -least)
