"""Each rounding mode against its definition: a mode that is added needs one more line here."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch

from powtwo.integer import fixedpoint
from powtwo.integer.rounding import Rounding

EVERY_N = range(fixedpoint.MAX_SHIFT + 1)
RULES = {  # of a rational number
    "floor": floor,
    "half_up": lambda q: floor(q + Fraction(1, 2)),
    "half_even": round,  # Python rounds a Fraction to nearest, ties to even
}


def exact_quotients(values: np.ndarray, n: int, rounding: str) -> np.ndarray:
    """Divide by 2^n in int64, whose floor division is exact, and round by the name."""
    whole, rest = values // 2**n, values % 2**n  # the fraction is rest / 2^n, in [0, 1)
    twice = 2 * rest - 2**n  # its sign says below, at or above one half
    return (
        whole
        + {
            "floor": np.zeros_like(whole),
            "half_up": twice >= 0,
            "half_even": (twice > 0) | ((twice == 0) & (whole % 2 == 1)),
        }[rounding]
    )


def around_ties(n: int) -> np.ndarray:
    """Return ties and whole results of either sign, what lies beside them, and int32's ends."""
    near = np.arange(-9, 9)[:, None] * 2**n // 2 + np.arange(-2, 3)
    return np.append(near, [-(2**31), -(2**31) + 1, 2**31 - 1])


def shifted(values: np.ndarray, n: int, rounding: Rounding) -> list[int]:
    return fixedpoint.shift(torch.from_numpy(values), n, rounding).tolist()


@pytest.mark.parametrize("rounding", Rounding)
def test_the_oracle_itself_against_fractions(rounding: Rounding) -> None:
    values = np.arange(-40, 41)
    expected = [RULES[rounding](Fraction(int(v), 8)) for v in values]
    assert exact_quotients(values, 3, rounding).tolist() == expected


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("n", range(13))
def test_shift_of_every_accumulator(n: int, rounding: Rounding) -> None:
    values = np.arange(-128 * 2**n, 128 * 2**n)
    result = fixedpoint.shift(torch.from_numpy(values).to(torch.int32), n, rounding)
    assert np.array_equal(result.numpy(), exact_quotients(values, n, rounding))


@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("n", EVERY_N)
def test_all_that_a_mode_means_agrees_with_its_shift(n: int, rounding: Rounding) -> None:
    values, shift = around_ties(n), torch.tensor(n)
    expected = exact_quotients(values, n, rounding).tolist()
    assert shifted(values, n, rounding) == expected
    assert rounding.steps(torch.from_numpy(values).double() / 2**n).tolist() == expected
    python = (rounding.formula if n else "a").partition(";")[0].replace("^", "**")
    assert [eval(python, {"a": int(a), "n": n}) for a in values] == expected

    constant = rounding.bias_constant(shift)
    if constant is not None:
        assert (values + constant.item() >> n).tolist() == expected
    assert rounding.folds == bool(rounding.bias_constant(torch.tensor(5)))  # and None is none

    bias = rounding.after_half_even(shift)
    if bias is not None:
        twice = 2 * values + int(2 * bias)  # whole numbers, twice the kernel's sum
        assert exact_quotients(twice, n + 1, "half_even").tolist() == expected
        if n and rounding is not Rounding.HALF_EVEN:
            assert (twice % 2 ** (n + 1) != 2**n).all(), "no ties"


@pytest.mark.parametrize("rounding", Rounding)
def test_shift_by_channel_equals_shift_of_each_channel(rounding: Rounding) -> None:
    values = np.arange(-600, 600).reshape(4, 300)
    amounts = torch.tensor([0, 1, 5, 9])
    together = fixedpoint.shift(torch.from_numpy(values), amounts.view(-1, 1), rounding)
    rows = zip(values, amounts.tolist(), strict=True)
    assert together.tolist() == [shifted(row, n, rounding) for row, n in rows]
    for derived in (rounding.bias_constant, rounding.after_half_even):
        if derived(amounts) is not None:
            assert derived(amounts).tolist() == [derived(n).item() for n in amounts]


@pytest.mark.parametrize("n", [-1, 32])
def test_shift_out_of_range_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"n = {n}: a shift must be 0 to 31"):
        fixedpoint.shift(torch.zeros(1, dtype=torch.int32), n, Rounding.FLOOR)


def test_unknown_rounding_is_refused() -> None:
    with pytest.raises(ValueError, match="rounding = 'up': must be one of floor"):
        Rounding("up")
