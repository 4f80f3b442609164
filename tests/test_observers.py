"""Observers against values worked by hand and properties that any observer must have."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from powtwo import fixedpoint, observers
from powtwo.fixedpoint import Grid
from powtwo.observers import Observer

WEIGHTS, ACTIVATIONS = Grid.of_weights(8), Grid.of_activations(8)
NAMES = sorted(Observer.known)
# Zeros and magnitudes far from the ends of float64, so that doubling stays exact.
sizes = st.floats(2.0**-40, 2.0**40) | st.just(0.0)
tensors = st.lists(st.tuples(sizes, st.sampled_from([-1, 1])), min_size=1, max_size=20).map(
    lambda pairs: torch.tensor([size * sign for size, sign in pairs], dtype=torch.float64)
)


def exponent(name: str, x: torch.Tensor, grid: Grid = WEIGHTS) -> int:
    observer = observers.make(name, grid)
    observer.observe(x)
    return observer.exponent()


@pytest.mark.parametrize(
    ("values", "grid", "expected"),
    [
        # s₀ = 2·max / 254, worked by hand; log2 in the comment.
        ([0.5, -1.0], WEIGHTS, -7),  # 1/127 = 2^−6.99
        ([0.3], WEIGHTS, -9),  # 0.3/127 = 2^−8.73, unclamped
        ([127.0], WEIGHTS, 0),  # exactly 1
        ([127.0 * 1.4142], WEIGHTS, 0),  # 2^0.49999
        ([127.0 * 1.4143], WEIGHTS, 1),  # 2^0.50008
        # s₀ = 2·max / 255
        ([1.0, -1.0], ACTIVATIONS, -7),  # 1/127.5 = 2^−6.99
        ([0.0, 3.0], ACTIVATIONS, -5),  # 3/127.5 = 2^−5.41
        ([6.1, -2.0], ACTIVATIONS, -4),  # 6.1/127.5 = 2^−4.39
    ],
)
def test_nearest_by_hand(values: list[float], grid: Grid, expected: int) -> None:
    assert exponent("lab", torch.tensor(values), grid) == expected
    assert exponent("minmax-round", torch.tensor(values), grid) == expected


def test_ceil_holds_the_range_and_floor_uses_every_code() -> None:
    assert exponent("minmax-ceil", torch.tensor([127.0])) == 0
    assert exponent("minmax-ceil", torch.tensor([127.0001])) == 1
    assert exponent("minmax-floor", torch.tensor([253.9])) == 0
    assert exponent("minmax-floor", torch.tensor([254.0])) == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_of_zeros_gets_exponent_0(name: str) -> None:
    assert exponent(name, torch.zeros(3)) == 0
    assert exponent(name, torch.zeros(0)) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_a_tensor_that_is_not_finite_is_refused_by_name(name: str, bad: float) -> None:
    observer = observers.make(name, WEIGHTS, "layer 3: weight")
    with pytest.raises(ValueError, match="layer 3: weight holds an infinity or a NaN"):
        observer.observe(torch.tensor([1.0, bad]))


def test_an_unknown_observer_is_refused() -> None:
    with pytest.raises(
        ValueError, match="observer = 'median': must be one of kl, lab, minmax-ceil"
    ):
        observers.make("median", WEIGHTS)


@pytest.mark.parametrize("name", NAMES)
@given(x=tensors)
def test_doubling_a_tensor_lowers_the_fraction_bits_by_one(name: str, x: torch.Tensor) -> None:
    if x.any():
        assert exponent(name, 2 * x) == exponent(name, x) + 1


@pytest.mark.parametrize("name", NAMES)
@given(x=tensors, factor=st.floats(1.0, 1e6))
def test_more_range_never_gives_a_smaller_scale(name: str, x: torch.Tensor, factor: float) -> None:
    wider = torch.cat([x, x.abs().max().view(1) * factor])
    assert not x.any() or exponent(name, wider) >= exponent(name, x)


@pytest.mark.parametrize("name", NAMES)
@given(x=tensors, cut=st.integers(0, 20))
def test_order_and_size_of_pieces_do_not_matter(name: str, x: torch.Tensor, cut: int) -> None:
    whole, pieces = observers.make(name, WEIGHTS), observers.make(name, WEIGHTS)
    whole.observe(x)
    pieces.observe(x[cut:].flip(0))
    pieces.observe(x[:cut])
    assert whole.exponent() == pieces.exponent()


@given(size=st.floats(2.0**-40, 2.0**40))
def test_ceil_is_the_smallest_scale_that_does_not_clip(size: float) -> None:
    e = exponent("minmax-ceil", torch.tensor([size], dtype=torch.float64))
    assert Fraction(size) <= 127 * Fraction(2) ** e
    assert Fraction(size) > 127 * Fraction(2) ** (e - 1)


@given(scale=st.floats(2.0**-60, 2.0**60))
def test_nearest_exponent_is_exact(scale: float) -> None:
    e = fixedpoint.nearest_exponent(scale)
    # |log2 s − e| < 1/2, squared to stay rational: 2^(2e−1) < s² < 2^(2e+1)
    assert Fraction(2) ** (2 * e - 1) < Fraction(scale) ** 2 < Fraction(2) ** (2 * e + 1)
