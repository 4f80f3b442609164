"""Learned rounding against a plain descent in Python's integers, and against every choice."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from powtwo.calibration.learned_rounding import Moments, learn, nearest
from powtwo.integer.fixedpoint import Grid

THREE_BITS, FOUR_BITS = Grid.of_weights(3).codes, Grid.of_weights(4).codes


def problem(
    seed: int, inputs: int = 6, outputs: int = 3, samples: int = 40
) -> tuple[Tensor, Tensor, Tensor]:
    """Make weights in steps, correlated codes that are never negative, and wanted outputs."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randint(0, 40, (samples, 1), generator=generator)
    x = torch.randint(0, 30, (samples, inputs), generator=generator) + common
    weight = torch.randn(outputs, inputs, generator=generator, dtype=torch.float64) * 2
    return weight, x, torch.round(x.double() @ weight.T)


def error(codes: tuple[float, ...], x: Tensor, y: Tensor) -> int:
    """Return Σ (y − c·x)² of one output, sample by sample."""
    rows = zip(x.tolist(), y.tolist(), strict=True)
    return sum((int(t) - sum(int(c) * v for c, v in zip(codes, row, strict=True))) ** 2
               for row, t in rows)  # fmt: skip


def plain_descent(weight: Tensor, moments: Moments, levels: Tensor, sweeps: int) -> list[list[int]]:
    """Descend column by column in exact fractions, with no blocks and no permuted copies."""
    gram = [[int(v) for v in row] for row in moments.gram.tolist()]
    cross = [[int(v) for v in row] for row in moments.cross.tolist()]
    order = sorted(range(len(gram)), key=lambda k: -gram[k][k])
    choices = [int(v) for v in levels.tolist()]

    def closest(value: Fraction) -> int:
        return min(choices, key=lambda level: (abs(level - value), level))

    codes = [[closest(Fraction(w)) for w in row] for row in weight.tolist()]
    for _ in range(sweeps):
        for row, wanted in zip(codes, cross, strict=True):
            for k in order:
                slope = sum(h * c for h, c in zip(gram[k], row, strict=True)) - wanted[k]
                row[k] = closest(row[k] - Fraction(slope, gram[k][k]))
    return codes


@pytest.mark.parametrize(
    "levels",
    [
        Grid.of_weights(2).codes,
        FOUR_BITS,
        Grid.of_powers(4).codes,
        Grid.of_powers(3).codes,
    ],
)
@pytest.mark.parametrize(("inputs", "sweeps"), [(5, 1), (5, 8), (150, 2)])  # 150: three blocks
def test_codes_are_those_of_a_plain_descent(levels: Tensor, inputs: int, sweeps: int) -> None:
    weight, x, y = problem(inputs, inputs)
    moments = Moments.of(x, y)
    expected = plain_descent(weight, moments.damped(weight, 0.01), levels, sweeps)
    assert learn(weight, moments, levels, 0.01, sweeps).tolist() == expected


@pytest.mark.parametrize("seed", range(8))
def test_no_single_code_can_be_better(seed: int) -> None:
    weight, x, y = problem(seed, inputs=4)
    damped = Moments.of(x, y).damped(weight, 0.01)
    codes = learn(weight, Moments.of(x, y), THREE_BITS, sweeps=100)
    lowest = damped.error(codes)
    for k, level in itertools.product(range(4), THREE_BITS.tolist()):
        other = codes.clone()
        other[:, k] = level
        assert bool((damped.error(other) >= lowest).all())


def test_it_finds_the_best_of_all_choices_where_one_sees_it() -> None:
    better = 0
    for seed in range(12):
        weight, x, y = problem(seed, inputs=3, outputs=1)
        codes = learn(weight, Moments.of(x, y), THREE_BITS, damping=0)
        every = [error(c, x, y[:, 0]) for c in itertools.product(THREE_BITS.tolist(), repeat=3)]
        found = error(tuple(codes[0].tolist()), x, y[:, 0])
        rounded = error(tuple(nearest(weight, THREE_BITS)[0].tolist()), x, y[:, 0])
        assert min(every) <= found <= rounded
        better += found < rounded
    assert better > 0


def test_inputs_that_have_nothing_in_common_leave_rounding_to_nearest() -> None:
    weight, _, _ = problem(0)
    x = torch.eye(6, dtype=torch.int64) * 1000
    codes = learn(weight, Moments.of(x, torch.round(1000 * weight.T)), FOUR_BITS)
    assert torch.equal(codes, nearest(weight, FOUR_BITS))


def test_an_input_that_is_always_zero_rounds_to_nearest() -> None:
    weight, x, y = problem(0)
    x[:, 2] = 0
    codes = learn(weight, Moments.of(x, y), FOUR_BITS)
    assert torch.equal(codes[:, 2], nearest(weight[:, 2], FOUR_BITS))
    assert bool(codes.isfinite().all())


def test_moments_are_sums_and_their_error_is_the_outputs() -> None:
    weight, x, y = problem(3)
    moments = Moments.of(x, y)
    assert moments.gram[1, 4].item() == sum(a * b for a, b in x[:, [1, 4]].tolist())
    cross = zip(y[:, 2].tolist(), x[:, 4].tolist(), strict=True)
    assert moments.cross[2, 4].item() == sum(int(a) * b for a, b in cross)
    codes = nearest(weight, FOUR_BITS)
    by_hand = [error(tuple(codes[o].tolist()), x, y[:, o]) for o in range(3)]
    assert moments.error(codes).tolist() == by_hand


def test_order_batches_and_threads_do_not_matter() -> None:
    weight, x, y = problem(5, inputs=100, samples=300)
    whole = Moments.of(x, y)
    flipped = Moments.of(x[170:].flip(0), y[170:].flip(0)) + Moments.of(x[:170], y[:170])
    for name in ("count", "inputs", "outputs", "gram", "cross", "energy"):
        assert torch.equal(*(torch.as_tensor(getattr(m, name)) for m in (whole, flipped)))
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        codes = learn(weight, flipped, FOUR_BITS)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(codes, learn(weight, whole, FOUR_BITS))


def test_centered_moments_leave_the_error_that_no_bias_can_take() -> None:
    weight, x, y = problem(7)
    codes = nearest(weight, THREE_BITS)
    difference = y - x.double() @ codes.T
    variance = (difference - difference.mean(0)).square().sum(0)
    # Each entry of the moments was rounded to an integer: ½ · |c_j c_k| and the like.
    slack = 0.5 * (1 + codes.abs().sum(1)) ** 2
    centered = Moments.of(x, y + 1000).centered()
    assert bool(((centered.error(codes) - variance).abs() <= slack).all())


def test_the_nearest_of_two_as_close_is_the_lower() -> None:
    values = torch.tensor([-9.0, 1.5, 1.51, 3.0, 3.1, 0.5], dtype=torch.float64)
    assert nearest(values, Grid.of_powers(3).codes).tolist() == [-4, 1, 2, 2, 4, 0]


@pytest.mark.parametrize(("inputs", "outputs"), [(2**26, 1), (2**10, 2**44)])
def test_sums_that_float64_cannot_hold_are_refused(inputs: int, outputs: int) -> None:
    x, y = torch.full((3, 2), inputs), torch.full((3, 1), outputs)
    with pytest.raises(ValueError, match="3 samples: their sums reach 2\\^53.*fewer images"):
        learn(torch.ones(1, 2, dtype=torch.float64), Moments.of(x, y), Grid.of_weights(8).codes)
