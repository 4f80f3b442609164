"""Observers: from the statistics of a tensor to the exponent of its power-of-two scale.

An observer sees a tensor piece by piece and ends with an exponent. The order and the size of the
pieces do not matter. A new observer is a subclass with a `name`, which `params.yaml` then knows.

Sources:
1. The course's `PowerOfTwoObserver`: s₀ = 2·max|x| / (q_max − q_min), e = round(log2 s₀)
2. Range observers: Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342, §3
3. Least squared error: Banner et al. 2019, https://arxiv.org/abs/1810.05723; for powers of two,
   Jain et al. 2020 (TQT), https://arxiv.org/abs/1903.08066, appendix
4. Percentile: Wu et al. 2020, https://arxiv.org/abs/2004.09602, §3.3
5. Relative entropy: Migacz 2017, "8-bit Inference with TensorRT", GPU Technology Conference
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from powtwo.calibration.histogram import GrowingHistogram
from powtwo.integer.fixedpoint import (
    Grid,
    ceil_exponent,
    floor_exponent,
    nearest_exponent,
    quantize,
    unclamped,
)

OCTAVES = 7  # below the exponent that clips nothing, which observers of a histogram look at


class Observer:
    """The common ground: pieces of one tensor in, an exponent out."""

    name: ClassVar[str]
    known: ClassVar[dict[str, type[Observer]]] = {}

    def __init__(self, grid: Grid, tensor: str = "tensor") -> None:
        self.grid = grid
        self.tensor = tensor  # what an error calls it

    def __init_subclass__(cls) -> None:
        if "name" in vars(cls):  # what only others extend has none
            Observer.known[cls.name] = cls

    def observe(self, x: Tensor) -> None:
        """Take a piece of the tensor into account.

        Raises:
            ValueError: where it holds an infinity or a NaN, naming the tensor.
        """
        if not bool(torch.isfinite(x).all()):
            raise ValueError(f"{self.tensor} holds an infinity or a NaN; nothing is quantized")
        if x.numel():
            self._take(x.detach().double())

    def exponent(self) -> int:
        """Return the exponent e of the scale 2^e; 0 for a tensor that is zero throughout."""
        raise NotImplementedError

    def _take(self, x: Tensor) -> None:
        raise NotImplementedError


class MinMaxRound(Observer):
    """The power of two nearest, in octaves, to the scale that just holds max|x| (sources 1, 2)."""

    name = "minmax-round"

    def __init__(self, grid: Grid, tensor: str = "tensor") -> None:
        super().__init__(grid, tensor)
        self.largest = 0.0  # max |x| so far

    def _take(self, x: Tensor) -> None:
        self.largest = max(self.largest, x.abs().max().item())

    def exponent(self) -> int:
        """Return the exponent for s₀ = max|x| / reach, by this observer's policy."""
        if self.largest == 0:
            return 0
        return self._of_scale(self.largest / self.grid.max_abs)

    def _of_scale(self, scale: float) -> int:
        return nearest_exponent(scale)


class MinMaxCeil(MinMaxRound):
    """The smallest power of two that overflows for no value seen (source 2)."""

    name = "minmax-ceil"

    def _of_scale(self, scale: float) -> int:
        return ceil_exponent(scale)


class MinMaxFloor(MinMaxRound):
    """The largest power of two that leaves no code unused; clips by up to an octave (source 2)."""

    name = "minmax-floor"

    def _of_scale(self, scale: float) -> int:
        return floor_exponent(scale)


class Lab(MinMaxRound):
    """The course's `PowerOfTwoObserver` (source 1); the scheme gives its clamp, [−8, 0]."""

    name = "lab"


class HistogramObserver(Observer):
    """The common ground of observers that look at how values are distributed."""

    def __init__(self, grid: Grid, tensor: str = "tensor") -> None:
        super().__init__(grid, tensor)
        self.histogram = GrowingHistogram()
        self._widest = MinMaxCeil(grid, tensor)

    def _take(self, x: Tensor) -> None:
        self._widest.observe(x)
        self.histogram.see(x)

    def exponent(self) -> int:
        """Return the exponent by this observer's policy."""
        if self._widest.largest == 0:
            return 0
        return self._of_bins(*self.histogram.occupied(), self._widest.exponent())

    def _of_bins(self, middles: Tensor, counts: Tensor, widest: int) -> int:
        """Choose from the bins that hold something, and the exponent that clips nothing."""
        raise NotImplementedError


class SearchingObserver(HistogramObserver):
    """The common ground of observers that try exponents, from the one that clips nothing down."""

    def _of_bins(self, middles: Tensor, counts: Tensor, widest: int) -> int:
        def error(exponent: int) -> float:
            return self._error(middles, counts, exponent - self.histogram.exponent + 1)

        return min(range(widest, widest - OCTAVES - 1, -1), key=error)

    def _error(self, middles: Tensor, counts: Tensor, exponent: int) -> float:
        """Return the error of an exponent, which counts in half bins as the middles do."""
        raise NotImplementedError


class Mse(SearchingObserver):
    """The exponent whose codes have the least squared error (source 3); of equals the largest."""

    name = "mse"

    def _error(self, middles: Tensor, counts: Tensor, exponent: int) -> float:
        """Return the sum of squared errors, an integer and so the same on every machine."""
        steps = quantize(middles, exponent, self.grid) - self.grid.zero_point
        return int(((middles - (steps << exponent)).square() * counts).sum())


class Kl(SearchingObserver):
    """The exponent whose codes tell most of the distribution: least relative entropy (source 5).

    The bin at 0 is left out: 0 has a code of its own on every grid.
    """

    name = "kl"

    def _error(self, middles: Tensor, counts: Tensor, exponent: int) -> float:
        """Return Σ p·log(p / q), nats.

        p has what is clipped in the outermost bins of the range; q has not, and spreads what one
        code stands for evenly over its bins.
        """
        codes = unclamped(middles, exponent, self.grid)
        below, above = codes < self.grid.quant_min, codes > self.grid.quant_max
        held = ~below & ~above & (middles != 1)
        if not bool(held.any()):
            return math.inf
        groups = (codes[held] - self.grid.quant_min).to(torch.int64)
        p, bins = counts[held], groups.bincount()
        totals = torch.zeros_like(bins).index_add_(0, groups, p)
        q, kept = totals[groups].double() / bins[groups], int(p.sum())
        p[0] += counts[below].sum()
        p[-1] += counts[above].sum()
        mass = int(p.sum())
        pairs = zip((p.double() / mass).tolist(), (q / kept).tolist(), strict=True)
        return math.fsum(a * math.log(a / b) for a, b in pairs)


class Percentile(HistogramObserver):
    """The smallest power of two that clips at most one of 10,000 values (source 4)."""

    name = "percentile"
    kept = 9_999  # of 10,000

    def _of_bins(self, middles: Tensor, counts: Tensor, widest: int) -> int:
        sizes, order = middles.abs().sort(stable=True)
        least = -(-int(counts.sum()) * self.kept // 10_000)  # rounded up
        last = int((counts[order].cumsum(0) < least).sum())
        edge = math.ldexp(int(sizes[last]) + 1, self.histogram.exponent - 1)  # of its bin
        return min(ceil_exponent(edge / self.grid.max_abs), widest)


def make(name: str, grid: Grid, tensor: str = "tensor") -> Observer:
    """Return a fresh observer.

    Raises:
        ValueError: where no observer has this name.
    """
    if name not in Observer.known:
        raise ValueError(f"observer = {name!r}: must be one of {', '.join(sorted(Observer.known))}")
    return Observer.known[name](grid, tensor)
