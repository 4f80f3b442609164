"""Tiles: the products of an output, in groups whose sums fit accumulators of P bits.

An output channel's K taps are taken in the order of its weights. A tile is a run of taps; its sum
starts at 0, has P bits, and is then added (spilled) into an int32, which starts at the bias:

    a = b + t₁ + … + t_T        t_j = Σ (x − z) · w over the taps of tile j

Integers are added in whatever order, so that a is what int32 alone gives. With inputs in
[low, high], low ≤ 0 ≤ high, no partial sum of a tile passes the sum of its positive products or
that of its negative ones. A tile fits where both are below 2^(P−1): for any input, in any order.

Tiles end where the next product would not fit, which for a given order makes the fewest. Every
channel has ends of its own: on `shift` with P = 16 (docs/integer-file.md) that is 4.0 times fewer
spills than ends that all channels share. A common order chosen for few spills saves 9 % of what
is left and any order 21 % at most, which no table of indices, and no gathering of inputs channel
by channel, is worth.

Sources:
1. Sums of P bits, spilled into wider ones: Khudia et al. 2021 (FBGEMM), `acc16`,
   https://arxiv.org/abs/2101.05615
2. The bound of a sum by its weights: Colbert et al. 2023 (A2Q), https://arxiv.org/abs/2301.13376
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]
Ends = npt.NDArray[np.int32]


def product_sums(weight: npt.NDArray[Any], low: int, high: int) -> tuple[Integers, Integers]:
    """Return the largest value and the largest −value of each product, int64 (O, K)."""
    rows = weight.reshape(len(weight), -1).astype(np.int64)
    above, below = np.maximum(rows, 0), np.maximum(-rows, 0)
    return above * high - below * low, below * high - above * low


def plan(weight: npt.NDArray[Any], low: int, high: int, bits: int) -> Ends | None:
    """Cut the taps of each output channel into the fewest tiles that fit.

    Args:
        weight: integers (O, …).
        low: the least x − z, at most 0.
        high: the largest, at least 0.
        bits: P, of a tile's sum.

    Returns:
        The first tap after each tile, int32 (O, T); the rows of channels with fewer tiles end in
        further K. None where a single product does not fit.
    """
    most, least = product_sums(weight, low, high)
    channels, taps = len(most), most.shape[1]
    limit = 2 ** (bits - 1)
    if max(int(most.max()), int(least.max())) >= limit:
        return None
    cuts = np.zeros(most.shape, bool)
    above, below = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    for tap in range(taps):
        cut = (above + most[:, tap] >= limit) | (below + least[:, tap] >= limit)
        cuts[:, tap] = cut
        above = np.where(cut, 0, above) + most[:, tap]
        below = np.where(cut, 0, below) + least[:, tap]
    counts = cuts.sum(1)
    ends = np.full((channels, int(counts.max()) + 1), taps, np.int32)
    rows, starts = np.nonzero(cuts)  # row by row, ascending
    ends[rows, np.arange(len(rows)) - (np.cumsum(counts) - counts)[rows]] = starts
    return ends


def spills(ends: Ends) -> int:
    """Return how many tiles all output channels have together."""
    return int((np.diff(ends, axis=1) > 0).sum()) + len(ends)


def fault(ends: npt.NDArray[Any], taps: int) -> str | None:
    """Return which rule a plan (O, T) breaks, or None."""
    before = np.pad(ends[:, :-1], ((0, 0), (1, 0)))
    if (ends[:, -1] != taps).any():
        return f"must end in {taps}, the weights of an output, in every row"
    if not ((ends > before) | (before == taps) & (ends == taps)).all():
        return "must ascend from 1 on in every row, until it ends"
    if ends.shape[1] > 1 and (before[:, -1] == taps).all():
        return "must have no more columns than the most tiles of an output"
    return None


def largest_sum(weight: npt.NDArray[Any], low: int, high: int, ends: Ends) -> int:
    """Return the largest |partial sum| of any tile, in any order, for any input."""
    worst = 0
    for products in product_sums(weight, low, high):
        running = np.cumsum(products, axis=1)
        at_ends = np.take_along_axis(running, ends.astype(np.int64) - 1, axis=1)
        worst = max(worst, int(np.diff(at_ends, axis=1, prepend=0).max()))
    return worst
