"""Intervals against SciPy, against values worked by hand, and by how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from powtwo.evaluation import intervals

counts = st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_wilson_is_scipys(count: tuple[int, int]) -> None:
    right, total = count
    theirs = binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert intervals.of_fraction(right, total) == pytest.approx(tuple(theirs), abs=1e-12)


def test_the_ends_are_exact() -> None:
    assert intervals.of_fraction(0, 7)[0] == 0
    assert intervals.of_fraction(7, 7)[1] == 1


@pytest.mark.parametrize("truth", [0.5, 0.9, 0.98])
def test_wilson_holds_the_truth_about_95_times_in_100(truth: float) -> None:
    total = 1000
    bounds = [intervals.of_fraction(k, total) for k in range(total + 1)]
    held = [low <= truth <= high for low, high in bounds]
    assert binom.pmf(np.arange(total + 1), total, truth) @ held == pytest.approx(0.95, abs=0.01)


def test_paired_by_hand() -> None:
    # 30 lost and 10 gained of 998: with one added to each and two to all, 31 and 11 of 1,000.
    half = 1.959963984540054 * math.sqrt((0.031 + 0.011 - 0.02**2) / 1000)
    low, high = intervals.of_paired_difference(30, 10, 998)
    assert (low, high) == pytest.approx((0.02 - half, 0.02 + half), rel=1e-12)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(600, 10_000))
def test_paired_is_symmetric_and_holds_no_difference_where_there_is_none(
    more: int, fewer: int, total: int
) -> None:
    low, high = intervals.of_paired_difference(more, fewer, total)
    assert intervals.of_paired_difference(fewer, more, total) == pytest.approx((-high, -low))
    assert -1 <= low < high <= 1
    assert more != fewer or low < 0 < high


def test_paired_holds_the_truth_about_95_times_in_100() -> None:
    draw = np.random.default_rng(0)
    seen = draw.multinomial(1000, [0.03, 0.01, 0.96], size=4000)
    held = [
        low <= 0.02 <= high
        for low, high in (intervals.of_paired_difference(a, b, 1000) for a, b, _ in seen.tolist())
    ]
    assert np.mean(held) == pytest.approx(0.95, abs=0.012)


def test_paired_stays_within_one() -> None:
    assert intervals.of_paired_difference(2, 0, 2)[1] == 1
    assert intervals.of_paired_difference(0, 2, 2)[0] == -1


@pytest.mark.parametrize(("right", "total"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(right: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"right = {right}, total = {total}: must"):
        intervals.of_fraction(right, total)


@pytest.mark.parametrize("counts", [(0, 0, 0), (-1, 0, 5), (3, 3, 5)])
def test_impossible_pairs_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=f"more = {counts[0]}, fewer = {counts[1]}"):
        intervals.of_paired_difference(*counts)
