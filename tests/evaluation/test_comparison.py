"""Statistics against values worked by hand, definitions and SciPy, and by how often they hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import random_network, random_pixels
from scipy.stats import binom, binomtest

from powtwo import engine
from powtwo.evaluation import comparison
from powtwo.evaluation.comparison import paired_interval, wilson_interval


def test_compare_counts_each_image_by_hand() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    exact = torch.tensor([0, 1, 2, 0, 0, 0, 1, 1])
    measured = torch.tensor([0, 1, 0, 0, 1, 0, 2, 0])
    metrics = comparison.compare(labels, exact, measured)
    bounds = {name: metrics.pop(name) for name in list(metrics) if name.endswith(("_low", "_high"))}
    assert metrics == {
        "test_images": 8,
        "float_accuracy": 5 / 8,
        "accuracy": 4 / 8,
        "drop_points": 12.5,
        "agreement": 4 / 8,
        "gained": 1,
        "lost": 2,
        "p_value": 1.0,
    }
    # Four of 8 right; of the paired counts with one added, 3 and 2 in 10.
    z = 1.959963984540054
    half = z / (8 + z**2) * math.sqrt(8 * 0.25 + z**2 / 4)
    assert bounds["accuracy_low"] == pytest.approx(0.5 - half, rel=1e-12)
    assert bounds["accuracy_high"] == pytest.approx(0.5 + half, rel=1e-12)
    half = z * math.sqrt((0.5 - 0.01) / 10)
    assert bounds["drop_points_low"] == pytest.approx(100 * (0.1 - half), rel=1e-12)
    assert bounds["drop_points_high"] == pytest.approx(100 * (0.1 + half), rel=1e-12)


@given(gained=st.integers(0, 40), lost=st.integers(0, 40))
def test_p_is_the_exact_binomial_sum(gained: int, lost: int) -> None:
    total, fewer = gained + lost, min(gained, lost)
    tail = sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total
    assert comparison.p_value(gained, lost) == pytest.approx(min(1.0, 2 * tail), rel=1e-12)


@pytest.mark.parametrize("batch_size", [1, 4, 6, 100])
def test_predictions_do_not_depend_on_the_batches(batch_size: int) -> None:
    running, pixels = engine.make(random_network(5)), random_pixels(4)
    expected = running.network.logits(pixels).argmax(1)
    assert torch.equal(comparison.predictions(running.predict, pixels, batch_size), expected)


# Intervals

counts = st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts)
def test_wilson_is_scipys(count: tuple[int, int]) -> None:
    right, total = count
    theirs = binomtest(right, total).proportion_ci(0.95, method="wilson")
    assert wilson_interval(right, total) == pytest.approx(tuple(theirs), abs=1e-12)


def test_the_ends_are_exact() -> None:
    assert wilson_interval(0, 7)[0] == 0
    assert wilson_interval(7, 7)[1] == 1


@pytest.mark.parametrize("truth", [0.5, 0.9, 0.98])
def test_wilson_holds_the_truth_about_95_times_in_100(truth: float) -> None:
    total = 1000
    bounds = [wilson_interval(k, total) for k in range(total + 1)]
    held = [low <= truth <= high for low, high in bounds]
    assert binom.pmf(np.arange(total + 1), total, truth) @ held == pytest.approx(0.95, abs=0.01)


def test_paired_by_hand() -> None:
    # 30 lost and 10 gained of 998: with one added to each and two to all, 31 and 11 of 1,000.
    half = 1.959963984540054 * math.sqrt((0.031 + 0.011 - 0.02**2) / 1000)
    low, high = paired_interval(30, 10, 998)
    assert (low, high) == pytest.approx((0.02 - half, 0.02 + half), rel=1e-12)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(600, 10_000))
def test_paired_is_symmetric_and_holds_no_difference_where_there_is_none(
    more: int, fewer: int, total: int
) -> None:
    low, high = paired_interval(more, fewer, total)
    assert paired_interval(fewer, more, total) == pytest.approx((-high, -low))
    assert -1 <= low < high <= 1
    assert more != fewer or low < 0 < high


def test_paired_holds_the_truth_about_95_times_in_100() -> None:
    draw = np.random.default_rng(0)
    seen = draw.multinomial(1000, [0.03, 0.01, 0.96], size=4000)
    held = [
        low <= 0.02 <= high
        for low, high in (paired_interval(a, b, 1000) for a, b, _ in seen.tolist())
    ]
    assert np.mean(held) == pytest.approx(0.95, abs=0.012)


def test_paired_stays_within_one() -> None:
    assert paired_interval(2, 0, 2)[1] == 1
    assert paired_interval(0, 2, 2)[0] == -1


@pytest.mark.parametrize(("right", "total"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_refused(right: int, total: int) -> None:
    with pytest.raises(ValueError, match=f"right = {right}, total = {total}: must"):
        wilson_interval(right, total)


@pytest.mark.parametrize("counts", [(0, 0, 0), (-1, 0, 5), (3, 3, 5)])
def test_impossible_pairs_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=f"more = {counts[0]}, fewer = {counts[1]}"):
        paired_interval(*counts)
