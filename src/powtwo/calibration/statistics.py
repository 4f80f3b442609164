"""Statistics of a tensor, channel by channel, and the scale that each asks for.

A statistic sees a tensor piece by piece; neither the order nor the size of the pieces matters.
With a choice of exponent it makes an observer: `minmax` and `-ceil` make `minmax-ceil`. A new
statistic is a subclass with a `name`, which `params.yaml` then knows.

Sources:
1. Range: Krishnamoorthi 2018, https://arxiv.org/abs/1806.08342, §3
2. Percentile: Wu et al. 2020, https://arxiv.org/abs/2004.09602, §3.3
3. Least squared error: Banner et al. 2019, https://arxiv.org/abs/1810.05723; for powers of two,
   Jain et al. 2020 (TQT), https://arxiv.org/abs/1903.08066, appendix
4. Relative entropy: Migacz 2017, "8-bit Inference with TensorRT", GPU Technology Conference
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from powtwo.calibration.histogram import Bins, GrowingHistogram
from powtwo.calibration.restriction import ceil_exponent, floor_exponent, nearest_exponent
from powtwo.integer.fixedpoint import Grid, power_of_two, quantize, unclamped

OCTAVES = 7  # below the exponent that clips nothing, in which a search looks

Restriction = Callable[[Tensor], Tensor]  # float64 scales (C,) to int64 exponents (C,)


class Statistic:
    """What is measured of a tensor's channels (C, n) for the codes of `grid`."""

    name: ClassVar[str]
    known: ClassVar[dict[str, type[Statistic]]] = {}
    choices: ClassVar[Mapping[str, Restriction]] = {  # by what the observer's name ends with
        "-round": nearest_exponent,  # nearest in octaves: may clip, wastes less than a bit
        "-ceil": ceil_exponent,  # clips nothing within the range
        "-floor": floor_exponent,  # leaves no code unused; clips by up to an octave
    }

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.largest = torch.zeros(1, dtype=torch.float64)  # max |x| so far, (C,)

    def __init_subclass__(cls) -> None:
        if "name" in vars(cls):  # what only others extend has none
            Statistic.known[cls.name] = cls

    def update(self, x: Tensor) -> None:
        """Take a piece into account: finite float64 (C, n)."""
        self.largest = torch.maximum(self.largest, x.abs().amax(1))

    def scale(self) -> Tensor:
        """Return the scale of each channel, float64 (C,); any where a channel is zero."""
        raise NotImplementedError


class MinMax(Statistic):
    """The scale that just holds max |x| (source 1)."""

    name = "minmax"

    def scale(self) -> Tensor:
        """Return max |x| in units of the grid's largest magnitude."""
        return self.largest / self.grid.max_abs


class HistogramStatistic(Statistic):
    """The common ground of statistics of how values are distributed."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(grid)
        self.histogram = GrowingHistogram()

    def update(self, x: Tensor) -> None:
        """Take a piece into account: finite float64 (C, n)."""
        super().update(x)
        self.histogram.update(x)


class Percentile(HistogramStatistic):
    """The scale that clips at most one of 10,000 values (source 2)."""

    name = "percentile"
    choices: ClassVar = {"": ceil_exponent, **Statistic.choices}
    kept = 9_999  # of 10,000

    def scale(self) -> Tensor:
        """Return the upper edge of the bin of magnitudes in which enough values are held."""
        below, above = self.histogram.counts.tensor_split(2, dim=1)
        held = (below.flip(1) + above).cumsum(1)  # of the magnitudes up to each bin
        least = -(-held[:, -1:] * self.kept // 10_000)  # rounded up
        edge = (held < least).sum(1) + 1
        edges = edge * power_of_two(self.histogram.exponent)
        return torch.minimum(edges, self.largest) / self.grid.max_abs


class SearchStatistic(HistogramStatistic):
    """The common ground of statistics that try exponents, from the one that clips nothing down.

    The scale is a power of two as it is, so there is no choice of exponent.
    """

    choices: ClassVar = {"": ceil_exponent}

    def scale(self) -> Tensor:
        """Return 2^e with the exponent of the least error, the largest of equals."""
        widest = ceil_exponent(self.largest / self.grid.max_abs)
        bins, half_bin = self.histogram.occupied(), self.histogram.exponent - 1
        errors = [self.error(bins, widest - n - half_bin) for n in range(OCTAVES + 1)]
        return power_of_two(widest - torch.stack(errors).argmin(0))  # the first of equals

    def error(self, bins: Bins, exponent: Tensor) -> Tensor:
        """Return the error (C,) of exponents (C,), which count in half bins as the middles do."""
        raise NotImplementedError


class Mse(SearchStatistic):
    """The scale whose codes have the least squared error (source 3)."""

    name = "mse"

    def error(self, bins: Bins, exponent: Tensor) -> Tensor:
        """Return the sums of squared errors, integers and so the same on every machine."""
        codes = quantize(_in_steps(bins, exponent), 0, self.grid) - self.grid.zero_point
        squares = (bins.middle - (codes << exponent[bins.channel])).square()
        return _sum(squares * bins.count, bins.channel, len(exponent))


class Kl(SearchStatistic):
    """The scale whose codes tell most of the distribution: least relative entropy (source 4).

    The bin at 0 is left out: 0 has a code of its own on every grid.
    """

    name = "kl"

    def error(self, bins: Bins, exponent: Tensor) -> Tensor:
        """Return Σ p·log(p / q), nats; infinite for a channel of which nothing is held.

        p has what is clipped in the outermost bins of the range; q has not, and spreads what one
        code stands for evenly over its bins.
        """
        channels, levels = len(exponent), self.grid.quant_max - self.grid.quant_min + 1
        codes = unclamped(_in_steps(bins, exponent), 0, self.grid)
        below, above = codes < self.grid.quant_min, codes > self.grid.quant_max
        held = ~below & ~above & (bins.middle != 1)
        channel, p = bins.channel[held], bins.count[held]
        groups = channel * levels + (codes[held] - self.grid.quant_min).to(torch.int64)
        q = _sum(p, groups, channels * levels)[groups].double() / groups.bincount()[groups]
        q /= _sum(p, channel, channels)[channel]
        ends = channel.bincount(minlength=channels).cumsum(0)
        starts = torch.cat([ends.new_zeros(1), ends[:-1]])
        some = ends > starts
        for outermost, clipped in ((starts, below), (ends - 1, above)):
            mass = _sum(bins.count[clipped], bins.channel[clipped], channels)
            p.index_add_(0, outermost[some], mass[some])
        shares = p.double() / _sum(p, channel, channels)[channel]
        terms = [a * math.log(a / b) for a, b in zip(shares.tolist(), q.tolist(), strict=True)]
        slices = zip(starts.tolist(), ends.tolist(), strict=True)
        sums = [math.fsum(terms[start:end]) if end > start else math.inf for start, end in slices]
        return torch.tensor(sums, dtype=torch.float64)


def _in_steps(bins: Bins, exponent: Tensor) -> Tensor:
    """Return the middles in steps of their channel's scale, float64 (B,)."""
    return bins.middle * power_of_two(-exponent)[bins.channel]


def _sum(values: Tensor, index: Tensor, length: int) -> Tensor:
    """Return the sums of values with the same index, 0 … length − 1."""
    return values.new_zeros(length).index_add_(0, index, values)
