"""Histograms of weights and activations, in steps of their scale, so that the codes are the ruler.

In steps x / 2^e the limits of the codes are low − z and high − z whatever the exponent, so tensors
whose channels have exponents of their own fit one histogram, and layers compare at a glance.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

INSIDE = 32  # bins from half a step below the lowest code to half a step above the highest
BEYOND = 8  # bins of the same width on either side; the outermost hold all that lies farther out
COLUMNS = ("layer", "tensor", "low", "high", "count", "code_low", "code_high")


class CodeHistogram:
    """Counts of a tensor's values, taken piece by piece; order and pieces do not matter."""

    def __init__(self, low: int, high: int) -> None:
        """Start with no counts; `low` and `high` are the limits of the codes, in steps."""
        self.low, self.high = low, high
        self.width = (high - low + 1) / INSIDE
        self.start = low - 0.5 - BEYOND * self.width
        self.counts = torch.zeros(INSIDE + 2 * BEYOND, dtype=torch.int64)

    def add(self, steps: Tensor) -> None:
        """Count values given in steps of the scale, float64 of any shape."""
        bins = ((steps.flatten() - self.start) / self.width).floor()
        bins = bins.clamp(0, len(self.counts) - 1).to(torch.int64)
        self.counts += torch.bincount(bins, minlength=len(self.counts))

    def rows(self) -> Iterator[tuple[float, float, int, int, int]]:
        """Yield a bin's edges in steps, its count, and the limits of the codes in steps."""
        for index, count in enumerate(self.counts.tolist()):
            low = self.start + index * self.width
            yield low, low + self.width, count, self.low, self.high
