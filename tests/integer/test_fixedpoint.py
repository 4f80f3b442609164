"""Small integer domains, whole, against exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from powtwo.integer import fixedpoint
from powtwo.integer.fixedpoint import Grid


@pytest.mark.parametrize("exponent", [-9, -7, 0, 3])
@pytest.mark.parametrize("zero_point", [0, 128])
def test_every_code_survives_the_round_trip(exponent: int, zero_point: int) -> None:
    grid = Grid.of_activations(8, zero_point)
    codes = torch.arange(256)
    values = fixedpoint.dequantize(codes, exponent, zero_point)
    expected = [Fraction(q - zero_point) * Fraction(2) ** exponent for q in range(256)]
    assert [Fraction(v) for v in values.tolist()] == expected
    assert torch.equal(fixedpoint.quantize(values, exponent, grid), codes)


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_round_to_nearest_even_and_clamp(bits: int) -> None:
    grid = Grid.of_weights(bits)
    end = 4 * grid.quant_max
    halves = np.arange(-end, end + 1)  # in half steps: every tie, and beyond
    codes = fixedpoint.quantize(torch.from_numpy(halves / 16), -3, grid)  # a step is 1/8
    expected = [
        min(max(round(Fraction(int(h), 2)), grid.quant_min), grid.quant_max) for h in halves
    ]
    assert codes.tolist() == expected
    assert (grid.quant_min, grid.quant_max) == (-(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1)


def test_power_of_two_is_exact_over_the_whole_range() -> None:
    exponents = torch.arange(-1022, 1024)
    powers = fixedpoint.power_of_two(exponents).tolist()
    assert [Fraction(p) for p in powers] == [Fraction(2) ** e for e in exponents.tolist()]


def test_a_grid_lists_what_its_bits_can_say() -> None:
    assert Grid.of_weights(3).codes.tolist() == [-3, -2, -1, 0, 1, 2, 3]
    assert Grid.of_activations(2).codes.tolist() == [0, 1, 2, 3]
    assert Grid.of_powers(3).codes.tolist() == [-4, -2, -1, 0, 1, 2, 4]
    assert Grid.of_powers(4).codes.abs().max() == 64
    assert len(Grid.of_powers(4).codes) == 15
    powers = [1, 2, 4, 8, 16, 32, 64]
    assert Grid.of_nonzero_powers(3).codes.tolist() == [-8, -4, -2, -1, 1, 2, 4, 8]
    assert Grid.of_nonzero_powers(4).codes.tolist() == [-128, *(-p for p in powers[::-1]), *powers]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_nearest_power_is_the_smaller_of_two_as_near(dtype: torch.dtype) -> None:
    powers = [0, *(sign * 2**k for k in range(8) for sign in (-1, 1))]
    ties = [0.5, *(1.5 * 2**k for k in range(7))]
    sides = (torch.nextafter(torch.tensor(ties, dtype=dtype), torch.tensor(x, dtype=dtype))
             for x in (0.0, math.inf))  # fmt: skip
    hairs = [hair for side in sides for hair in side.tolist()]
    sixteenths = [n / 16 for n in range(100 * 16 + 1)]  # each tie is one of them
    sizes = [*sixteenths, *hairs]
    values = [sign * size for size in sizes for sign in (-1, 1)]
    expected = [min(powers, key=lambda p: (abs(p - Fraction(v)), abs(p))) for v in values]
    powers_of_values = fixedpoint.nearest_power(torch.tensor(values, dtype=dtype))
    assert set(ties) <= set(sixteenths)
    assert powers_of_values.tolist() == expected


@pytest.mark.parametrize("bits", [3, 4])
def test_without_zero_the_nearest_power_is_at_least_one(bits: int) -> None:
    grid = Grid.of_nonzero_powers(bits)
    values = torch.arange(-200 * 16, 200 * 16 + 1, dtype=torch.float64) / 16
    expected = [
        min(grid.codes.tolist(), key=lambda c, v=v: (abs(c - v), abs(c), -c))
        for v in values.tolist()
    ]
    assert fixedpoint.quantize(values, 0, grid).tolist() == expected
    zeros = torch.tensor([0.0, -0.0, 1e-300, -1e-300], dtype=torch.float64)
    assert fixedpoint.quantize(zeros, 0, grid).tolist() == [1, 1, 1, -1]
    assert grid.nearest(values.float()).dtype == torch.float32


@pytest.mark.parametrize(
    ("grid", "max_abs"),
    [
        (Grid.of_weights(8), 127),
        (Grid.of_powers(4), 64),
        (Grid.of_nonzero_powers(3), 8),
        (Grid.of_nonzero_powers(4), 64),  # 128 would be clipped to it, where it is positive
        (Grid.of_activations(8), 127.5),
        (Grid.of_activations(8, 0), 255),  # no code below 0, so all of the width
    ],
)
def test_largest_magnitude_of_a_grid_by_hand(grid: Grid, max_abs: float) -> None:
    assert grid.max_abs == max_abs


def test_what_is_clipped_would_have_a_code_beyond_the_grid() -> None:
    values = torch.tensor([-3.6, -3.5, -3.4, 0.0, 3.4, 3.5, 6.0, 6.1], dtype=torch.float64)
    assert fixedpoint.clipped(values, 0, Grid.of_weights(3)) == 5  # a tie goes to the even 4
    assert fixedpoint.clipped(values, 0, Grid.of_powers(3)) == 1  # 6 is the middle of 4 and 8
    assert fixedpoint.clipped(values, 0, Grid.of_activations(3, 0)) == 3  # those below 0
