"""A histogram that neither the order nor the size of the pieces can change.

Its bins are a power of two wide and begin at 0. When a value lies beyond them, neighbors are
merged until it fits: exactly what wider bins would have counted from the start.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from powtwo.integer.fixedpoint import scaled

HALF = 2**14  # bins on each side of 0: at least 64 for each step of 8 bits that just hold the range
_FINEST = -1000  # exponent of the narrowest bins, for which 2^-e is still a float64


class GrowingHistogram:
    """Counts of values in bins 2^exponent wide, from −2^exponent·HALF up to as much."""

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self.exponent = _FINEST
        self.counts = torch.zeros(2 * HALF, dtype=torch.int64)

    def see(self, x: Tensor) -> None:
        """Count finite float64 values of any shape."""
        largest = x.abs().max().item()
        if largest == 0:
            self.counts[HALF] += x.numel()
            return
        width = math.frexp(largest)[1] - HALF.bit_length() + 1  # so that largest < 2^width · HALF
        if width > self.exponent:
            self._merge(width - self.exponent)
        bins = torch.floor(scaled(x, self.exponent)).to(torch.int64) + HALF
        self.counts += torch.bincount(bins.flatten(), minlength=2 * HALF)

    def occupied(self) -> tuple[Tensor, Tensor]:
        """Return the bins that hold something: their middles and their counts, int64.

        A middle is told in half bins, 2^(exponent − 1): an odd number, exact on any grid.
        """
        held = self.counts.nonzero().view(-1)
        return 2 * (held - HALF) + 1, self.counts[held]

    def _merge(self, octaves: int) -> None:
        """Make bins 2^octaves times as wide."""
        places = (torch.arange(-HALF, HALF) >> min(octaves, 62)) + HALF
        self.counts = torch.zeros_like(self.counts).index_add_(0, places, self.counts)
        self.exponent += octaves
